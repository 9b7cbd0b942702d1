package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/placement"
)

// Host is what the coordinator needs of its node.
type Host interface {
	// StartChild has an incarnation, perhaps this node's own, start a child of
	// the cluster's tree, and returns once it runs there. supervisor.ErrChildFailed
	// says that the child itself made its start fail. After any other error it may
	// run there or not. It is called from many goroutines.
	StartChild(ctx context.Context, incarnation string, s SpecRecord) error
	// StopChild has an incarnation, perhaps this node's own, stop a child of the
	// cluster's tree that runs there though its record says that it is stopped, or
	// has a higher Revision than what runs. What the leader knows may be old: the
	// incarnation is to look for itself. The record stays as it is. It is called from
	// many goroutines.
	StopChild(ctx context.Context, incarnation, child string) error
	// Happened is told of what people may want to know. It must not block.
	Happened(e Event)
}

// ErrNotLeading means that this node does not coordinate the cluster, or no
// longer: ask the one that [Coordinator.Leader] names.
var ErrNotLeading = genserver.NewError("cluster.not_leading", "this node does not lead the cluster")

// Coordinator is a node's part in the coordination of its cluster. One node
// leads, by the lead record; it places the children that are on record, adopts
// those that run, and declares nodes dead. The others watch it, and take its
// place when it has ended.
//
//	following ──the leader has ended, or there is none──▶ leading
//	    ▲                                                    │
//	    └──────────────another has the record────────────────┘
//
// A leader that does not know yet that it is none any more does no harm: what it
// has started goes by the own records, like every other start.
type Coordinator struct {
	r    *Registry
	host Host
	life context.Context //nolint:containedctx // ends with Resign, or the registry
	end  context.CancelFunc
	done chan struct{} // closed when nothing runs any more

	ring bell // the lead record has changed, or its holder has ended

	mu        sync.Mutex
	candidate *placement.Candidate
	lead      Owner         // by the newest state of the record that was seen
	news      chan struct{} // closed, and made anew, when it changes who leads
	term      *term         // while this node leads
}

// watchAgain is the pause between attempts to watch or list records.
const watchAgain = 500 * time.Millisecond

// Coordinate has the node take part. It ends with the registry, or by
// [Coordinator.Resign].
func (r *Registry) Coordinate(h Host) *Coordinator {
	c := &Coordinator{
		r: r, host: h, done: make(chan struct{}), ring: newBell(),
		candidate: placement.NewCandidate(r.self.Incarnation), news: make(chan struct{}),
	}
	c.life, c.end = context.WithCancel(r.life)
	if !r.begin() {
		close(c.done)
		return c
	}
	go func() {
		defer r.wg.Done()
		defer close(c.done)
		defer c.end()
		c.run()
	}()
	return c
}

// Leader waits until it is known who leads, and says so; the Epoch is the lead
// record's sequence. genserver.ErrUnavailable: ctx has ended before, or, if that
// has no deadline, [Timing].Judge and some seconds have passed.
func (c *Coordinator) Leader(ctx context.Context) (Owner, error) {
	ctx, cancel := c.r.bounded(ctx)
	defer cancel()
	for {
		c.mu.Lock()
		lead, news := c.lead, c.news
		leader, _ := c.candidate.Leader()
		c.mu.Unlock()
		if leader != "" {
			return lead, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return Owner{}, undelivered(unavailable("", fmt.Errorf("nobody is known to lead the cluster: %w", ctx.Err())))
		case <-c.life.Done():
			return Owner{}, undelivered(unavailable("", errLeft))
		}
	}
}

// Leads reports whether this node leads, as far as it knows.
func (c *Coordinator) Leads() bool {
	_, err := c.leading()
	return err == nil
}

// Resign ends the node's part, and gives the lead back if it has it: another node
// takes it at once. When it returns, no start is under way on this node's behalf.
// genserver.ErrUnavailable: ctx ended before; the record may still be there.
func (c *Coordinator) Resign(ctx context.Context) error {
	c.end()
	select {
	case <-c.done:
	case <-ctx.Done():
		return unavailable("", ctx.Err())
	}
	if !c.r.begin() {
		return nil // the registry has been left, and with it the lead
	}
	defer c.r.wg.Done()
	ctx, unbind := c.r.within(ctx)
	defer unbind()
	if _, err := c.r.settle(ctx, leadKey, leadHolder); err != nil {
		return unavailable("", err)
	}
	return nil
}

