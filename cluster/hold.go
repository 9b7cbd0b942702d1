package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// heldError says that a record is another incarnation's.
type heldError struct {
	entry Entry
}

func (e *heldError) Error() string { return e.entry.Key.String() + " has a holder" }

// contentionPause is between tries to write a record that keeps changing, or
// that the store does not answer for.
const contentionPause = 20 * time.Millisecond

// hold makes value the key's record unless another incarnation's is there. It
// returns the sequence of a write that was acknowledged, never one that was only
// read: an unknown write is followed by another until one of them is certain.
//
// Its error is a *heldError; or matches ErrUnknown, and the record may be ours;
// or matches ErrUnavailable, and it is not.
func hold(ctx context.Context, s Store, k Key, value []byte, ours func([]byte) bool) (uint64, error) {
	seq, err := s.Create(ctx, k, value)
	unknown := false
	for {
		switch {
		case err == nil:
			return seq, nil
		case errors.Is(err, ErrUnknown):
			unknown = true
		case !transient(err) && !unknown:
			return 0, err
		case !transient(err):
			return 0, outOfTime(k, unknown, err)
		}
		if pause(ctx, contentionPause) != nil {
			return 0, outOfTime(k, unknown, err)
		}
		entry, getErr := s.Get(ctx, k)
		switch {
		case errors.Is(getErr, ErrNotFound):
			seq, err = s.Create(ctx, k, value)
		case getErr != nil:
			err = getErr
		case ours(entry.Value):
			seq, err = s.Update(ctx, k, value, entry.Seq)
		default:
			return 0, &heldError{entry}
		}
	}
}

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

func outOfTime(k Key, unknown bool, last error) error {
	if unknown && !errors.Is(last, ErrUnknown) {
		return fmt.Errorf("hold %s: %w: %w", k, ErrUnknown, last)
	}
	if !unknown && !errors.Is(last, ErrUnavailable) {
		return fmt.Errorf("hold %s: %w: %w", k, ErrUnavailable, last)
	}
	return last
}
