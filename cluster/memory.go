package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
)

// Memory holds the records of one cluster in this process, for tests and for
// programs of one process. [Memory.Open] gives each node its own handle. It has
// no goroutines of its own and works inside testing/synctest.
type Memory struct {
	mu      sync.Mutex
	seq     uint64
	records map[Key]memoryRecord
	watches map[*memoryWatch]struct{}
}

type memoryRecord struct {
	value   []byte
	seq     uint64
	deleted bool
}

// NewMemory makes an empty store.
func NewMemory() *Memory {
	return &Memory{records: map[Key]memoryRecord{}, watches: map[*memoryWatch]struct{}{}}
}

// Open returns a new handle to the records. Closing it leaves the others alone.
// Each watch on it has one goroutine, which Close ends.
func (m *Memory) Open() Store {
	return &memoryStore{m: m, watches: map[*memoryWatch]struct{}{}}
}

func (m *Memory) get(k Key) (Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.records[k]
	e := Entry{Key: k, Seq: r.seq}
	if !ok || r.deleted {
		return e, ErrNotFound
	}
	e.Value = bytes.Clone(r.value)
	return e, nil
}

// write stores r as the key's next state if accept agrees to the current one.
func (m *Memory) write(k Key, r memoryRecord, accept func(current memoryRecord) bool) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	current := m.records[k]
	if !accept(current) {
		return 0, ErrConflict
	}
	m.seq++
	r.seq = m.seq
	m.records[k] = r
	for w := range m.watches {
		if w.kind == k.Kind && k.Name == "" == k.Kind.single() {
			w.push(Change{Key: k, Value: bytes.Clone(r.value), Deleted: r.deleted, Seq: r.seq, Prev: current.seq})
		}
	}
	return m.seq, nil
}

func (m *Memory) add(w *memoryWatch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watches[w] = struct{}{}
}

func (m *Memory) remove(w *memoryWatch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.watches, w)
}

// memoryStore is one handle.
type memoryStore struct {
	m *Memory

	mu      sync.Mutex
	closed  bool
	watches map[*memoryWatch]struct{}
}

// ready is checked before anything is done, so that its errors are certain.
func (s *memoryStore) ready(ctx context.Context, op string, k Key) error {
	if err := k.Check(); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s %s: %w: %w", op, k, ErrUnavailable, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("%s %s: %w: %w", op, k, ErrUnavailable, errClosed)
	}
	return nil
}

var (
	errClosed      = errors.New("the store is closed")
	errExpectsZero = errors.New("expects the sequence 0, which no record has")
)

func (s *memoryStore) Get(ctx context.Context, k Key) (Entry, error) {
	if err := s.ready(ctx, "get", k); err != nil {
		return Entry{}, err
	}
	e, err := s.m.get(k)
	if err != nil {
		return e, fmt.Errorf("get %s: %w", k, err)
	}
	return e, nil
}

func (s *memoryStore) List(ctx context.Context, kind Kind) ([]Entry, error) {
	if err := s.ready(ctx, "list", Key{Kind: kind}); err != nil {
		return nil, err
	}
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	var all []Entry
	for k, r := range s.m.records {
		if k.Kind == kind && !r.deleted {
			all = append(all, Entry{Key: k, Value: bytes.Clone(r.value), Seq: r.seq})
		}
	}
	return all, nil
}

func (s *memoryStore) Create(ctx context.Context, k Key, value []byte) (uint64, error) {
	if err := s.ready(ctx, "create", k); err != nil {
		return 0, err
	}
	r := memoryRecord{value: bytes.Clone(value)}
	seq, err := s.m.write(k, r, func(c memoryRecord) bool { return c.seq == 0 || c.deleted })
	if err != nil {
		return 0, fmt.Errorf("create %s: %w", k, err)
	}
	return seq, nil
}

func (s *memoryStore) Update(ctx context.Context, k Key, value []byte, expect uint64) (uint64, error) {
	if expect == 0 {
		return 0, fmt.Errorf("update %s: %w", k, errExpectsZero)
	}
	return s.replace(ctx, "update", k, memoryRecord{value: bytes.Clone(value)}, expect)
}

// Finish forgets nothing.
func (s *memoryStore) Finish(ctx context.Context, k Key, value []byte, expect uint64) (uint64, error) {
	if expect == 0 {
		return 0, fmt.Errorf("finish %s: %w", k, errExpectsZero)
	}
	return s.replace(ctx, "finish", k, memoryRecord{value: bytes.Clone(value)}, expect)
}

func (s *memoryStore) Delete(ctx context.Context, k Key, expect uint64) error {
	_, err := s.replace(ctx, "delete", k, memoryRecord{deleted: true}, expect)
	return err
}

func (s *memoryStore) replace(ctx context.Context, op string, k Key, r memoryRecord, expect uint64) (uint64, error) {
	if err := s.ready(ctx, op, k); err != nil {
		return 0, err
	}
	seq, err := s.m.write(k, r, func(c memoryRecord) bool { return c.seq == expect })
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w", op, k, err)
	}
	return seq, nil
}

func (s *memoryStore) Watch(ctx context.Context, kind Kind, fn func(Change)) (func(), error) {
	if err := s.ready(ctx, "watch", Key{Kind: kind}); err != nil {
		return nil, err
	}
	w := newMemoryWatch(kind, fn)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, fmt.Errorf("watch %s: %w: %w", kind, ErrUnavailable, errClosed)
	}
	s.watches[w] = struct{}{}
	s.m.add(w)
	go w.run()
	s.mu.Unlock()
	return func() { s.stop(w) }, nil
}

func (s *memoryStore) stop(w *memoryWatch) {
	s.mu.Lock()
	delete(s.watches, w)
	s.mu.Unlock()
	s.m.remove(w)
	w.stop()
}

func (s *memoryStore) Close() error {
	s.mu.Lock()
	s.closed = true
	watches := s.watches
	s.watches = map[*memoryWatch]struct{}{}
	s.mu.Unlock()
	for w := range watches {
		s.m.remove(w)
		w.stop()
	}
	return nil
}
