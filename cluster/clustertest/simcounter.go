package clustertest

import (
	"time"

	"github.com/civitas-go/civitas/internal/membership"
)

// simCounter is the server of a name while a process owns it: a counter whose
// state is in the store, so that the next owner goes on with it. Each handler
// writes the state with the owner's epoch, and the store refuses that of an
// owner who is no more.
//
// A write with unknown outcome may yet arrive. So the counter takes a new epoch
// then, which that write doesn't have, before it reads its state again.
type simCounter struct {
	p     *simProc
	name  string
	epoch uint64

	loaded, busy, ended bool
	count               int
	queue               []*simCall
}

func (p *simProc) serve(name string, epoch uint64) {
	p.s.trace("%s owns %s, epoch %d", p.label, name, epoch)
	p.s.checkOwned(p, name, epoch)
	p.owned[name] = epoch
	c := &simCounter{p: p, name: name, epoch: epoch}
	p.counters[name] = c
	c.load()
}

// disown ends the server of a name. Calls that it has not begun are given back.
func (p *simProc) disown(name string) {
	delete(p.owned, name)
	if c := p.counters[name]; c != nil {
		c.ended = true
		for _, call := range c.queue {
			p.send(call.from, call.refused)
		}
		delete(p.counters, name)
	}
}

func (c *simCounter) key() simKey { return simKey{'t', c.name} }

// load reads the state, and proves by a write of the same that it is the newest.
func (c *simCounter) load() {
	if c.ended || c.p.gone {
		return
	}
	again := func() { c.p.later(c.p.clock()+100*time.Millisecond, c.load) }
	c.p.op(c.key(), membership.Step{Do: membership.Get}, simRecord{}, func(r membership.Result) {
		if r.Outcome != membership.OK && r.Outcome != membership.NotFound {
			again()
			return
		}
		count := c.p.s.store.upTo(c.key(), r.Seq).count
		if c.p.s.faults.UnprovenState {
			c.begin(count)
			return
		}
		prove := membership.Step{Do: membership.Create, Expect: r.Seq}
		c.p.op(c.key(), prove, simRecord{count: count, epoch: c.epoch}, func(r membership.Result) {
			if r.Outcome != membership.OK {
				again()
				return
			}
			c.begin(count)
		})
	})
}

func (c *simCounter) begin(count int) {
	c.count, c.loaded = count, true
	c.next()
}

// next starts the handler of the next call, once the process may act.
func (c *simCounter) next() {
	p, s := c.p, c.p.s
	switch {
	case c.ended || p.gone || !c.loaded || c.busy || len(c.queue) == 0:
		return
	case !p.mayAct():
		p.later(p.clock()+50*time.Millisecond, c.next)
		return
	}
	call := c.queue[0]
	c.queue = c.queue[1:]
	c.busy = true
	c.started(call)
	if s.chance(100) {
		p.frozenUntil = s.now + s.upTo(30*time.Second)
		s.trace("%s freezes until %v, in a handler", p.label, p.frozenUntil)
	}
	p.later(p.clock()+s.upTo(5*time.Millisecond), func() {
		p.op(c.key(), membership.Step{Do: membership.Update, Expect: c.epoch}, simRecord{count: c.count + 1, epoch: c.epoch}, func(r membership.Result) {
			c.wrote(call, r)
		})
	})
}

// started is where a handler starts.
func (c *simCounter) started(call *simCall) {
	s := c.p.s
	s.stats.Starts++
	if latest := s.starts[c.name]; c.epoch < latest {
		s.violate("I3: %s starts a handler of %s in epoch %d after one of epoch %d", c.p.label, c.name, c.epoch, latest)
	}
	if call.handled {
		s.violate("I3: %s starts a second handler of a message", c.p.label)
	}
	call.handled = true
	s.starts[c.name] = max(c.epoch, s.starts[c.name])
}

func (c *simCounter) wrote(call *simCall, r membership.Result) {
	p := c.p
	if c.ended {
		return
	}
	c.busy = false
	switch r.Outcome {
	case membership.OK:
		c.count++
		if count := c.count; p.mayAct() {
			p.send(call.from, func() { call.replied(count) })
		}
		c.next()
	case membership.Unavailable:
		c.next() // it is not done; the caller finds out by itself
	case membership.Unknown:
		p.doubtful[c.name] = p.doubtful[c.name].With(c.epoch)
		p.disown(c.name)
		if !p.claiming[c.name] {
			p.claim(simKey{'o', c.name}, nil)
		}
	default:
		p.s.trace("%s is refused to write the state of %s", p.label, c.name)
		c.ended = true // the record says so, or will
	}
}

// applyState takes state from the owner of its name; or, in a Create, from
// whoever knows the newest and changes nothing.
func (st *simStore) applyState(k simKey, step membership.Step, write simRecord) membership.Result {
	if step.Do == membership.Create {
		if st.last(k).seq != step.Expect {
			return membership.Result{Outcome: membership.Conflict}
		}
		return st.accept(k, write)
	}
	owner := st.last(simKey{'o', k.name})
	if (owner.deleted || owner.seq != step.Expect) && !st.s.faults.FencingOff {
		return membership.Result{Outcome: membership.Conflict}
	}
	if latest := st.epochs[k.name]; write.epoch < latest {
		st.s.violate("I2: the state of %s is written in epoch %d after it was in epoch %d", k.name, write.epoch, latest)
	}
	st.epochs[k.name] = max(st.epochs[k.name], write.epoch)
	return st.accept(k, write)
}
