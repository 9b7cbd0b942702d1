package node

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

// placed are the children of the cluster's tree that this node runs, has run or
// could run. It is the coordinator's cluster.Host.
type placed struct {
	n     *Node
	own   map[string]ownChild // of the node's own tree
	types map[string]decoded
	lead  *cluster.Coordinator

	mu       sync.Mutex
	starting map[string]*starting     // by name
	failed   map[string]error         // why the last start here made the child fail
	marks    map[string]*mark         // on their way to the records
	runs     map[string]uint64        // what was started here, and by which revision of its record
	names    map[string]string        // cluster-wide names, and the children that take them
	ordered  map[string]chan struct{} // stops that the leader has ordered, under way; closed then
	wanted   map[string]int           // restarts by operators, under way
	differs  []Difference
	bound    map[string]bool // of the tree's children, those that the records say are bound
}

// ownChild is a child of the node's tree, and what of it is written down.
type ownChild struct {
	supervisor.Child
	record cluster.SpecRecord
}

// decoded makes a server of a Type, with a config that is read.
type decoded func(func(any) error) (genserver.Spec, error)

// starting is one start, which others may wait for.
type starting struct {
	done   chan struct{}
	reason error // why the child ended, if it did; guarded by placed.mu
	up     bool  // guarded by placed.mu
}

// errNotStarted is of a start that failed for no fault of the child's.
var errNotStarted = genserver.NewError("node.not_started", "not started")

func newPlaced(n *Node) *placed {
	p := &placed{
		n: n, own: map[string]ownChild{}, types: map[string]decoded{},
		starting: map[string]*starting{}, failed: map[string]error{}, marks: map[string]*mark{}, bound: map[string]bool{},
		runs: map[string]uint64{}, names: map[string]string{}, ordered: map[string]chan struct{}{}, wanted: map[string]int{},
	}
	for _, t := range n.cfg.Types {
		p.types[t.Name()] = t.WithDecoded
	}
	records := map[string]cluster.SpecRecord{}
	all, _ := cluster.SpecsOf(n.cfg.Tree, n.cfg.Name)
	for _, r := range all {
		records[r.Name] = r
	}
	for _, c := range n.cfg.Tree.Children {
		r, clusters := records[c.Name]
		if !clusters {
			continue
		}
		p.own[c.Name] = ownChild{Child: c, record: r}
		p.takes(c.Name, r.Names)
		if run := c.Run.GenServer(); p.types[run.TypeName()] == nil && run.TypeName() != supervisor.TypeName {
			p.types[run.TypeName()] = run.WithDecoded
		}
	}
	return p
}

// takes notes which names are a child's.
func (p *placed) takes(child string, names []string) {
	for _, name := range names {
		p.names[name] = child
	}
}

// childOf is the child that a cluster-wide name is of, if it is one's, and the
// revision by which that runs here, or is being started.
func (p *placed) childOf(name string) (child string, revision uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	child = p.names[name]
	return child, p.runs[child]
}

