package cluster

import (
	"context"
	"errors"
	"fmt"
)

// MarkStopped has the record of a child of the cluster's tree say that it is down
// for good, or, with a zero Stop, that it is not any more.
//
// ErrNotFound: there is no such record. ErrUnavailable: the store did not answer
// until ctx ended, or for five seconds if that has no deadline; the record may
// say it or not. Else the sequence is that of the record that says it.
func (r *Registry) MarkStopped(ctx context.Context, child string, stop Stop) (seq uint64, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	k := specKey(child)
	for {
		e, err := r.store.Get(ctx, k)
		if errors.Is(err, ErrNotFound) {
			return 0, err
		}
		if err == nil {
			seq, err = r.markStopped(ctx, k, e, stop)
		}
		if err == nil || !transient(err) {
			return seq, err
		}
		if pause(ctx, lookupPause) != nil {
			return 0, fmt.Errorf("mark %s: %w: %w", k, ErrUnavailable, err)
		}
	}
}

func (r *Registry) markStopped(ctx context.Context, k Key, e Entry, stop Stop) (seq uint64, err error) {
	rec, err := specIn(e.Value, k.Name)
	if err != nil {
		return 0, err
	}
	if stop.Stopped {
		stop.StoppedOn, stop.StoppedBy = r.info.Node, r.self.Incarnation
	}
	if rec.Stop == stop {
		return e.Seq, nil
	}
	rec.Stop = stop
	value, err := rec.Encode()
	if err != nil {
		return 0, err
	}
	return r.store.Update(ctx, k, value, e.Seq)
}

// Bring writes a child of the cluster's tree to the records if it is not there,
// and returns the record that holds, and its sequence. One that is done on this node, in an earlier
// life of that, is to run once more.
//
// ErrUnavailable: the store did not answer until ctx ended, or for five seconds if
// that has no deadline.
func (r *Registry) Bring(ctx context.Context, s SpecRecord) (holds SpecRecord, seq uint64, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	k := specKey(s.Name)
	value, err := s.Encode()
	if err != nil {
		return SpecRecord{}, 0, err
	}
	for {
		seq, err := r.store.Create(ctx, k, value)
		if err == nil {
			return s, seq, nil
		}
		e, readErr := r.store.Get(ctx, k)
		if readErr == nil { // ours too, if the outcome was unknown
			rec, err := specIn(e.Value, s.Name)
			if err != nil {
				return SpecRecord{}, 0, fmt.Errorf("%w%s", err, remedy(k, r.store))
			}
			if rec.Done && rec.StoppedOn == r.info.Node && rec.StoppedBy != r.self.Incarnation {
				seq, err := r.MarkStopped(ctx, s.Name, Stop{})
				return rec, seq, err
			}
			return rec, e.Seq, nil
		}
		if !transient(err) {
			return SpecRecord{}, 0, err
		}
		if pause(ctx, lookupPause) != nil {
			return SpecRecord{}, 0, fmt.Errorf("bring %s: %w: %w", k, ErrUnavailable, err)
		}
	}
}

// Expected reports whether a child of the cluster's tree is on record that is to run:
// its name has an owner before long. It's false if nothing is known, as when the
// store does not answer.
func (r *Registry) Expected(ctx context.Context, child string) bool {
	rec, known := r.specOf(ctx, child)
	return known && !rec.Stopped
}

// Down reports whether a child's record says that it is stopped. It's false if nothing
// is known, as when the store does not answer.
func (r *Registry) Down(ctx context.Context, child string) bool {
	rec, known := r.specOf(ctx, child)
	return known && rec.Stopped
}

func (r *Registry) specOf(ctx context.Context, child string) (rec SpecRecord, known bool) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	e, err := r.store.Get(ctx, specKey(child))
	if err != nil {
		return SpecRecord{}, false
	}
	rec, err = specIn(e.Value, child)
	return rec, err == nil
}

// RemoveCommand is the command by which an operator removes a child's record, so
// that the next node to start can bring another; "" if there is none.
func (r *Registry) RemoveCommand(child string) string {
	if remover, ok := r.store.(interface{ RemoveCommand(k Key) string }); ok {
		return remover.RemoveCommand(specKey(child))
	}
	return ""
}
