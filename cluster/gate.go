package cluster

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Gate says whether this node may act for the cluster-wide names it owns. It is
// open while the lease of its session holds and, if that names witnesses, the
// last PONG of one of them. [Gate.Open] compares that with the clock each time;
// no timer closes it, so that a process that was frozen finds it closed when it
// wakes.
//
//	closed ──▶ open ◀──▶ closed
//	             └──────────┴───▶ lost: never open again
//
// All methods may be called from anywhere.
type Gate struct {
	base  time.Time // of the clock
	until atomic.Int64

	mu     sync.Mutex
	closed time.Duration     // guarded by mu; the times of being closed that are over
	lost   bool              // guarded by mu
	wakes  map[uint64]func() // guarded by mu
	next   uint64            // guarded by mu
	kick   chan struct{}     // holds a token when someone may have to be woken
}

func newGate() *Gate {
	return &Gate{base: time.Now(), wakes: map[uint64]func(){}, kick: make(chan struct{}, 1)}
}

// now is the node's own clock.
func (g *Gate) now() time.Duration { return time.Since(g.base) }

// Open reports whether the owner may act at this moment. It costs one reading
// of the monotonic clock.
func (g *Gate) Open() bool { return int64(time.Since(g.base)) < g.until.Load() }

// Await calls wake once, from another goroutine, soon after the gate is open
// again or has been lost; soon if it's open or lost already. wake should be quick:
// one goroutine calls them all. After cancel it is not called, unless its turn
// has come already; nor is it when Await comes after the registry's end.
func (g *Gate) Await(wake func()) (cancel func()) {
	g.mu.Lock()
	g.next++
	id := g.next
	g.wakes[id] = wake
	lost := g.lost
	g.mu.Unlock()
	if lost || g.Open() {
		g.signal()
	}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.wakes, id)
	}
}

func (g *Gate) signal() {
	select {
	case g.kick <- struct{}{}:
	default:
	}
}

// Closed is for how long the gate has been closed altogether since it was open
// first. Once it is lost the time stands still.
func (g *Gate) Closed() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed + g.closedSince()
}

// closedSince is for how long it has been closed now; g.mu is held.
func (g *Gate) closedSince() time.Duration {
	if until := time.Duration(g.until.Load()); until > 0 {
		return max(0, g.now()-until)
	}
	return 0
}

// set moves the time until which the gate is open.
func (g *Gate) set(until time.Duration) {
	g.mu.Lock()
	g.closed += g.closedSince()
	if now := g.now(); until < now && g.until.Load() > 0 {
		until = now // it is closed from now on
	}
	if g.lost {
		until = math.MinInt64
	}
	g.until.Store(int64(until))
	waiting := len(g.wakes) > 0
	g.mu.Unlock()
	if waiting {
		g.signal()
	}
}

// lose closes the gate for good.
func (g *Gate) lose() {
	g.mu.Lock()
	g.lost = true
	g.closed += g.closedSince()
	g.until.Store(math.MinInt64)
	g.mu.Unlock()
	g.signal()
}

// run calls those who wait, until ended is closed and the gate lost.
func (g *Gate) run(ended <-chan struct{}) {
	for {
		select {
		case <-g.kick:
		case <-ended:
			g.wake(true)
			return
		}
		g.wake(false)
	}
}

func (g *Gate) wake(all bool) {
	g.mu.Lock()
	var wakes map[uint64]func()
	if all || g.lost || g.Open() {
		wakes = g.wakes
		g.wakes = map[uint64]func(){}
	}
	g.mu.Unlock()
	for _, wake := range wakes {
		wake()
	}
}
