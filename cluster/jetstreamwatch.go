package cluster

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/civitas-go/civitas/transport"
)

// Headers of a republished copy. The last sequence is that of the write to the
// same subject before it.
const (
	copySequence     = jetstream.SequenceHeader
	copyLastSequence = "Nats-Last-Sequence"
)

// jetStreamWatch is a core subscription to republished copies. A consumer would
// be safer from loss, but stalls for long when its server dies.
type jetStreamWatch struct {
	fn  func(Change)
	sub transport.Subscription

	mu    sync.Mutex // held while fn runs
	ended bool       // guarded by mu
}

func (s *jetStreamStore) Watch(ctx context.Context, kind Kind, fn func(Change)) (func(), error) {
	if err := s.ready(ctx, "watch", Key{Kind: kind}); err != nil {
		return nil, err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	w := &jetStreamWatch{fn: fn}
	var err error
	w.sub, err = s.conn.Subscribe(s.layout.copies(kind), func(m transport.Msg) {
		if c, ok := s.change(m); ok {
			w.tell(c)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w: %w", kind, ErrUnavailable, err)
	}
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.watches[w] = struct{}{}
	}
	s.mu.Unlock()
	if closed {
		w.stop()
		return nil, fmt.Errorf("watch %s: %w: %w", kind, ErrUnavailable, errClosed)
	}
	// Only a flushed subscription surely sees the next write.
	if err := s.conn.Flush(ctx); err != nil {
		s.stop(w)
		return nil, fmt.Errorf("watch %s: %w: %w", kind, ErrUnavailable, err)
	}
	return func() { s.stop(w) }, nil
}

func (s *jetStreamStore) stop(w *jetStreamWatch) {
	s.mu.Lock()
	delete(s.watches, w)
	s.mu.Unlock()
	w.stop()
}

func (w *jetStreamWatch) tell(c Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.fn(c)
	}
}

func (w *jetStreamWatch) stop() {
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // what is on its way is for nobody
	_ = w.sub.Drain(ctx)
}

// change reads a copy. What is none, such as a message some client published
// to the subject, is passed over.
func (s *jetStreamStore) change(m transport.Msg) (Change, bool) {
	k, ok := s.layout.keyOf(m.Subject)
	if !ok || k.Check() != nil {
		return Change{}, false
	}
	seq, err := strconv.ParseUint(m.Header.Get(copySequence), 10, 64)
	if err != nil || seq == 0 {
		return Change{}, false
	}
	prev, err := strconv.ParseUint(m.Header.Get(copyLastSequence), 10, 64)
	if err != nil {
		return Change{}, false
	}
	c := Change{Key: k, Seq: seq, Prev: prev}
	if isTombstone(nats.Header(m.Header)) {
		c.Deleted = true
		return c, true
	}
	c.Value = m.Data
	return c, true
}
