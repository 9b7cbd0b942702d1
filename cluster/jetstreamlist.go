package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

// listAtOnce is how many records of a list are read at a time.
const listAtOnce = 32

// List asks for the subjects that there are, and reads each one's last message.
func (s *jetStreamStore) List(ctx context.Context, kind Kind) ([]Entry, error) {
	if err := s.ready(ctx, "list", Key{Kind: kind}); err != nil {
		return nil, err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	keys, err := s.keys(ctx, kind)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w: %w", kind, ErrUnavailable, explain(err, s.conn.Conn()))
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var (
		next = make(chan Key)
		wg   sync.WaitGroup
		mu   sync.Mutex
		all  = make([]Entry, 0, len(keys))
	)
	for range min(listAtOnce, len(keys)) {
		wg.Go(func() {
			for k := range next {
				e, err := s.Get(ctx, k)
				switch {
				case err == nil:
					mu.Lock()
					all = append(all, e)
					mu.Unlock()
				case !errors.Is(err, ErrNotFound): // which was deleted
					stop(err)
				}
			}
		})
	}
	for _, k := range keys {
		next <- k
	}
	close(next)
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("list %s: %w: %w", kind, ErrUnavailable, err)
	}
	return all, nil
}

func (s *jetStreamStore) keys(ctx context.Context, kind Kind) ([]Key, error) {
	stream, err := s.stream(ctx)
	if err != nil {
		return nil, err
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(s.layout.recordsOf(kind)))
	if err != nil {
		return nil, err
	}
	keys := make([]Key, 0, len(info.State.Subjects))
	for subject := range info.State.Subjects {
		if k, ok := s.layout.keyOf(subject); ok && k.Check() == nil {
			keys = append(keys, k)
		}
	}
	return keys, nil
}
