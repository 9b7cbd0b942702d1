package node

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

const (
	// mostSteps is in how many steps at most a node's own children of the
	// cluster's tree are started, each after the step before: one by one, unless
	// there are more.
	mostSteps = 64
	// bringAtOnce is how many records are written at a time.
	bringAtOnce = 32
	// placeWait bounds one question to the leader, which is asked again then.
	placeWait = 10 * time.Second
	// leaveWait bounds what a node that stops tells others before.
	leaveWait = time.Second
)

// Difference is a child that a node's Tree has otherwise than the cluster's
// records, which hold.
type Difference struct {
	Name string `json:"name"`
	// Field is what differs first: type, config, watchdog, names, restart,
	// shutdown or placement.
	Field string `json:"field"`
}

// startSpread starts the tree of a node that has others beside it: the root with
// the node's own children, and, in their turn, those that are the cluster's.
func (n *Node) startSpread(ctx context.Context) error {
	tree, rest := n.cfg.Tree, []supervisor.Child(nil)
	for i, c := range tree.Children {
		if _, clusters := n.placed.own[c.Name]; clusters {
			tree.Children, rest = tree.Children[:i:i], tree.Children[i:]
			break
		}
	}
	if err := n.startRoot(ctx, tree); err != nil {
		return err
	}
	if err := n.registry.Announce(ctx, n.placed.offer()); err != nil {
		return err
	}
	if len(rest) > 0 { // the leader knows of this node before it hears of the children
		if err := n.placed.place(ctx, nil); err != nil {
			return err
		}
	}
	for len(rest) > 0 {
		group := n.placed.group(rest)
		rest = rest[len(group):]
		if err := n.placed.startGroup(ctx, group); err != nil {
			return err
		}
	}
	return nil
}

// group are the first children, as long as they are the cluster's, or one that
// is the node's own.
func (p *placed) group(children []supervisor.Child) []supervisor.Child {
	for i, c := range children {
		if _, clusters := p.own[c.Name]; !clusters {
			return children[:max(i, 1)]
		}
	}
	return children
}

func (p *placed) startGroup(ctx context.Context, group []supervisor.Child) error {
	if _, clusters := p.own[group[0].Name]; !clusters {
		return p.startOwn(ctx, group[0])
	}
	for step := (len(group) + mostSteps - 1) / mostSteps; len(group) > 0; {
		now := group[:min(step, len(group))]
		group = group[len(now):]
		names := make([]string, len(now))
		for i, c := range now {
			names[i] = c.Name
		}
		records, err := p.bring(ctx, names)
		if err != nil {
			return err
		}
		if err := p.place(ctx, records); err != nil {
			return err
		}
	}
	return nil
}

// startOwn starts a child that is the node's own after one that is the cluster's.
func (p *placed) startOwn(ctx context.Context, c supervisor.Child) error {
	var reason error
	_, err := genserver.Call(ctx, p.n.sys.Ref(rootName), supervisor.StartChild{
		Name: c.Name, Run: c.Run, Restart: c.Restart, Shutdown: c.Shutdown, Scope: c.Scope, OnPartition: c.OnPartition, Significant: c.Significant,
		Ended: func(why error) { reason = why }, // before the answer
	}, genserver.WithTimeout(0))
	if err != nil && reason != nil {
		return startFailed(c.Name, reason)
	}
	return err
}

// startFailed is as a supervisor says it of a child.
func startFailed(child string, reason error) error {
	return fmt.Errorf("%w: %w", &genserver.Error{Code: supervisor.ErrStartFailed.Code, Text: "child " + child}, reason)
}

