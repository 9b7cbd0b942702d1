package placement

import (
	"cmp"
	"iter"
	"maps"
	"slices"
)

// Core places the children of one root.
type Core struct {
	self  string
	now   Time
	begun bool

	children map[string]*child // by the name that is owned
	specs    map[string]*child // by the child's name
	hosts    map[string]*host  // by incarnation
	homeless map[*child]struct{}
	waits    waits

	attempts uint64
	actions  []Action
}

// child is a name that has an owner, a spec, or both.
type child struct {
	owned string
	spec  *Spec // nil for a name that is none of the root's

	owner    *host  // on record; nil for none
	seq      uint64 // of the last change of the record
	of       string // whose the name is, as the owner says: the child's
	revision uint64 // by which the owner runs that

	on      *host  // where it is being started; nil for nowhere
	attempt uint64 // of that start
	tried   uint64 // the revision that is started there

	until    Time // not placed before
	stopAt   Time // not stopped before
	wake     Time // when it is placed again; 0 for it is in no waits
	failures int  // since it was last well
	crashed  bool // the last of them was a crash
	failed   *host
	reason   string
	since    Time // of the last successful start

	told State
}

// host is an incarnation that offers to take children, or has a child.
type host struct {
	incarnation string
	offer       *Member // nil if there is none
	lives       bool    // it is known to
	member      *Member // the offer of one that lives, else nil
	children    map[*child]struct{}
}

// New makes a core that knows of nothing but that self, the incarnation that it
// runs on, lives.
func New(self string) *Core {
	return &Core{
		self: self, children: map[string]*child{}, specs: map[string]*child{},
		hosts: map[string]*host{}, homeless: map[*child]struct{}{},
	}
}

// Step takes an event and returns what is to be done about it.
func (c *Core) Step(now Time, e Event) []Action {
	c.now = max(c.now, now)
	switch e := e.(type) {
	case Begun:
		c.begin()
	case SpecSet:
		c.specSet(e.Spec)
	case SpecGone:
		c.specGone(e.Name)
	case MemberSet:
		c.memberSet(e.Member)
	case Lives:
		c.livesOn(e.Incarnation)
	case MemberGone:
		c.memberGone(e.Incarnation)
	case Owned:
		c.ownedBy(e)
	case Freed:
		c.freed(e)
	case Started:
		c.started(e)
	case StartFailed:
		c.startFailed(e)
	case GaveUp:
		c.gaveUp(e)
	case Tick:
		for _, ch := range c.waits.due(c.now) {
			c.place(ch)
		}
	}
	actions := c.actions
	c.actions = nil
	return actions
}

// Lives reports whether an incarnation that offers to take children, or has some,
// is known to live.
func (c *Core) Lives(incarnation string) bool {
	h := c.hosts[incarnation]
	return h != nil && h.lives
}

// Node is the name of an incarnation's node, if it offers to take children.
func (c *Core) Node(incarnation string) string {
	if h := c.hosts[incarnation]; h != nil && h.offer != nil {
		return h.offer.Node
	}
	return ""
}

// Next is when a [Tick] is wanted; false for never.
func (c *Core) Next() (Time, bool) { return c.waits.next() }

func (c *Core) do(a Action) { c.actions = append(c.actions, a) }

// begin places what has no owner. Until then nothing is known to have none.
func (c *Core) begin() {
	c.begun = true
	c.placeAll(maps.Values(c.children))
}

func (c *Core) specSet(s Spec) {
	if old := c.specs[s.Name]; old != nil && old.owned != s.Owned {
		c.specGone(s.Name)
		defer c.place(old) // where it may run by the older spec
	}
	ch := c.child(s.Owned)
	switch {
	case ch.spec == nil:
	case ch.spec.Name != s.Name: // two of one name; the later counts
		delete(c.specs, ch.spec.Name)
	case !ch.spec.Stopped && s.Stopped && ch.spec.Revision == s.Revision: // it is being stopped where it runs, or was
		ch.stopAt = c.now + grace
	case ch.spec.Stopped && !s.Stopped, ch.spec.Revision < s.Revision: // somebody wants it again, or otherwise
		ch.failures, ch.until, ch.failed, ch.reason = 0, 0, nil, ""
	}
	ch.spec = &s
	c.specs[s.Name] = ch
	c.place(ch)
}