// run leads, or waits for its turn to.
func (c *Coordinator) run() {
	stop := c.watch()
	if stop == nil {
		return
	}
	defer stop()
	for c.life.Err() == nil && c.r.Err() == nil {
		switch step := c.next(); step.Do {
		case placement.LookAtLead:
			c.look()
		case placement.FollowLead:
			c.follow(step.Holder)
		case placement.AwaitTurn:
			c.r.waitUntil(c.life, step.At, c.ring)
		case placement.TakeLead:
			c.take()
		case placement.Lead:
			c.govern()
		}
	}
}

func (c *Coordinator) next() placement.LeadStep {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.candidate.Next(c.r.gate.now())
}

// watch is repeated until the store takes it.
func (c *Coordinator) watch() (stop func()) {
	for {
		stop, err := c.r.store.Watch(c.life, KindLead, c.changed)
		if err == nil {
			return stop
		}
		if pause(c.life, watchAgain) != nil {
			return nil
		}
	}
}

// look reads the lead record.
func (c *Coordinator) look() {
	err := c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.candidate.Looked(c.r.gate.now(), err == nil)
}

func (c *Coordinator) read() error {
	ctx, cancel := bounded(c.life)
	defer cancel()
	e, err := c.r.store.Get(ctx, leadKey)
	switch {
	case errors.Is(err, ErrNotFound):
		c.saw(Owner{Epoch: e.Seq})
		return nil
	case err != nil:
		return err
	}
	rec, err := DecodeLead(e.Value)
	if err != nil {
		c.r.log.Error("the lead record cannot be read"+remedy(leadKey, c.r.store), "error", err)
		return err
	}
	c.saw(Owner{Node: rec.Node, Incarnation: rec.Incarnation, Epoch: e.Seq})
	return nil
}

// changed takes a watched change of the lead record.
func (c *Coordinator) changed(ch Change) {
	lead := Owner{Epoch: ch.Seq}
	if rec, err := DecodeLead(ch.Value); err == nil && !ch.Deleted {
		lead.Node, lead.Incarnation = rec.Node, rec.Incarnation
	}
	c.saw(lead)
	c.ring.signal()
}

func (c *Coordinator) saw(lead Owner) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if lead.Epoch > c.lead.Epoch {
		c.candidate.Saw(lead.Incarnation, lead.Epoch)
		c.lead = lead
		c.tell()
	}
}

// tell lets those look who wait; c.mu is held.
func (c *Coordinator) tell() {
	close(c.news)
	c.news = make(chan struct{})
}

// follow waits for the leader's end, and reads the record again now and then, until
// something else is to be done.
func (c *Coordinator) follow(leader string) {
	stop := c.r.Follow(leader, func(error) {
		living := c.r.living()
		c.mu.Lock()
		c.candidate.Ended(c.r.gate.now(), leader, living)
		c.tell()
		c.mu.Unlock()
		c.ring.signal()
	})
	defer stop()
	for c.life.Err() == nil && c.r.Err() == nil {
		switch step := c.next(); {
		case step.Do == placement.LookAtLead:
			c.look()
		case step.Do == placement.FollowLead && step.Holder == leader:
			c.r.waitUntil(c.life, step.At, c.ring)
		default:
			return
		}
	}
}

// take makes this node the leader, unless one that lives is.
func (c *Coordinator) take() {
	value, err := LeadRecord{Incarnation: c.r.self.Incarnation, Node: c.r.info.Node, Since: time.Now().UTC()}.Encode()
	var got taking
	if err != nil {
		c.r.log.Error("the lead record cannot be written", "error", err)
	} else {
		ctx, cancel := bounded(c.life)
		defer cancel()
		got, err = c.r.take(ctx, leadKey, value, leadHolder)
	}
	if err == nil {
		c.r.log.Info("leading the cluster", "epoch", got.seq, "after", got.from)
		c.saw(Owner{Node: c.r.info.Node, Incarnation: c.r.self.Incarnation, Epoch: got.seq})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.candidate.Took(c.r.gate.now(), got.seq, err == nil)
}

// govern leads until another does, or the node's part ends.
func (c *Coordinator) govern() {
	t := newTerm(c)
	c.mu.Lock()
	c.term = t
	c.mu.Unlock()
	t.run()
	c.mu.Lock()
	c.term = nil
	c.mu.Unlock()
}

// leading is the term of this node, if it leads.
func (c *Coordinator) leading() (*term, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.term == nil {
		return nil, ErrNotLeading
	}
	return c.term, nil
}

var leadKey = Key{Kind: KindLead}

func leadHolder(value []byte) (string, error) {
	rec, err := DecodeLead(value)
	return rec.Incarnation, err
}
