package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrChanged means that a child's record is another than the one that was compared.
// Nothing was written.
var ErrChanged = errors.New("the record has changed since it was compared")

// Apply has the record of a child of the cluster's tree say that this is to run, in
// the place of the record with the sequence expect, or, with 0, of none. That the child is
// stopped stays so; one that has ended by itself is to run again. It returns the record
// that holds, and its sequence: the one there was, if that says the same already. The leader
// sees to it that the child runs by it.
//
// ErrChanged: the record is another. ErrUnavailable: the store did not answer until
// ctx ended, or for five seconds if that has no deadline; the record may say it or not.
func (r *Registry) Apply(ctx context.Context, s SpecRecord, expect uint64) (holds SpecRecord, seq uint64, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	s.Node, s.Since, s.Removed = r.info.Node, time.Now().UTC(), false
	err = r.compareAndSet(ctx, specKey(s.Name), func(e Entry, is bool) error {
		s.Stop = Stop{}
		rec, known, err := r.compared(e, is, expect)
		switch {
		case known && rec.Differs(s) == "": // by us, if the outcome was unknown
			holds, seq = rec, e.Seq
			return nil
		case err != nil:
			return err
		case known && !rec.Done:
			s.Stop = rec.Stop
		}
		holds, seq, err = r.writeSpec(ctx, s, e, is)
		return err
	})
	return holds, seq, err
}

// Remove takes a child out of the cluster's tree whose record has the sequence expect,
// and returns the sequence of the record that says so; 0 if there is none. The
// leader has the child stopped where it runs. Its errors are those of [Registry.Apply].
func (r *Registry) Remove(ctx context.Context, child string, expect uint64) (seq uint64, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	err = r.compareAndSet(ctx, specKey(child), func(e Entry, is bool) error {
		if !is {
			return nil
		}
		rec, known, err := r.compared(e, is, expect)
		switch {
		case !known && (err == nil || errors.Is(err, ErrChanged)):
			seq = e.Seq // it is removed already
			return nil
		case err != nil:
			return err
		}
		_, seq, err = r.writeSpec(ctx, SpecRecord{
			Name: rec.Name, Type: rec.Type, Bound: rec.Bound, Names: rec.Names, Restart: rec.Restart, Removed: true,
			Stop: Stop{Stopped: true, Reason: "removed by an operator"}, Node: r.info.Node, Since: time.Now().UTC(),
		}, e, is)
		return err
	})
	return seq, err
}

// compared is the record that was read, if it is one of a child of the tree. The
// error is that it can't be read, or is not the one that was expected.
func (r *Registry) compared(e Entry, is bool, expect uint64) (rec SpecRecord, known bool, err error) {
	seq := uint64(0)
	if is {
		if rec, err = specIn(e.Value, e.Key.Name); err != nil {
			return rec, false, fmt.Errorf("%w%s", err, remedy(e.Key, r.store))
		}
		if known = !rec.Removed; known {
			seq = e.Seq
		}
	}
	if seq != expect {
		err = fmt.Errorf("%s: %w", e.Key.Name, ErrChanged)
	}
	return rec, known, err
}
