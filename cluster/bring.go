package cluster

import (
	"context"
	"errors"
	"fmt"
)

// MarkStopped has the record of a child of the cluster's tree say that it is down
// for good, or, with a zero Stop, that it is not any more.
//
// ErrNotFound: there is no such record, or it says that the child was removed.
// ErrUnavailable: the store did not answer until ctx ended, or for five seconds if
// that has no deadline; the record may say it or not. Else the sequence is that of the
// record that says it.
func (r *Registry) MarkStopped(ctx context.Context, child string, stop Stop) (seq uint64, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	err = r.compareAndSet(ctx, specKey(child), func(e Entry, is bool) error {
		seq, err = r.markStopped(ctx, e, is, stop)
		return err
	})
	return seq, err
}

func (r *Registry) markStopped(ctx context.Context, e Entry, is bool, stop Stop) (seq uint64, err error) {
	if !is {
		return 0, fmt.Errorf("%w: %s", ErrNotFound, e.Key)
	}
	rec, err := specIn(e.Value, e.Key.Name)
	if err != nil {
		return 0, err
	}
	if rec.Removed {
		return 0, fmt.Errorf("%w: %s was removed", ErrNotFound, e.Key.Name)
	}
	if stop.Done && stop.Ran < rec.Revision {
		return e.Seq, nil // something else is to run
	}
	stop.Ran = 0
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
	return r.store.Update(ctx, e.Key, value, e.Seq)
}

// Bring writes a child of the cluster's tree to the records if it is not there, or
// was removed, and returns the record that holds, and its sequence. One that is done
// on this node, in an earlier life of that, is to run once more.
//
// ErrUnavailable: the store did not answer until ctx ended, or for five seconds if
// that has no deadline.
func (r *Registry) Bring(ctx context.Context, s SpecRecord) (holds SpecRecord, seq uint64, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	err = r.compareAndSet(ctx, specKey(s.Name), func(e Entry, is bool) error {
		holds, seq, err = r.bring(ctx, s, e, is)
		return err
	})
	return holds, seq, err
}

func (r *Registry) bring(ctx context.Context, s SpecRecord, e Entry, is bool) (SpecRecord, uint64, error) {
	if !is {
		return r.writeSpec(ctx, s, e, is)
	}
	rec, err := specIn(e.Value, s.Name) // ours too, if the outcome was unknown
	switch {
	case err != nil:
		return SpecRecord{}, 0, fmt.Errorf("%w%s", err, remedy(e.Key, r.store))
	case rec.Removed:
		return r.writeSpec(ctx, s, e, is)
	case rec.Done && rec.StoppedOn == r.info.Node && rec.StoppedBy != r.self.Incarnation:
		seq, err := r.MarkStopped(ctx, s.Name, Stop{})
		return rec, seq, err
	default:
		return rec, e.Seq, nil
	}
}

// compareAndSet has do write a record in the place of what was read, until it has, or
// its error is not one that goes away. The entry of a record that is not there has the
// sequence of its deletion.
func (r *Registry) compareAndSet(ctx context.Context, k Key, do func(e Entry, is bool) error) error {
	for {
		e, err := r.store.Get(ctx, k)
		e.Key = k
		if is := err == nil; is || errors.Is(err, ErrNotFound) {
			err = do(e, is)
		}
		if err == nil || !transient(err) {
			return err
		}
		if pause(ctx, lookupPause) != nil {
			return fmt.Errorf("write %s: %w: %w", k, ErrUnavailable, err)
		}
	}
}

// writeSpec writes something new to run in the place of what was read.
func (r *Registry) writeSpec(ctx context.Context, s SpecRecord, e Entry, is bool) (SpecRecord, uint64, error) {
	s.Revision = e.Seq
	value, err := s.Encode()
	if err != nil {
		return SpecRecord{}, 0, err
	}
	var seq uint64
	switch {
	case !is:
		seq, err = r.store.Create(ctx, e.Key, value)
	case s.Removed:
		seq, err = r.store.Finish(ctx, e.Key, value, e.Seq)
	default:
		seq, err = r.store.Update(ctx, e.Key, value, e.Seq)
	}
	return s, seq, err
}

// Expected reports whether a child of the cluster's tree is on record that is to run:
// its name has an owner before long. It's false if nothing is known, as when the
// store does not answer.
func (r *Registry) Expected(ctx context.Context, child string) bool {
	rec, known := r.Spec(ctx, child)
	return known && !rec.Stopped
}

// Spec reads the record of a child of the cluster's tree. False: there is none that
// can be read, or nothing is known, as when the store does not answer. Like every
// read it may be an older state.
func (r *Registry) Spec(ctx context.Context, child string) (rec SpecRecord, known bool) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	e, err := r.store.Get(ctx, specKey(child))
	if err != nil {
		return SpecRecord{}, false
	}
	rec, err = specIn(e.Value, child)
	return rec, err == nil
}
