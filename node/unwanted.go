package node

import (
	"context"
	"errors"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

// errNotStopped is of an order that is not carried out.
var errNotStopped = genserver.NewError("node.not_stopped", "not stopped")

// StopChild implements cluster.Host.
func (p *placed) StopChild(ctx context.Context, incarnation, child string) error {
	if incarnation == p.n.registry.Incarnation() {
		return p.stop(ctx, child)
	}
	return p.ask(ctx, incarnation, askStopChild{Name: child}, nil)
}

// stop stops a child as the leader has ordered, and forgets it. Nothing is written down
// about that: the record says already that it is stopped, or what is to run in its
// place. If it does not, or an operator is having the child run again, the order is an
// old one.
func (p *placed) stop(ctx context.Context, child string) error {
	rec, known := p.n.registry.Spec(ctx, child)
	if !known {
		return about(errNotStopped, child, errors.New("its record can't be read"))
	}
	if err := p.order(rec); err != nil {
		return about(errNotStopped, child, err)
	}
	defer p.carriedOut(child)
	root := p.n.sys.Ref(rootName)
	_, err := genserver.Call(ctx, root, supervisor.TerminateChild{Name: child}, genserver.WithTimeout(0))
	if err == nil {
		_, err = genserver.Call(ctx, root, supervisor.DeleteChild{Name: child}, genserver.WithTimeout(0))
	}
	if errors.Is(err, supervisor.ErrNotFound) {
		return nil
	}
	return err
}

// order begins to carry an order out, if the record says otherwise than what runs, and no
// operator restarts the child. A read may be old; what runs is never newer than the
// newest record, so that a higher revision is certain.
func (p *placed) order(rec cluster.SpecRecord) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	runs := p.runs[rec.Name]
	switch {
	case p.wanted[rec.Name] > 0:
		return errors.New("an operator restarts it")
	case p.ordered[rec.Name] != nil:
		return errors.New("it is being stopped")
	case rec.Revision < runs, rec.Revision == runs && !rec.Stopped:
		return errors.New("it is to run as it does")
	}
	p.ordered[rec.Name] = make(chan struct{})
	return nil
}

func (p *placed) carriedOut(child string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.ordered[child])
	delete(p.ordered, child)
}

// isOrdered reports that a child is being stopped as the leader has ordered.
func (p *placed) isOrdered(child string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ordered[child] != nil
}

// want keeps the leader's old orders off a child that an operator restarts, until
// done is called.
func (p *placed) want(child string) (done func()) {
	if p == nil {
		return func() {}
	}
	add := func(n int) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.wanted[child] += n; p.wanted[child] == 0 {
			delete(p.wanted, child)
		}
	}
	add(1)
	return func() { add(-1) }
}