// bring writes children to the records, if they are not there, and returns the
// records' sequences.
func (p *placed) bring(ctx context.Context, names []string) (map[string]uint64, error) {
	var (
		wg     sync.WaitGroup
		offers atomic.Bool
		slots  = make(chan struct{}, bringAtOnce)
		mu     sync.Mutex
		errs   []error
		seqs   = make(map[string]uint64, len(names))
	)
	for _, name := range names {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			holds, seq, err := p.n.registry.Bring(ctx, p.own[name].record)
			mu.Lock()
			seqs[name] = seq
			if err != nil {
				errs = append(errs, err)
			}
			mu.Unlock()
			if err == nil && p.compare(name, holds) {
				offers.Store(true)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil || !offers.Load() {
		return seqs, err
	}
	return seqs, p.n.registry.Announce(ctx, p.offer())
}

// mostDifferences is how many of them a status has.
const mostDifferences = 100

// differences are those that there were at the start, and are left: the records may have
// been changed since.
func (p *placed) differences(ctx context.Context) []Difference {
	p.mu.Lock()
	all := slices.Clone(p.differs[:min(len(p.differs), mostDifferences)])
	p.mu.Unlock()
	var left []Difference
	for _, d := range all {
		if rec, known := p.n.registry.Spec(ctx, d.Name); known {
			d.Field = rec.Differs(p.own[d.Name].record)
		}
		if d.Field != "" {
			left = append(left, d)
		}
	}
	return left
}

// compare reports where the records say otherwise than the tree. It is true if
// the node can run more than it has offered.
func (p *placed) compare(name string, holds cluster.SpecRecord) (offers bool) {
	own := p.own[name].record
	if holds.Bound && !own.Bound && holds.Type == own.Type {
		p.mu.Lock()
		p.bound[name], offers = true, true
		p.mu.Unlock()
	}
	field := holds.Differs(own)
	if field == "" {
		return offers
	}
	p.n.log.Warn("the cluster's records have another child of this name, and they hold",
		"server", name, "differs_in", field, "brought_by", holds.Node, "since", holds.Since, "to_change", "civitas apply -f FILE")
	p.mu.Lock()
	defer p.mu.Unlock()
	p.differs = append(p.differs, Difference{Name: name, Field: field})
	return offers
}

// place waits until it is decided where children run, and those that run here do.
// The error is of one that failed to start here.
func (p *placed) place(ctx context.Context, records map[string]uint64) error {
	self := p.n.registry.Incarnation()
	for {
		var children []placedChild
		err := p.atLeader(ctx, func(ctx context.Context, leader string) (err error) {
			ctx, cancel := context.WithTimeout(ctx, placeWait)
			defer cancel()
			if leader != self {
				var answer placements
				err = p.ask(ctx, leader, askPlace{Node: p.n.cfg.Name, Incarnation: self, Children: records}, &answer)
				children = answer.Children
				return err
			}
			found, err := p.lead.Place(ctx, p.n.cfg.Name, self, records)
			children = placedChildren(found)
			return err
		})
		if err := p.firstFailure(maps.Keys(records)); err != nil {
			return err
		}
		switch {
		case err == nil:
			return p.awaitOwn(ctx, children)
		case ctx.Err() != nil:
			return err
		case p.n.registry.Err() != nil:
			return p.n.registry.Err()
		}
	}
}

// firstFailure is why a child failed to start here, if one did.
func (p *placed) firstFailure(names iter.Seq[string]) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name := range names {
		if reason := p.failed[name]; reason != nil {
			return startFailed(name, reason)
		}
	}
	return nil
}

// awaitOwn waits for the starts that are under way here, and says which children
// don't run.
func (p *placed) awaitOwn(ctx context.Context, children []placedChild) error {
	for _, c := range children {
		p.mu.Lock()
		s := p.starting[c.Name]
		p.mu.Unlock()
		if s != nil {
			select {
			case <-s.done:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := p.firstFailure(slices.Values([]string{c.Name})); err != nil {
				return err
			}
		}
		if c.State != "running" && c.State != "starting" {
			p.n.log.Warn("a child of the cluster's tree does not run", "server", c.Name, "state", c.State, "reason", c.Why)
		}
	}
	return nil
}

// leave tells the others that the node stops, so that its children find another
// place as soon as it has given them back.
func (p *placed) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaveWait)
	defer cancel()
	offer := p.offer()
	offer.Leaving = true
	if err := errors.Join(p.n.registry.Announce(ctx, offer), p.lead.Resign(ctx)); err != nil {
		p.n.log.Warn("the cluster was not told that this node stops; it will see", "node", p.n.cfg.Name, "error", err)
	}
}
