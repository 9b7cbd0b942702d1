package transport

import (
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Faults are what a [Hub] does to messages between its connections. The zero
// value does nothing.
//
// Each sender and subscription draw from a sequence of their own, made of the
// seed and of their names: what befalls the nth message from one to the other
// depends on nothing else.
type Faults struct {
	// Seed tells one sequence of faults from another.
	Seed uint64
	// Drop is the share of messages that are lost, from 0 to 1. The sender is
	// not told.
	Drop float64
	// Duplicate is the share of messages that arrive twice, one right after
	// the other: the one fault that NATS does not have.
	Duplicate float64
	// Delay is the longest that a message is under way; each takes a random
	// part of it. Messages from one sender to one subscription stay in order.
	// Those of different senders, and to different subscriptions, overtake
	// each other.
	Delay time.Duration
}

// FaultStats counts what a [Hub] did to messages. A message to several
// subscriptions counts for each.
type FaultStats struct {
	// Dropped were lost by [Faults].Drop, Cut because of [Hub.Cut].
	Dropped, Cut uint64
	// Duplicated arrived twice, Delayed did not arrive at once.
	Duplicated, Delayed uint64
}

// Inject begins to do this to all messages that are sent from now on, in place
// of what was injected before; Faults{} ends it. What is under way arrives as
// it would have. What a connection sends to itself is spared.
func (h *Hub) Inject(f Faults) {
	h.faults.mu.Lock()
	defer h.faults.mu.Unlock()
	h.faults.spec = f
	for key, l := range h.faults.links {
		l.rng = newDraw(f.Seed, key)
	}
	h.faults.setActive()
}

// Cut parts two connections, known by the names that [Hub.Dial] was given: all
// between them is lost both ways, also what is under way, until [Hub.Heal]. To
// the sender it looks like a lost message, never like ErrNoResponders.
func (h *Hub) Cut(a, b string) {
	h.CutOneWay(a, b)
	h.CutOneWay(b, a)
}

// CutOneWay is Cut for what one sends to the other. The other way stays open.
func (h *Hub) CutOneWay(from, to string) {
	h.faults.mu.Lock()
	defer h.faults.mu.Unlock()
	if h.faults.cuts == nil {
		h.faults.cuts = make(map[way]struct{})
	}
	h.faults.cuts[way{from, to}] = struct{}{}
	h.faults.setActive()
}

// Heal ends the cuts between two connections, both ways.
func (h *Hub) Heal(a, b string) {
	h.faults.mu.Lock()
	defer h.faults.mu.Unlock()
	delete(h.faults.cuts, way{a, b})
	delete(h.faults.cuts, way{b, a})
	h.faults.setActive()
}

// HealAll ends all cuts.
func (h *Hub) HealAll() {
	h.faults.mu.Lock()
	defer h.faults.mu.Unlock()
	clear(h.faults.cuts)
	h.faults.setActive()
}

// Faults is a snapshot of what was done so far.
func (h *Hub) Faults() FaultStats {
	h.faults.mu.Lock()
	defer h.faults.mu.Unlock()
	return h.faults.stats
}

// faults is the part of a Hub between the sender and the queues.
type faults struct {
	active atomic.Bool // false: nothing here has any effect

	mu       sync.Mutex
	spec     Faults            // guarded by mu
	cuts     map[way]struct{}  // guarded by mu
	links    map[linkKey]*link // guarded by mu
	underway int               // guarded by mu; messages in the queues of links
	stats    FaultStats        // guarded by mu
}

type way struct{ from, to string }

type linkKey struct {
	from *memConn
	to   *memSubscription
}

// link is the way from one sender to one subscription. All of it is guarded by
// faults.mu.
type link struct {
	rng   *rand.Rand
	queue []Msg     // under way, in order
	last  time.Time // when the last of them arrives
}

func newDraw(seed uint64, key linkKey) *rand.Rand {
	h := fnv.New64a()
	for _, s := range []string{key.from.name, key.to.conn.name, key.to.subject} {
		_, _ = h.Write([]byte(s)) // never fails
		_, _ = h.Write([]byte{0})
	}
	return rand.New(rand.NewPCG(seed, h.Sum64())) //nolint:gosec // must be repeatable, and hides nothing
}

// setActive is called with mu held, whenever what it reads has changed.
func (f *faults) setActive() {
	s := f.spec
	f.active.Store(s.Drop > 0 || s.Duplicate > 0 || s.Delay > 0 || len(f.cuts) > 0 || f.underway > 0)
}

// pass sends one message to one subscription, and reports as offer does. It is
// called with from.send held, so that one sender's messages come in order; mu
// is held over each offer, which neither blocks nor sends, for the same reason.
func (f *faults) pass(from *memConn, to *memSubscription, m Msg) int {
	if from == to.conn {
		return to.offer(m)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.isCut(from, to) {
		return 1
	}
	key := linkKey{from, to}
	l := f.links[key]
	if l == nil {
		if f.links == nil {
			f.links = make(map[linkKey]*link)
		}
		l = &link{rng: newDraw(f.spec.Seed, key)}
		f.links[key] = l
	}
	// Every message draws as often, whatever the shares are.
	drop, twice, delay := l.rng.Float64(), l.rng.Float64(), l.rng.Float64()
	if drop < f.spec.Drop {
		f.stats.Dropped++
		return 1
	}
	n := f.send(l, key, m, time.Duration(delay*float64(f.spec.Delay)))
	if twice < f.spec.Duplicate {
		f.stats.Duplicated++
		f.send(l, key, m, 0)
	}
	return n
}

// send hands a message over, now or later, and never before one that the link
// still has. mu is held.
func (f *faults) send(l *link, key linkKey, m Msg, delay time.Duration) int {
	now := time.Now()
	due := now.Add(delay)
	if len(l.queue) == 0 && delay <= 0 {
		return key.to.offer(m)
	}
	if due.Before(l.last) {
		due = l.last
	}
	l.last = due
	l.queue = append(l.queue, m)
	f.underway++
	f.stats.Delayed++
	f.setActive()
	// Each timer takes the head of the queue, whichever of them is first.
	time.AfterFunc(due.Sub(now), func() { f.arrive(l, key) })
	return 1
}

func (f *faults) arrive(l *link, key linkKey) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := l.queue[0]
	l.queue[0] = Msg{}
	l.queue = l.queue[1:]
	f.underway--
	if !f.isCut(key.from, key.to) {
		key.to.offer(m)
	}
	f.setActive()
}

// isCut counts, since whoever asks drops the message. mu is held.
func (f *faults) isCut(from *memConn, to *memSubscription) bool {
	_, cut := f.cuts[way{from.name, to.conn.name}]
	if cut {
		f.stats.Cut++
	}
	return cut
}

// forget drops the links that match; what is on them still arrives.
func (f *faults) forget(match func(linkKey) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key := range f.links {
		if match(key) {
			delete(f.links, key)
		}
	}
}
