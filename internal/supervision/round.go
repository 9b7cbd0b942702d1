package supervision

import "time"

// round is a start of several children in order, each after the one before
// came up: the initial start, and with [OneForAll] and [RestForOne] every
// restart, which first stops in reverse order what is to be started.
//
// Its children are those with inRound set; a child leaves it when it comes up.
// There is one round at a time: what crashes meanwhile joins it.
type round struct {
	active  bool
	halting bool          // its children are being stopped
	next    *child        // none before it is to be started
	timer   uint64        // the token of the wait before the starts; 0 for none
	until   time.Duration // when that wait ends
}

// sweep puts a crashed child, and the siblings its strategy concerns, into the
// round, which begins again by stopping what lives of them. Children of a
// rest_for_one round that came up before the crashed one run on. Siblings are
// stopped at once; of several waits the one that ends last counts, so that
// nobody's is cut short.
func (c *Core) sweep(crashed *child, wait time.Duration) {
	reached := c.spec.Strategy == OneForAll
	for ch := range c.all() {
		reached = reached || ch == crashed
		if !reached {
			continue
		}
		ch.inRound = true
		if ch.status == StatusStopped && ch.launched {
			c.set(ch, StatusRestarting)
		}
	}
	r := &c.round
	r.active, r.halting = true, true
	r.next, c.cursor = c.first, c.last
	if until := c.now + wait; wait > 0 && until > r.until {
		c.cancel(&r.timer)
		r.until = until
		r.timer = c.startTimer(wait)
	}
}

// advanceRound takes the round's next step: the next stop, or when all are
// down and the wait is over the next start.
func (c *Core) advanceRound() {
	r := &c.round
	if !r.active {
		return
	}
	if r.halting {
		if !c.haltNext(func(ch *child) bool { return ch.inRound }) {
			return
		}
		r.halting = false
	}
	if r.timer != 0 {
		return
	}
	for ; r.next != nil; r.next = r.next.next {
		if ch := r.next; !ch.inRound {
			continue
		} else if !ch.live() {
			c.launch(ch)
		}
		return
	}
	*r = round{}
	if c.phase == PhaseStarting {
		c.phase = PhaseRunning
		c.emit(Started{})
		c.checkAuto()
	}
}
