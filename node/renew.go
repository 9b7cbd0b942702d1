package node

import (
	"context"
	"errors"

	"github.com/civitas-go/civitas/cluster"
)

// isOld tells whether a child of the cluster's tree that this node has runs, or ran,
// by an older revision than its record has.
func (p *placed) isOld(ctx context.Context, row ServerInfo) bool {
	if !p.has(row) {
		return false
	}
	rec, known := p.n.registry.Spec(ctx, row.Name)
	p.mu.Lock()
	defer p.mu.Unlock()
	return known && !rec.Removed && rec.Revision > p.runs[row.Name]
}

// renew has such a child run by its record, as an operator wants: stopped here and
// placed anew, here or elsewhere. It waits until it is.
func (p *placed) renew(ctx context.Context, child string) error {
	if err := p.stop(ctx, child); err != nil && !errors.Is(err, errNotStopped) { // the leader does
		return err
	}
	seq, err := p.markAndWait(ctx, child, cluster.Stop{})
	if err != nil {
		return err
	}
	return p.place(ctx, map[string]uint64{child: seq})
}

// elsewhere corrects the row of a child that this node has no more, if another runs it,
// or is to.
func (p *placed) elsewhere(ctx context.Context, row *ServerInfo) {
	if p == nil || row.Supervisor != rootName {
		return
	}
	rec, known := p.n.registry.Spec(ctx, row.Name)
	if !known || rec.Stopped {
		return
	}
	row.Node, row.State = "", "starting"
	if owner, err := p.n.registry.Resolve(ctx, rec.Names[0]); err == nil {
		row.Node, row.State, row.Epoch = owner.Node, "running", owner.Epoch
	}
}