// offer is what the node can run.
func (p *placed) offer() cluster.Offer {
	o := cluster.Offer{Labels: p.n.cfg.Labels}
	for name := range p.types {
		o.Types = append(o.Types, name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, c := range p.own {
		if c.record.Bound || p.bound[name] {
			o.Own = append(o.Own, name)
		}
	}
	return o
}

// child is what a record says, ready to be started.
func (p *placed) child(r cluster.SpecRecord) (supervisor.StartChild, error) {
	c := supervisor.StartChild{Name: r.Name, Restart: r.Restart, Shutdown: r.Shutdown, Scope: supervisor.Cluster, Alone: true}
	if r.Keeps {
		c.OnPartition = supervisor.Keep
	}
	own, mine := p.own[r.Name]
	switch mine = mine && own.record.Type == r.Type; {
	case mine && r.Type == supervisor.TypeName:
		c.Run, c.Scope = own.Run, supervisor.Local
	case mine && own.record.Differs(r) == "", mine && r.Bound:
		c.Run = own.Run
	case r.Bound:
		return c, fmt.Errorf("its config is known to other programs alone")
	case p.types[r.Type] == nil:
		return c, fmt.Errorf("this program has no type %s", r.Type)
	default:
		run, err := p.types[r.Type](func(v any) error { return genserver.JSON.Decode(r.Config, v) })
		if err != nil {
			return c, err
		}
		if report, crash := run.Watched(); report != r.ReportAfter || crash != r.CrashAfter {
			run = run.Watchdog(r.ReportAfter, r.CrashAfter)
		}
		c.Run = run
	}
	return c, nil
}

// StartChild implements cluster.Host.
func (p *placed) StartChild(ctx context.Context, incarnation string, r cluster.SpecRecord) error {
	if incarnation == p.n.registry.Incarnation() {
		return p.start(ctx, r)
	}
	return p.askStart(ctx, incarnation, r)
}

// Happened implements cluster.Host.
func (p *placed) Happened(e cluster.Event) { p.n.happened(e) }

// start starts a child under the node's own root, which restarts it from then on.
// Nil says that it runs.
func (p *placed) start(ctx context.Context, r cluster.SpecRecord) error {
	if p.n.stopping.Load() {
		return about(errNotStarted, r.Name, errStopping)
	}
	c, err := p.child(r)
	if err != nil {
		return about(errNotStarted, r.Name, err)
	}
	s := &starting{done: make(chan struct{})}
	c.Ended = func(reason error) { p.ended(r.Name, s, reason) }
	undo, err := p.begin(ctx, r, s)
	if err != nil {
		return about(errNotStarted, r.Name, err)
	}
	err = p.startUnderRoot(ctx, c)
	p.mu.Lock()
	delete(p.starting, r.Name)
	reason := s.reason
	s.up = err == nil
	if !s.up {
		undo()
	}
	crash := errors.Is(err, supervisor.ErrChildFailed) && !refused(reason)
	if crash {
		p.failed[r.Name] = reason
	}
	p.mu.Unlock()
	close(s.done)
	switch {
	case err == nil && reason != nil: // it has ended meanwhile
		p.down(r.Name, reason)
		return nil
	case err == nil, errors.Is(err, supervisor.ErrAlreadyStarted):
		return nil
	case crash:
		return about(supervisor.ErrChildFailed, r.Name, reason)
	default:
		return about(errNotStarted, r.Name, errors.Join(err, reason))
	}
}

// begin begins a start, once no order to stop the child is under way. What is said
// of what runs is taken back by undo, with p.mu held.
func (p *placed) begin(ctx context.Context, r cluster.SpecRecord, s *starting) (undo func(), err error) {
	for {
		p.mu.Lock()
		stopping := p.ordered[r.Name]
		switch {
		case stopping != nil:
		case p.starting[r.Name] != nil:
			err = errors.New("it is being started")
		case p.wanted[r.Name] > 0:
			err = errors.New("an operator restarts it")
		default:
			was, ran := p.runs[r.Name]
			undo = func() {
				if p.runs[r.Name] = was; !ran {
					delete(p.runs, r.Name)
				}
			}
			p.starting[r.Name], p.runs[r.Name] = s, r.Revision
			p.takes(r.Name, r.Names)
			delete(p.failed, r.Name)
		}
		p.mu.Unlock()
		if stopping == nil {
			return undo, err
		}
		select {
		case <-stopping:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// refused tells whether a start failed since the name could not be had.
func refused(reason error) bool {
	for _, err := range []error{genserver.ErrNameTaken, genserver.ErrFenced, genserver.ErrUnavailable, genserver.ErrTimeout, genserver.ErrDraining, genserver.Shutdown} {
		if errors.Is(reason, err) {
			return true
		}
	}
	return false
}

// startUnderRoot adds a child to the root. One that is listed there still, since
// its name was lost, or since it was stopped, is forgotten before.
func (p *placed) startUnderRoot(ctx context.Context, c supervisor.StartChild) error {
	root := p.n.sys.Ref(rootName)
	_, err := genserver.Call(ctx, root, c, genserver.WithTimeout(0))
	if !errors.Is(err, supervisor.ErrAlreadyPresent) {
		return err
	}
	if _, err := genserver.Call(ctx, root, supervisor.DeleteChild{Name: c.Name}, genserver.WithTimeout(0)); err != nil {
		return err
	}
	_, err = genserver.Call(ctx, root, c, genserver.WithTimeout(0))
	return err
}

// ended is told by the supervisor that a child is down for good, or did not start.
func (p *placed) ended(name string, s *starting, reason error) {
	p.mu.Lock()
	up := s.up
	if !up {
		s.reason = reason
	}
	p.mu.Unlock()
	if up {
		p.down(name, reason)
	}
}

// down follows the end for good of a child that ran here.
func (p *placed) down(name string, reason error) {
	switch {
	case p.isOrdered(name) && errors.Is(reason, genserver.Shutdown):
		// Its record says it, or what is to run in its place.
	case p.n.stopping.Load(), errors.Is(reason, genserver.ErrFenced) && !errors.Is(reason, supervisor.ErrRestartLimit):
		// It goes on elsewhere.
	case errors.Is(reason, supervisor.ErrRestartLimit):
		p.later(func() { p.gaveUp(name, reason) })
	default:
		done := !errors.Is(reason, genserver.Shutdown) // which is what a TerminateChild ends it with
		p.mu.Lock()
		ran := p.runs[name]
		p.mu.Unlock()
		p.mark(name, cluster.Stop{Stopped: true, Done: done, Ran: ran, Reason: shortened(reason.Error())})
	}
}

// later does something outside of the supervisor's turn, unless the node ends.
func (p *placed) later(do func()) {
	if p.n.router.begin() {
		go func() {
			defer p.n.router.wg.Done()
			do()
		}()
	}
}

// gaveUp forgets a child that crashes again and again, and tells the leader, who
// has it started once more, here or elsewhere.
func (p *placed) gaveUp(name string, reason error) {
	ctx, cancel := context.WithTimeout(p.n.router.life, answerTimeout)
	defer cancel()
	if _, err := genserver.Call(ctx, p.n.sys.Ref(rootName), supervisor.DeleteChild{Name: name}); err != nil {
		p.n.log.Warn("a child that was given up is still listed", "server", name, "error", err)
	}
	err := p.atLeader(ctx, func(ctx context.Context, leader string) error {
		if leader == p.n.registry.Incarnation() {
			return p.lead.GaveUp(name, leader, reason.Error())
		}
		return p.ask(ctx, leader, tellGaveUp{Name: name, Incarnation: p.n.registry.Incarnation(), Reason: shortened(reason.Error())}, nil)
	})
	if err != nil {
		p.n.log.Warn("the leader was not told that a child was given up", "server", name, "error", err)
	}
}

// about is an error of a kind, about a child.
func about(kind *genserver.Error, child string, reason error) error {
	return &genserver.Error{Code: kind.Code, Text: fmt.Sprintf("%s: %s: %v", child, kind.Text, reason)}
}
