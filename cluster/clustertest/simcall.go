package clustertest

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/civitas-go/civitas/internal/membership"
)

// simCall is a call to add one to a counter.
type simCall struct {
	from    *simProc
	name    string
	began   time.Duration
	handled bool
	over    bool
}

// simOp is a call as its caller saw it: replied to, or of unknown outcome. One
// that was certainly not done is none.
type simOp struct {
	name        string
	began, over time.Duration
	count       int // 0 if unknown
}

// keepCalling calls a counter now and then.
func (p *simProc) keepCalling() {
	p.s.after(p.s.upTo(3*time.Second), func() {
		p.when(p.call)
		if !p.gone {
			p.keepCalling()
		}
	})
}

// call reads who owns a name, and calls that.
func (p *simProc) call() {
	s := p.s
	name := s.names[s.rng.IntN(len(s.names))]
	p.op(simKey{'o', name}, membership.Step{Do: membership.Get}, simRecord{}, func(r membership.Result) {
		to := s.process(r.Holder)
		if r.Outcome != membership.OK || to == nil || s.calm {
			return
		}
		call := &simCall{from: p, name: name, began: s.now}
		p.send(to, func() { to.receive(call) })
		p.later(p.clock()+5*time.Second, call.timeout)
		s.calls = append(s.calls, call)
	})
}

func (s *sim) process(incarnation string) *simProc {
	for _, p := range s.procs {
		if p.incarnation == incarnation {
			return p
		}
	}
	return nil
}

func (p *simProc) receive(call *simCall) {
	c := p.counters[call.name]
	if c == nil || c.ended {
		p.send(call.from, call.refused)
		return
	}
	c.queue = append(c.queue, call)
	c.next()
}

// refused: it was not begun and will not be.
func (c *simCall) refused() { c.over = true }

func (c *simCall) replied(count int) {
	if !c.over {
		c.over = true
		c.from.s.stats.Calls++
		c.from.s.history = append(c.from.s.history, simOp{c.name, c.began, c.from.s.now, count})
	}
}

func (c *simCall) timeout() {
	if !c.over {
		c.over = true
		c.from.s.unknown(c)
	}
}

func (s *sim) unknown(c *simCall) {
	s.stats.Unknown++
	s.history = append(s.history, simOp{c.name, c.began, math.MaxInt64, 0})
}

// counter is what a name's calls are to look like, as if done one by one.
var counter = porcupine.Model{
	Init: func() any { return 0 },
	Step: func(state, _, output any) (bool, any) {
		count := state.(int) + 1      //nolint:forcetypeassert // it is the model's own
		return output == count, count // of type int both
	},
}

// checkHistory holds in the end: the calls were linearizable.
func (s *sim) checkHistory() {
	for _, c := range s.calls {
		if !c.over {
			s.unknown(c)
		}
	}
	for _, name := range s.names {
		var known, unknown []simOp
		for _, op := range s.history {
			switch {
			case op.name != name:
			case op.count == 0:
				unknown = append(unknown, op)
			default:
				known = append(known, op)
			}
		}
		var ops []porcupine.Operation
		for i, op := range fill(known, unknown) {
			ops = append(ops, porcupine.Operation{ClientId: i, Call: int64(op.began), Output: op.count, Return: int64(op.over)})
		}
		switch porcupine.CheckOperationsTimeout(counter, ops, patience) {
		case porcupine.Illegal:
			s.violate("the calls of %s are not linearizable: %d of them", name, len(ops))
		case porcupine.Unknown:
			s.stats.Unchecked++
		case porcupine.Ok:
		}
	}
}

// fill has the calls of unknown outcome, in the order in which they began, be
// those that made the counts that no other call was told. If any order of all
// calls is right then one with these is, for a call that began earlier can stand
// wherever a later one can. The calls that are left over may not have been done.
func fill(known, unknown []simOp) []simOp {
	byTime := func(a, b simOp) int { return cmp.Compare(a.began, b.began) }
	slices.SortFunc(known, func(a, b simOp) int { return cmp.Compare(a.count, b.count) })
	slices.SortStableFunc(unknown, byTime)
	ops := slices.Clone(known)
	next := 1
	for _, op := range known {
		for ; next < op.count && len(unknown) > 0; next++ {
			unknown[0].count = next
			ops, unknown = append(ops, unknown[0]), unknown[1:]
		}
		next = op.count + 1
	}
	slices.SortStableFunc(ops, byTime)
	return ops
}
