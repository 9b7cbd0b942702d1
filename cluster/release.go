package cluster

import (
	"context"
	"errors"
	"time"
)

// contentionPause is between tries to write a record that keeps changing, or
// that the store does not answer for.
const contentionPause = 20 * time.Millisecond

// letGo deletes the record that has the sequence seq. Nil says that no record of
// that sequence is left, whoever removed it; an error, that there may be one.
func letGo(ctx context.Context, s Store, k Key, seq uint64) error {
	for {
		err := s.Delete(ctx, k, seq)
		if err == nil || errors.Is(err, ErrConflict) {
			return nil
		}
		if !transient(err) || pause(ctx, contentionPause) != nil {
			return err
		}
	}
}

// settle makes sure that a record is not ours and will not become so by a write
// of ours that is still on its way. Nil says just that.
func settle(ctx context.Context, s Store, k Key, ours func([]byte) bool) error {
	for {
		e, err := s.Get(ctx, k)
		absent := errors.Is(err, ErrNotFound)
		if err == nil && !ours(e.Value) {
			return nil
		}
		if err == nil || absent {
			// Even where there is nothing to delete: what was sent before
			// expects the sequence that this uses up.
			if err = s.Delete(ctx, k, e.Seq); err == nil {
				return nil
			}
		}
		if !transient(err) || pause(ctx, contentionPause) != nil {
			return err
		}
	}
}

// transient reports whether a store's error may go away by waiting.
func transient(err error) bool {
	return errors.Is(err, ErrConflict) || errors.Is(err, ErrUnknown) ||
		errors.Is(err, ErrUnavailable) && !errors.Is(err, errClosed)
}
