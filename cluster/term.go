package cluster

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/civitas-go/civitas/internal/placement"
	"github.com/civitas-go/civitas/supervisor"
)

const (
	// atOnce is how many starts on one node, and how many reads, are under way.
	atOnce = 16
	// repairMost is how many of the children's records are read at each repair, in turn.
	repairMost = 200
	// musterMost is how long what has no owner waits for the nodes whose life is not
	// proven yet.
	musterMost = 200 * time.Millisecond
)

// term is the time for which a node leads. One goroutine has all of its state:
// it tells the core what happens and carries out what that wants. Others post
// what they have to say.
type term struct {
	c     *Coordinator
	r     *Registry
	life  context.Context //nolint:containedctx // of the term
	end   context.CancelFunc
	ended chan struct{} // closed when nothing is taken any more

	core    *placement.Core
	began   bool // the core has been told of all that was on record
	specs   map[string]spec
	nodes   map[string]uint64 // the sequence of each node's record
	follows map[string]func() // by incarnation
	unsure  map[string]bool   // of those followed: not known yet to live, or to have ended
	lanes   map[string]*lane  // of work under way, by incarnation; "" is of reads
	reading map[Key]bool
	stops   map[string]bool // of children, under way
	turns   []string        // of the children, to be read again
	waiters map[string][]*waiter
	absent  map[string]bool // of those waited for: it was read that there is none
	work    sync.WaitGroup

	ring bell
	mu   sync.Mutex
	box  []func() // guarded by mu
	over bool     // guarded by mu
}

// spec is a child's record; without a name if it was deleted.
type spec struct {
	record SpecRecord
	seq    uint64
}

// lane carries out some things at a time, in the order they came.
type lane struct {
	waiting []func()
	running int
}

func newTerm(c *Coordinator) *term {
	t := &term{
		c: c, r: c.r, ended: make(chan struct{}), core: placement.New(c.r.self.Incarnation), ring: newBell(),
		specs: map[string]spec{}, nodes: map[string]uint64{}, follows: map[string]func(){},
		unsure: map[string]bool{}, lanes: map[string]*lane{},
		reading: map[Key]bool{}, stops: map[string]bool{}, waiters: map[string][]*waiter{}, absent: map[string]bool{},
	}
	t.life, t.end = context.WithCancel(c.life)
	return t
}

// post has do done by the term's goroutine; false says that the term is over.
func (t *term) post(do func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return false
	}
	t.box = append(t.box, do)
	t.ring.signal()
	return true
}

// run leads until the lead record has been seen to be another.
func (t *term) run() {
	defer t.close()
	if !t.load() {
		return
	}
	t.muster()
	t.began = true
	t.step(placement.Begun{})
	repair := time.NewTicker(placement.RepairEvery)
	defer repair.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for t.c.next().Do == placement.Lead {
		if at, ok := t.core.Next(); ok {
			timer.Reset(at - t.r.gate.now())
		}
		select {
		case <-t.ring:
			t.empty()
		case <-timer.C:
			t.step(placement.Tick{})
		case <-repair.C:
			t.repair()
		case <-t.c.ring: // the lead record has changed
		case <-t.r.lost:
			return
		case <-t.life.Done():
			return
		}
	}
	t.r.log.Warn("another node leads the cluster")
}

// close ends what is under way, and waits for it.
func (t *term) close() {
	t.mu.Lock()
	t.over, t.box = true, nil
	t.mu.Unlock()
	close(t.ended)
	t.end()
	for _, stop := range t.follows {
		stop()
	}
	t.work.Wait()
}

func (t *term) empty() {
	t.mu.Lock()
	box := t.box
	t.box = nil
	t.mu.Unlock()
	for _, do := range box {
		do()
	}
}

// load watches the records and reads them all; what changes meanwhile waits in
// the box. It tries again until the term is over.
func (t *term) load() bool {
	for t.life.Err() == nil {
		err := t.loadOnce()
		if err == nil {
			return true
		}
		t.r.log.Warn("the leader can't read the records yet", "error", err)
		_ = pause(t.life, watchAgain)
	}
	return false
}

func (t *term) loadOnce() error {
	kinds := map[Kind]func(Change){KindSpec: t.specChanged, KindNode: t.nodeChanged, KindOwner: t.ownerChanged}
	var stops []func()
	done := false
	defer func() {
		for _, stop := range stops {
			if done {
				t.work.Go(func() { <-t.life.Done(); stop() })
			} else {
				stop()
			}
		}
	}()
	for kind, take := range kinds {
		stop, err := t.r.store.Watch(t.life, kind, func(ch Change) { t.post(func() { take(ch) }) })
		if err != nil {
			return err
		}
		stops = append(stops, stop)
	}
	for kind, take := range kinds {
		all, err := t.r.store.List(t.life, kind)
		if err != nil {
			return err
		}
		for _, e := range all {
			take(Change{Key: e.Key, Value: e.Value, Seq: e.Seq})
		}
	}
	done = true
	return nil
}

