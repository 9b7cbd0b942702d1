package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/civitas-go/civitas/internal/membership"
)

// taking is a record that was made this incarnation's.
type taking struct {
	seq  uint64   // of the write
	from string   // the ended incarnation that was succeeded, if there was one
	seen sighting // of that one's session
	// expect is set with an error too: what a write expects that may arrive yet.
	expect uint64
}

// heldError says that a record is another incarnation's.
type heldError struct {
	entry Entry
	// session is the holder's, as far as it was seen.
	session SessionRecord
	// silent: it is not known whether that lives.
	silent bool
	// unknown: an earlier write may yet make the record this incarnation's.
	unknown bool
}

func (e *heldError) Error() string { return e.entry.Key.String() + " has a holder" }

// take makes value the key's record unless another incarnation's is there that
// lives. It returns the sequence of a write that was acknowledged.
//
// Its error is a *heldError; or matches ErrUnknown, and the record may be ours;
// or matches ErrUnavailable, and it is not.
func (r *Registry) take(ctx context.Context, k Key, value []byte, holderIn func([]byte) (string, error)) (taking, error) {
	var (
		claim = membership.NewClaim(r.self.Incarnation)
		entry Entry // that was read last
		last  error
		seen  sighting // of the holder's session
	)
	for {
		step := claim.Next(r.gate.now())
		var result membership.Result
		switch step.Do {
		case membership.Done:
			if seq, ok := claim.Claimed(); ok {
				return taking{seq: seq, from: claim.From(), seen: seen}, nil
			}
			return taking{expect: claim.Expect()}, &heldError{entry: entry, session: seen.record, unknown: claim.Unknown()}
		case membership.Wait:
			if pause(ctx, step.At-r.gate.now()) != nil {
				return taking{expect: claim.Expect()}, outOfTime(k, claim.Unknown(), last)
			}
			continue
		case membership.Ask:
			r.log.Info("the name has a holder; finding out whether that lives",
				"record", k.String(), "holder", step.Holder, "at_most", r.timing.Judge)
			var status membership.Status
			var err error
			if status, seen, err = r.statusOf(ctx, step.Holder); err != nil {
				return taking{expect: claim.Expect()}, &heldError{entry: entry, session: seen.record, silent: true, unknown: claim.Unknown()}
			}
			claim.Answer(status)
			continue
		case membership.Get:
			entry, last = r.store.Get(ctx, k)
			result = membership.Result{Outcome: outcome(last), Seq: entry.Seq}
			if last == nil {
				var err error
				if result.Holder, err = holderIn(entry.Value); err != nil {
					return taking{expect: claim.Expect()}, &heldError{entry: entry, unknown: claim.Unknown()}
				}
			}
		case membership.Create:
			result.Seq, last = r.store.Create(ctx, k, value)
			result.Outcome = outcome(last)
		case membership.Update:
			result.Seq, last = r.store.Update(ctx, k, value, step.Expect)
			result.Outcome = outcome(last)
		}
		claim.Result(r.gate.now(), step, result)
		if last != nil && !errors.Is(last, ErrNotFound) && !transient(last) {
			return taking{expect: claim.Expect()}, outOfTime(k, claim.Unknown(), last)
		}
	}
}

// statusOf finds out whether another incarnation lives or has ended, for as
// long as that takes.
func (r *Registry) statusOf(ctx context.Context, incarnation string) (membership.Status, sighting, error) {
	q, release := r.inquire(incarnation)
	if q == nil {
		return membership.Unsure, sighting{}, errLeft
	}
	defer release()
	return q.status(ctx)
}

// outOfTime is the error of a claim that its context, or a store that answers
// no more, has ended.
func outOfTime(k Key, unknown bool, last error) error {
	switch {
	case unknown && !errors.Is(last, ErrUnknown):
		return fmt.Errorf("claim %s: %w: %w", k, ErrUnknown, last)
	case !unknown && transient(last) && !errors.Is(last, ErrUnavailable):
		return fmt.Errorf("claim %s: %w: %w", k, ErrUnavailable, last)
	default:
		return last
	}
}

func ownerHolder(value []byte) (string, error) {
	rec, err := DecodeOwner(value)
	return rec.Incarnation, err
}

func nodeHolder(value []byte) (string, error) {
	rec, err := DecodeNode(value)
	return rec.Incarnation, err
}

// sessionHolder is whom a session keeps names for: nobody, when it is dead.
func sessionHolder(value []byte) (string, error) {
	rec, err := DecodeSession(value)
	if rec.State == Dead {
		return "", err
	}
	return rec.Incarnation, err
}
