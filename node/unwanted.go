package node

import (
	"context"
	"errors"

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

// stop stops a child as the leader has ordered. Nothing is written down about that: the
// record says it already. If it does not any more, or an operator is having the child
// run again, the order is an old one.
func (p *placed) stop(ctx context.Context, child string) error {
	if !p.n.registry.Down(ctx, child) || !p.order(child) {
		return about(errNotStopped, child, errors.New("it is to run"))
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

// order begins to carry an order out, unless an operator restarts the child.
func (p *placed) order(child string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wanted[child] > 0 {
		return false
	}
	p.ordered[child] = true
	return true
}

func (p *placed) carriedOut(child string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.ordered, child)
}

// isOrdered reports that a child is being stopped as the leader has ordered.
func (p *placed) isOrdered(child string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ordered[child]
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