func (c *Core) specGone(name string) {
	ch := c.specs[name]
	if ch == nil {
		return
	}
	delete(c.specs, name)
	ch.spec, ch.told = nil, State{}
	c.place(ch)
	c.do(Changed{name})
}

func (c *Core) memberSet(m Member) {
	h := c.host(m.Incarnation)
	h.offer = &m
	c.join(h)
}

func (c *Core) livesOn(incarnation string) {
	if h := c.hosts[incarnation]; h != nil && !h.lives {
		h.lives = true
		c.join(h)
		c.placeAll(maps.Keys(h.children)) // for some may have to be stopped
	}
}

// join takes the offer of one that lives. That of one that has crashed is on
// record still.
func (c *Core) join(h *host) {
	if h.offer != nil && h.lives {
		h.member = h.offer
		c.placeAll(maps.Keys(c.homeless))
	}
}

func (c *Core) memberGone(incarnation string) {
	h := c.hosts[incarnation]
	if h == nil {
		return
	}
	delete(c.hosts, incarnation)
	h.offer, h.member = nil, nil
	for ch := range h.children {
		if ch.owner == h {
			ch.owner = nil
		}
		if ch.on == h {
			ch.on = nil
		}
	}
	c.placeAll(maps.Keys(h.children))
	c.placeAll(maps.Keys(c.homeless)) // for another reason now, it may be
}

func (c *Core) ownedBy(e Owned) {
	ch := c.child(e.Name)
	if e.Seq > ch.seq {
		ch.seq = e.Seq
		ch.of, ch.revision = e.Child, e.Revision
		ch.stopAt = max(ch.stopAt, c.now+grace) // somebody may have it run again, and write that down now
		c.move(ch, c.host(e.Incarnation), ch.on)
	}
	c.place(ch)
}

// freed is followed by a new start. An owner that lives may have more to say:
// that it has given the child up, or has stopped it. Of one that was to make way
// for a newer spec that is known.
func (c *Core) freed(e Freed) {
	ch := c.children[e.Name]
	if ch == nil || e.Seq <= ch.seq {
		return
	}
	ch.seq = e.Seq
	if h := ch.owner; h != nil && h.member != nil && !h.member.Leaving && !ch.outdated() {
		ch.until = max(ch.until, c.now+grace)
	}
	c.move(ch, nil, ch.on)
	c.place(ch)
}

func (c *Core) started(e Started) {
	ch := c.attemptOf(e.Name, e.Attempt)
	if ch == nil {
		return
	}
	ch.since, ch.reason = c.now, ""
	if ch.failed == ch.on {
		ch.failed = nil
	}
	if ch.owner == nil { // the record is on its way
		ch.until = c.now + grace
		c.do(Read{ch.owned})
	}
	c.move(ch, ch.owner, nil)
	c.place(ch)
}

func (c *Core) startFailed(e StartFailed) {
	ch := c.attemptOf(e.Name, e.Attempt)
	if ch == nil {
		return
	}
	if ch.tried >= ch.spec.Revision { // else it was not what is to run now
		ch.failed, ch.reason = ch.on, e.Reason
		c.fail(ch, e.Crash)
	}
	c.do(Read{ch.owned})
	c.move(ch, ch.owner, nil)
	c.place(ch)
}

func (c *Core) gaveUp(e GaveUp) {
	ch, h := c.specs[e.Name], c.hosts[e.Incarnation]
	if ch == nil || h == nil || ch.owner != nil && ch.owner != h || ch.on != nil && ch.on != h {
		return // it is about an earlier life
	}
	if c.now-ch.since >= healthy {
		ch.failures = 0
	}
	ch.failed, ch.reason = h, e.Reason
	c.fail(ch, true)
	c.do(Read{ch.owned})
	c.place(ch)
}

// fail has the child wait before it is tried again.
func (c *Core) fail(ch *child, crash bool) {
	ch.failures++
	ch.crashed = crash
	ch.until = max(ch.until, c.now+backoff(ch.failures, crash))
}

