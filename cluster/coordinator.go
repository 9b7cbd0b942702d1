package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

// Host is what the coordinator needs of its node.
type Host interface {
	// StartChild has an incarnation, perhaps this node's own, start a child of
	// the cluster's tree, and returns once it runs there. supervisor.ErrChildFailed
	// says that the child itself made its start fail. After any other error it may
	// run there or not. It is called from many goroutines.
	StartChild(ctx context.Context, incarnation string, s SpecRecord) error
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

	ring bell // the lead record has changed

	mu   sync.Mutex
	lead Owner         // by the newest state of the record that was seen; zero for none
	seq  uint64        // of that state
	news chan struct{} // closed, and made anew, when one of the two changes
	term *term         // while this node leads
}

const (
	// eachPlace keeps those who follow from taking the lead all at once.
	eachPlace = 50 * time.Millisecond
	// leadRead is how often the lead record is read, should a copy be lost.
	leadRead = 5 * time.Second
)

// Coordinate has the node take part. It ends with the registry, or by
// [Coordinator.Resign].
func (r *Registry) Coordinate(h Host) *Coordinator {
	c := &Coordinator{r: r, host: h, done: make(chan struct{}), ring: newBell(), news: make(chan struct{})}
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
		c.mu.Unlock()
		if lead.Incarnation != "" {
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
		lead, err := c.read()
		switch {
		case err != nil:
			_ = pause(c.life, leadRead/10)
		case lead.Incarnation != "" && lead.Incarnation != c.r.self.Incarnation:
			c.await(lead)
		default:
			if seq, ok := c.take(); ok {
				c.govern(seq)
			}
		}
	}
}

// watch is repeated until the store takes it.
func (c *Coordinator) watch() (stop func()) {
	for {
		stop, err := c.r.store.Watch(c.life, KindLead, c.changed)
		if err == nil {
			return stop
		}
		if pause(c.life, leadRead/10) != nil {
			return nil
		}
	}
}

// read is the lead record as it is now; zero for none.
func (c *Coordinator) read() (Owner, error) {
	ctx, cancel := bounded(c.life)
	defer cancel()
	e, err := c.r.store.Get(ctx, leadKey)
	switch {
	case errors.Is(err, ErrNotFound):
		c.saw(Owner{Epoch: e.Seq})
		return Owner{}, nil
	case err != nil:
		return Owner{}, err
	}
	rec, err := DecodeLead(e.Value)
	if err != nil {
		c.r.log.Error("the lead record cannot be read"+remedy(leadKey, c.r.store), "error", err)
		return Owner{}, err
	}
	lead := Owner{Node: rec.Node, Incarnation: rec.Incarnation, Epoch: e.Seq}
	c.saw(lead)
	return lead, nil
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
	if lead.Epoch > c.seq {
		c.lead, c.seq = lead, lead.Epoch
		c.tell()
	}
}

// tell lets those look who wait; c.mu is held.
func (c *Coordinator) tell() {
	close(c.news)
	c.news = make(chan struct{})
}

// newest is the sequence of the newest state of the record that was seen.
func (c *Coordinator) newest() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seq
}

// await returns when the leader has ended, its turn to follow has come for this
// node, or the record is another.
func (c *Coordinator) await(lead Owner) {
	ended := newBell()
	stop := c.r.Follow(lead.Incarnation, func(error) { ended.signal() })
	defer stop()
	again := time.NewTicker(leadRead)
	defer again.Stop()
	for c.newest() <= lead.Epoch {
		select {
		case <-ended:
			c.awaitTurn(lead)
			return
		case <-c.ring:
		case <-again.C:
			_, _ = c.read() // and goes on judging, which takes longer
		case <-c.life.Done():
			return
		}
	}
}

// awaitTurn waits for this node's turn among those that live.
func (c *Coordinator) awaitTurn(lead Owner) {
	c.mu.Lock()
	if c.seq == lead.Epoch {
		c.lead = Owner{} // nobody, until there is a new one
	}
	c.mu.Unlock()
	place, _ := slices.BinarySearch(slices.DeleteFunc(c.r.living(), func(i string) bool { return i == lead.Incarnation }), c.r.self.Incarnation)
	turn := time.NewTimer(time.Duration(place) * eachPlace)
	defer turn.Stop()
	for c.newest() <= lead.Epoch {
		select {
		case <-turn.C:
			if seq, ok := c.take(); ok {
				c.govern(seq)
			}
			return
		case <-c.ring:
		case <-c.life.Done():
			return
		}
	}
}

// take makes this node the leader, unless one that lives is.
func (c *Coordinator) take() (seq uint64, ok bool) {
	value, err := LeadRecord{Incarnation: c.r.self.Incarnation, Node: c.r.info.Node, Since: time.Now().UTC()}.Encode()
	if err != nil {
		c.r.log.Error("the lead record cannot be written", "error", err)
		return 0, false
	}
	ctx, cancel := bounded(c.life)
	defer cancel()
	got, err := c.r.take(ctx, leadKey, value, leadHolder)
	if err != nil {
		_ = pause(c.life, contention)
		return 0, false
	}
	c.r.log.Info("leading the cluster", "epoch", got.seq, "after", got.from)
	return got.seq, true
}

// govern leads until another does, or the node's part ends.
func (c *Coordinator) govern(seq uint64) {
	t := newTerm(c)
	c.mu.Lock()
	c.term = t
	c.mu.Unlock()
	c.saw(Owner{Node: c.r.info.Node, Incarnation: c.r.self.Incarnation, Epoch: seq})
	t.run(seq)
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

// contention is the pause between two attempts at the lead.
const contention = 100 * time.Millisecond

var leadKey = Key{Kind: KindLead}

func leadHolder(value []byte) (string, error) {
	rec, err := DecodeLead(value)
	return rec.Incarnation, err
}