// muster waits until it is known who lives, but not for long. Who may be dead is given no
// children, so all that have no owner would go to those who are met first: the leader
// itself above all.
func (t *term) muster() {
	late := time.NewTimer(musterMost)
	defer late.Stop()
	for len(t.unsure) > 0 {
		select {
		case <-t.ring:
			t.empty()
		case <-late.C:
			return
		case <-t.life.Done():
			return
		}
	}
}

func (t *term) specChanged(ch Change) {
	name := ch.Key.Name
	old, known := t.specs[name]
	if known && ch.Seq <= old.seq {
		return
	}
	if ch.Deleted {
		if known {
			delete(t.specs, name)
			t.step(placement.SpecGone{Name: name})
		}
		return
	}
	rec, err := specIn(ch.Value, name)
	if err != nil {
		t.r.log.Error("a child's record cannot be read"+remedy(ch.Key, t.r.store), "record", ch.Key.String(), "error", err)
		return
	}
	if !known {
		t.turns = append(t.turns, name)
	}
	t.specs[name] = spec{rec, ch.Seq}
	t.step(placement.SpecSet{Spec: placement.Spec{
		Name: name, Owned: rec.Names[0], Type: rec.Type, Bound: rec.Bound,
		Node: rec.Placement.Node, Labels: rec.Placement.Labels, Stopped: rec.Stopped, Revision: rec.Revision,
	}})
}

func (t *term) nodeChanged(ch Change) {
	if ch.Seq <= t.nodes[ch.Key.Name] {
		return
	}
	t.nodes[ch.Key.Name] = ch.Seq
	if ch.Deleted {
		delete(t.nodes, ch.Key.Name) // its session tells of its end
		return
	}
	rec, err := DecodeNode(ch.Value)
	if err != nil || rec.Offer == nil {
		return
	}
	t.step(placement.MemberSet{Member: placement.Member{
		Incarnation: rec.Incarnation, Node: rec.Node, Labels: rec.Offer.Labels,
		Types: setOf(rec.Offer.Types), Own: setOf(rec.Offer.Own), Leaving: rec.Offer.Leaving,
	}})
}

func setOf(all []string) map[string]bool {
	set := make(map[string]bool, len(all))
	for _, s := range all {
		set[s] = true
	}
	return set
}

func (t *term) ownerChanged(ch Change) {
	if ch.Deleted {
		t.step(placement.Freed{Name: ch.Key.Name, Seq: ch.Seq})
		return
	}
	rec, err := DecodeOwner(ch.Value)
	if err != nil {
		t.r.log.Error("an owner's record cannot be read"+remedy(ch.Key, t.r.store), "record", ch.Key.String(), "error", err)
		return
	}
	t.step(placement.Owned{Name: ch.Key.Name, Incarnation: rec.Incarnation, Seq: ch.Seq, Child: rec.Child, Revision: rec.Revision})
}

// step tells the core, and carries out what it wants.
func (t *term) step(e placement.Event) {
	for _, a := range t.core.Step(t.r.gate.now(), e) {
		switch a := a.(type) {
		case placement.Start:
			t.start(a)
		case placement.Stop:
			t.stop(a)
		case placement.Read:
			t.read(ownerKey(a.Owned))
		case placement.Follow:
			t.follow(a.Incarnation)
		case placement.Unfollow:
			t.unfollow(a.Incarnation)
		case placement.Changed:
			t.told(a.Name)
		}
	}
}

// told follows a change of a child's state.
func (t *term) told(name string) {
	if !t.began {
		return
	}
	child, ok := t.child(name)
	if ok && child.State == placement.Unplaceable.String() {
		t.r.log.Warn("no node can run this child of the cluster's tree; it waits for one", "server", name, "reason", child.Why)
		t.c.host.Happened(Event{Kind: EventUnplaceable, Server: name, Reason: child.Why})
	}
	t.decided(name)
}

func (t *term) start(a placement.Start) {
	record := t.specs[a.Name].record
	t.inLane(a.On, func() {
		err := t.startOn(a.On, record)
		t.post(func() {
			t.finished(a.On)
			if err == nil {
				t.step(placement.Started{Name: a.Name, Attempt: a.Attempt})
				return
			}
			t.r.log.Warn("a child of the cluster's tree did not start", "server", a.Name, "incarnation", a.On, "reason", err)
			t.step(placement.StartFailed{
				Name: a.Name, Attempt: a.Attempt, Reason: err.Error(), Crash: errors.Is(err, supervisor.ErrChildFailed),
			})
		})
	})
}

var errClosedGate = errors.New("the leader can't prove at the moment that it is alive")