// attemptOf is the child if that is the start that is under way.
func (c *Core) attemptOf(name string, attempt uint64) *child {
	if ch := c.specs[name]; ch != nil && ch.on != nil && ch.attempt == attempt {
		return ch
	}
	return nil
}

// placeAll is in the order of the names, so that a replay is the same.
func (c *Core) placeAll(all iter.Seq[*child]) {
	for _, ch := range slices.SortedFunc(all, func(a, b *child) int { return cmp.Compare(a.owned, b.owned) }) {
		c.place(ch)
	}
}

// place starts a child that is to run and does not, and stops one that runs and is
// not to. It follows every change.
func (c *Core) place(ch *child) {
	defer c.tell(ch)
	delete(c.homeless, ch)
	switch {
	case ch.spec == nil && ch.owner == nil && ch.on == nil:
		if c.children[ch.owned] == ch { // there is nothing to know of it
			delete(c.children, ch.owned)
		}
		return
	case c.begun && c.unwanted(ch):
		c.stop(ch)
		return
	case !c.begun || ch.spec == nil || ch.spec.Stopped || ch.owner != nil || ch.on != nil:
		return
	case c.now < ch.until:
		c.waits.add(ch, ch.until)
		return
	}
	h := c.choose(ch)
	if h == nil {
		c.homeless[ch] = struct{}{}
		return
	}
	c.attempts++
	ch.attempt, ch.tried = c.attempts, ch.spec.Revision
	c.move(ch, nil, h)
	c.do(Start{Name: ch.spec.Name, On: h.incarnation, Attempt: ch.attempt})
}

// unwanted tells whether a child is to be stopped where it runs: it has come to run
// though it is down on purpose, as it was started elsewhere before that was written
// down, or its spec is newer than what runs.
func (c *Core) unwanted(ch *child) bool {
	switch {
	case ch.owner == nil || !ch.owner.lives:
		return false
	case ch.spec != nil:
		return ch.spec.Stopped || ch.outdated()
	default: // one of the names of a child that is found by another of them
		now := c.specs[ch.of]
		return now != nil && ch.revision < now.spec.Revision
	}
}

// outdated tells whether what runs, or ran last, was started by an older spec.
func (ch *child) outdated() bool { return ch.spec != nil && ch.revision < ch.spec.Revision }

// stop orders that, again and again until the child has another owner, or none.
func (c *Core) stop(ch *child) {
	if c.now >= ch.stopAt {
		ch.stopAt = c.now + stopAgain
		name := ch.of
		if ch.spec != nil {
			name = ch.spec.Name
		}
		c.do(Stop{Name: name, On: ch.owner.incarnation})
	}
	c.waits.add(ch, ch.stopAt)
}

// tell reports a change of state.
func (c *Core) tell(ch *child) {
	if ch.spec == nil {
		return
	}
	if s := c.stateOf(ch); s != ch.told {
		ch.told = s
		c.do(Changed{ch.spec.Name})
	}
}

// child is the one whose owner has that name on record.
func (c *Core) child(owned string) *child {
	ch := c.children[owned]
	if ch == nil {
		ch = &child{owned: owned}
		c.children[owned] = ch
	}
	return ch
}

// host is the one of that incarnation, which is followed from then on, unless it is
// the core's own.
func (c *Core) host(incarnation string) *host {
	h := c.hosts[incarnation]
	if h == nil {
		h = &host{incarnation: incarnation, lives: incarnation == c.self, children: map[*child]struct{}{}}
		c.hosts[incarnation] = h
		if incarnation != c.self {
			c.do(Follow{incarnation})
		}
	}
	return h
}

// move changes where a child is: with its owner, and where it is being started.
func (c *Core) move(ch *child, owner, on *host) {
	for _, old := range []*host{ch.owner, ch.on} {
		if old == nil || old == owner || old == on {
			continue
		}
		delete(old.children, ch)
		if old.offer == nil && len(old.children) == 0 && c.hosts[old.incarnation] == old {
			delete(c.hosts, old.incarnation)
			if old.incarnation != c.self {
				c.do(Unfollow{old.incarnation})
			}
		}
	}
	ch.owner, ch.on = owner, on
	for _, h := range []*host{owner, on} {
		if h != nil {
			h.children[ch] = struct{}{}
		}
	}
}
