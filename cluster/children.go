package cluster

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/civitas-go/civitas/internal/placement"
)

// Child is what the leader knows of a child of the cluster's tree.
type Child struct {
	SpecRecord
	// State is unplaced, starting, running, waiting (for another attempt after it
	// failed), unplaceable or stopped.
	State string
	// On is the incarnation that runs or starts it, and OnNode its node's name, if that
	// is known; empty for none.
	On, OnNode string
	// Runs is the Revision by which one that is running runs.
	Runs uint64
	// Seq is the record's sequence.
	Seq uint64
	// Why says why it is unplaceable or waiting, or failed last.
	Why string
	// Listed is a stopped child that the node where it was stopped still lists.
	Listed bool
}

// Place makes sure that the leader knows of children that were written to the
// records, and waits until it is decided about each where it runs, or why it does
// not. Of those that are being started it waits for the ones on the incarnation
// that asks. A child without a record is not in the answer.
//
// What the node that asks, an incarnation of that name, has announced is known to
// the leader by then. Of each child it gives the sequence of the record that it
// has written or read, or 0.
//
// ErrNotLeading: this node does not lead. genserver.ErrUnavailable: ctx ended before.
func (c *Coordinator) Place(ctx context.Context, node, incarnation string, children map[string]uint64) ([]Child, error) {
	t, err := c.leading()
	if err != nil {
		return nil, err
	}
	w := &waiter{asks: incarnation, left: map[string]uint64{}, done: make(chan struct{})}
	if !t.post(func() { t.meet(node, incarnation, func() { t.await(w, children) }) }) {
		return nil, ErrNotLeading
	}
	select {
	case <-w.done:
		return w.children, nil
	case <-t.ended:
		return nil, ErrNotLeading
	case <-ctx.Done():
		t.post(func() { t.giveUp(w) })
		return nil, unavailable("", ctx.Err())
	}
}

// GaveUp tells the leader that an incarnation has given up a child that crashed
// again and again. ErrNotLeading: this node does not lead.
func (c *Coordinator) GaveUp(name, incarnation, reason string) error {
	t, err := c.leading()
	if err == nil && !t.post(func() {
		t.step(placement.GaveUp{Name: name, Incarnation: incarnation, Reason: reason})
	}) {
		err = ErrNotLeading
	}
	return err
}

// Children are all children of the tree, by name. ErrNotLeading: this node does not
// lead. genserver.ErrUnavailable: ctx ended before there was an answer.
func (c *Coordinator) Children(ctx context.Context) ([]Child, error) {
	return c.ask(ctx, (*term).all)
}

// Look tells of some children, removed ones too, by their records of the given
// sequences, or newer ones; those that the leader does not know yet are not in the
// answer, and are read. Its errors are those of Children.
func (c *Coordinator) Look(ctx context.Context, children map[string]uint64) ([]Child, error) {
	return c.ask(ctx, func(t *term) []Child { return t.look(children) })
}

func (c *Coordinator) ask(ctx context.Context, of func(*term) []Child) ([]Child, error) {
	t, err := c.leading()
	if err != nil {
		return nil, err
	}
	answer := make(chan []Child, 1)
	if !t.post(func() { answer <- of(t) }) {
		return nil, ErrNotLeading
	}
	select {
	case all := <-answer:
		slices.SortFunc(all, func(a, b Child) int { return cmp.Compare(a.Name, b.Name) })
		return all, nil
	case <-t.ended:
		return nil, ErrNotLeading
	case <-ctx.Done():
		return nil, unavailable("", ctx.Err())
	}
}

// waiter waits until it is decided about some children.
type waiter struct {
	asks     string
	left     map[string]uint64 // and what the record's sequence is at least
	children []Child
	done     chan struct{} // closed when none is left
}

// meet reads what a node that is known to live offers, and goes on then.
func (t *term) meet(node, incarnation string, then func()) {
	t.inLane("", func() {
		e, err := t.get(nodeKey(node))
		t.post(func() {
			t.finished("")
			if err == nil {
				t.nodeChanged(Change{Key: e.Key, Value: e.Value, Seq: e.Seq})
			}
			t.lives(incarnation)
			then()
		})
	})
}

// await begins to wait; what the leader does not know of yet is read.
func (t *term) await(w *waiter, children map[string]uint64) {
	if len(children) == 0 {
		close(w.done)
		return
	}
	w.left = maps.Clone(children)
	for name, seq := range children {
		t.waiters[name] = append(t.waiters[name], w)
		if s, known := t.specs[name]; !known || s.seq < seq {
			t.read(specKey(name))
		}
	}
	for name := range children {
		t.decided(name)
	}
}

// decided tells those who wait for a child, if there is something to tell.
func (t *term) decided(name string) {
	waiting := t.waiters[name]
	if len(waiting) == 0 {
		return
	}
	child, known := t.child(name)
	if !known && !t.absent[name] {
		return
	}
	t.waiters[name] = slices.DeleteFunc(waiting, func(w *waiter) bool {
		if known && (t.specs[name].seq < w.left[name] || !t.settled(child, w.asks)) {
			return false
		}
		if known {
			w.children = append(w.children, child)
		}
		if delete(w.left, name); len(w.left) == 0 {
			close(w.done)
		}
		return true
	})
	if len(t.waiters[name]) == 0 {
		delete(t.waiters, name)
		delete(t.absent, name)
	}
}

func (t *term) giveUp(w *waiter) {
	for name := range w.left {
		t.waiters[name] = slices.DeleteFunc(t.waiters[name], func(o *waiter) bool { return o == w })
		if len(t.waiters[name]) == 0 {
			delete(t.waiters, name)
		}
	}
}

// settled tells whether the one who asks need not wait any more.
func (t *term) settled(c Child, asks string) bool {
	switch c.State {
	case placement.Unplaced.String():
		return false
	case placement.Starting.String():
		return c.On != asks
	case placement.Running.String():
		return t.core.Lives(c.On) // or it may have to be started anew
	default:
		return true
	}
}

func (t *term) all() []Child {
	all := make([]Child, 0, len(t.specs))
	for name := range t.specs {
		if child, ok := t.child(name); ok && !child.Removed {
			all = append(all, child)
		}
	}
	return all
}

func (t *term) look(children map[string]uint64) []Child {
	var some []Child
	for name, seq := range children {
		child, ok := t.child(name)
		if ok && child.Seq >= seq {
			some = append(some, child)
		} else {
			t.read(specKey(name))
		}
	}
	return some
}

func (t *term) child(name string) (Child, bool) {
	state, ok := t.core.State(name)
	if !ok {
		return Child{}, false
	}
	rec := t.specs[name].record
	return Child{
		SpecRecord: rec, Seq: t.specs[name].seq, State: state.Phase.String(), On: state.On, OnNode: t.core.Node(state.On),
		Runs: state.Revision, Why: state.Reason,
		Listed: rec.Stopped && t.core.Lives(rec.StoppedBy),
	}, true
}
