package cluster

import (
	"context"
	"errors"

	"github.com/civitas-go/civitas/internal/membership"
)

// letGo deletes the record that has the sequence seq. Nil says that no record of
// that sequence is left, whoever removed it; an error, that there may be one.
func (r *Registry) letGo(ctx context.Context, k Key, seq uint64) error {
	return r.giveBack(ctx, k, membership.NewRelease(r.self.Incarnation, seq), nil)
}

// settle makes sure that a record is not ours and will not become so by a write
// of ours that is still on its way. Nil says just that, by a read or, if the
// release is proven, by a write.
func (r *Registry) settle(ctx context.Context, k Key, holderIn func([]byte) (string, error)) (*membership.Release, error) {
	release := membership.NewRelease(r.self.Incarnation, 0)
	return release, r.giveBack(ctx, k, release, holderIn)
}

func (r *Registry) giveBack(ctx context.Context, k Key, release *membership.Release, holderIn func([]byte) (string, error)) error {
	var last error
	for {
		step := release.Next(r.gate.now())
		var result membership.Result
		switch step.Do {
		case membership.Done:
			return nil
		case membership.Wait:
			if pause(ctx, step.At-r.gate.now()) != nil {
				return last
			}
			continue
		case membership.Delete:
			last = r.store.Delete(ctx, k, step.Expect)
			result.Outcome = outcome(last)
		default:
			var e Entry
			e, last = r.store.Get(ctx, k)
			result = membership.Result{Outcome: outcome(last), Seq: e.Seq}
			if last == nil {
				result.Holder, _ = holderIn(e.Value) // what cannot be read is not ours
			}
		}
		if last != nil && !errors.Is(last, ErrNotFound) && !transient(last) {
			return last
		}
		release.Result(r.gate.now(), step, result)
	}
}

// transient reports whether a store's error may go away by waiting.
func transient(err error) bool {
	return errors.Is(err, ErrConflict) || errors.Is(err, ErrUnknown) ||
		errors.Is(err, ErrUnavailable) && !errors.Is(err, errClosed)
}