func (t *term) startOn(incarnation string, s SpecRecord) error {
	if !t.r.gate.Open() {
		return errClosedGate
	}
	ctx, cancel := context.WithTimeout(t.life, placement.StartWait)
	defer cancel()
	return t.c.host.StartChild(ctx, incarnation, s)
}

// stop gives the order to stop a child. If that fails the core wants it again.
func (t *term) stop(a placement.Stop) {
	if t.stops[a.Name] {
		return
	}
	t.stops[a.Name] = true
	t.inLane(a.On, func() {
		err := t.stopOn(a.On, a.Name)
		t.post(func() {
			t.finished(a.On)
			delete(t.stops, a.Name)
			if err != nil {
				t.r.log.Warn("a child was not stopped, whose record says otherwise than what runs", "server", a.Name, "incarnation", a.On, "reason", err)
				return
			}
			t.r.log.Info("stopped a child, as its record says otherwise than what ran", "server", a.Name, "incarnation", a.On)
		})
	})
}

func (t *term) stopOn(incarnation, child string) error {
	if !t.r.gate.Open() {
		return errClosedGate
	}
	ctx, cancel := context.WithTimeout(t.life, placement.StartWait)
	defer cancel()
	return t.c.host.StopChild(ctx, incarnation, child)
}

// read reads a child's record, or its owner's, until the store answers.
func (t *term) read(k Key) {
	if t.reading[k] {
		return
	}
	t.reading[k] = true
	t.inLane("", func() {
		e, err := t.get(k)
		t.post(func() {
			t.finished("")
			delete(t.reading, k)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return // the term is over
			}
			ch := Change{Key: k, Value: e.Value, Seq: e.Seq, Deleted: err != nil}
			if k.Kind == KindOwner {
				t.ownerChanged(ch)
				return
			}
			t.specChanged(ch)
			if ch.Deleted {
				t.absent[k.Name] = true
				t.decided(k.Name)
				delete(t.absent, k.Name)
			}
		})
	})
}

func (t *term) get(k Key) (Entry, error) {
	for {
		ctx, cancel := bounded(t.life)
		e, err := t.r.store.Get(ctx, k)
		cancel()
		if err == nil || errors.Is(err, ErrNotFound) {
			return e, err
		}
		if pause(t.life, lookupPause) != nil {
			return Entry{}, err
		}
	}
}

// inLane has something done in a lane, which is to call finished then.
func (t *term) inLane(key string, do func()) {
	l := t.lanes[key]
	if l == nil {
		l = &lane{}
		t.lanes[key] = l
	}
	if l.running == atOnce {
		l.waiting = append(l.waiting, do)
		return
	}
	l.running++
	t.work.Go(do)
}

// finished lets the next thing in a lane begin.
func (t *term) finished(key string) {
	l := t.lanes[key]
	switch {
	case len(l.waiting) > 0:
		do := l.waiting[0]
		l.waiting = l.waiting[1:]
		t.work.Go(do)
	case l.running == 1:
		delete(t.lanes, key)
	default:
		l.running--
	}
}

// follow has the core told that an incarnation lives, and of its end.
func (t *term) follow(incarnation string) {
	t.follows[incarnation] = t.r.Follow(incarnation, func(error) {
		t.post(func() {
			t.unfollow(incarnation)
			t.step(placement.MemberGone{Incarnation: incarnation})
		})
	})
	t.unsure[incarnation] = true
	t.work.Go(func() {
		status, _, err := t.r.statusOf(t.life, incarnation)
		t.post(func() {
			delete(t.unsure, incarnation)
			if err == nil && !status.Ended() && t.follows[incarnation] != nil {
				t.lives(incarnation)
			}
		})
	})
}

// lives tells the core that an incarnation does, and those who wait for what it runs.
func (t *term) lives(incarnation string) {
	t.step(placement.Lives{Incarnation: incarnation})
	for name := range maps.Clone(t.waiters) {
		t.decided(name)
	}
}

func (t *term) unfollow(incarnation string) {
	if stop := t.follows[incarnation]; stop != nil {
		delete(t.follows, incarnation)
		delete(t.unsure, incarnation)
		stop()
	}
}

// repair reads the nodes' records, and those of some children.
func (t *term) repair() {
	t.work.Go(func() {
		ctx, cancel := bounded(t.life)
		defer cancel()
		all, err := t.r.store.List(ctx, KindNode)
		if err != nil {
			return
		}
		t.post(func() {
			for _, e := range all {
				t.nodeChanged(Change{Key: e.Key, Value: e.Value, Seq: e.Seq})
			}
		})
	})
	for range min(repairMost, len(t.turns)) {
		name := t.turns[0]
		t.turns = t.turns[1:]
		s, known := t.specs[name]
		if !known {
			continue
		}
		t.turns = append(t.turns, name)
		t.read(specKey(name))
		t.read(ownerKey(s.record.Names[0]))
	}
}

func specKey(child string) Key { return Key{Kind: KindSpec, Name: child} }
