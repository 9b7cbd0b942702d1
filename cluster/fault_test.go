package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/civitas-go/civitas/cluster"
)

// fault is what happens to one operation on a store.
type fault int

const (
	none        fault = iota
	unavailable       // not done
	unknownDone       // done, but the caller is not told
	unknownLost       // not done, and the caller is not told
	unknownLate       // done later, when release is called
)

// faultStore does to each operation what its script says.
type faultStore struct {
	cluster.Store
	reads  atomic.Int64
	deaf   atomic.Bool  // watches see nothing
	unseen atomic.Int64 // owner records' changes that they have not seen so far

	mu     sync.Mutex
	script func(op string, k cluster.Key) fault
	late   []func()
}

func (s *faultStore) on(script func(op string, k cluster.Key) fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = script
}

// once scripts the faults of the first operations of one kind on owner records.
func (s *faultStore) once(op string, faults ...fault) {
	s.on(func(o string, k cluster.Key) fault { // called under mu
		if o != op || k.Kind != cluster.KindOwner || len(faults) == 0 {
			return none
		}
		f := faults[0]
		faults = faults[1:]
		return f
	})
}

func (s *faultStore) release() {
	s.mu.Lock()
	late := s.late
	s.late = nil
	s.mu.Unlock()
	for _, f := range late {
		f()
	}
}

func (s *faultStore) write(op string, k cluster.Key, do func() (uint64, error)) (uint64, error) {
	s.mu.Lock()
	f := none
	if s.script != nil {
		f = s.script(op, k)
	}
	if f == unknownLate {
		s.late = append(s.late, func() { _, _ = do() })
	}
	s.mu.Unlock()
	switch f {
	case none:
		return do()
	case unavailable:
		return 0, fmt.Errorf("%s %s: %w", op, k, cluster.ErrUnavailable)
	case unknownDone:
		if _, err := do(); err != nil {
			return 0, err
		}
	case unknownLost, unknownLate:
	}
	return 0, fmt.Errorf("%s %s: %w", op, k, cluster.ErrUnknown)
}

func (s *faultStore) Get(ctx context.Context, k cluster.Key) (cluster.Entry, error) {
	s.reads.Add(1)
	s.mu.Lock()
	f := none
	if s.script != nil {
		f = s.script("get", k)
	}
	s.mu.Unlock()
	if f != none {
		return cluster.Entry{}, fmt.Errorf("get %s: %w", k, cluster.ErrUnavailable)
	}
	return s.Store.Get(ctx, k)
}

func (s *faultStore) Create(ctx context.Context, k cluster.Key, v []byte) (uint64, error) {
	inMemory := false
	var expect uint64                                                           // 0 if there is a record, which refuses it for ever
	if _, ok := s.Store.(interface{ RemoveCommand(cluster.Key) string }); !ok { // a Memory
		e, err := s.Store.Get(ctx, k)
		if inMemory = true; errors.Is(err, cluster.ErrNotFound) {
			expect = e.Seq
		}
	}
	return s.write("create", k, func() (uint64, error) {
		ctx := context.WithoutCancel(ctx)
		if inMemory { // a Create expects what was there when it left
			return cluster.CreateAfter(ctx, s.Store, k, v, expect)
		}
		return s.Store.Create(ctx, k, v)
	})
}

func (s *faultStore) Update(ctx context.Context, k cluster.Key, v []byte, expect uint64) (uint64, error) {
	return s.write("update", k, func() (uint64, error) { return s.Store.Update(context.WithoutCancel(ctx), k, v, expect) })
}

func (s *faultStore) Finish(ctx context.Context, k cluster.Key, v []byte, expect uint64) (uint64, error) {
	return s.write("finish", k, func() (uint64, error) { return s.Store.Finish(context.WithoutCancel(ctx), k, v, expect) })
}

func (s *faultStore) Delete(ctx context.Context, k cluster.Key, expect uint64) error {
	_, err := s.write("delete", k, func() (uint64, error) { return 0, s.Store.Delete(context.WithoutCancel(ctx), k, expect) })
	return err
}

func (s *faultStore) Watch(ctx context.Context, kind cluster.Kind, fn func(cluster.Change)) (func(), error) {
	return s.Store.Watch(ctx, kind, func(c cluster.Change) {
		if s.deaf.Load() {
			if kind == cluster.KindOwner {
				s.unseen.Add(1)
			}
			return
		}
		fn(c)
	})
}
