package clustertest

import (
	"math/rand/v2"
	"time"

	"github.com/civitas-go/civitas/internal/membership"
	"github.com/civitas-go/civitas/internal/placement"
)

// operators decides whether there are any who change the tree. They draw from a
// source of their own, so that schedules without them are as they were before.
func (s *sim) operators() {
	if hands := rand.New(rand.NewPCG(s.seed, 1)); hands.IntN(2) == 0 {
		s.hands = hands
		s.operate()
	}
}

func (s *sim) handsUpTo(d time.Duration) time.Duration {
	return time.Duration(s.hands.Int64N(int64(d) + 1))
}

// operate has somebody change the tree now and then, through some node.
func (s *sim) operate() {
	s.after(s.handsUpTo(15*time.Second), func() {
		if s.calm {
			return
		}
		name, pin, what := s.names[s.hands.IntN(len(s.names))], s.nodes[s.hands.IntN(len(s.nodes))], s.hands.IntN(5)
		first := s.hands.IntN(len(s.procs) + 1)
		for i := range s.procs {
			if p := s.procs[(first+i)%len(s.procs)]; p.lead != nil && !p.gone && !p.leaving {
				if s.trouble("an operator changes %s by %s", name, p.label) {
					p.when(func() { p.change(name, pin, what) })
				}
				break
			}
		}
		s.operate()
	})
}

// change has a child run otherwise, pins it to a node, or to none if it is pinned, or
// takes it out of the tree; by compare-and-set, until it is done.
func (p *simProc) change(name, pin string, what int) {
	s, k := p.s, simKey{'c', name}
	again := func() { p.later(p.clock()+100*time.Millisecond, func() { p.change(name, pin, what) }) }
	p.op(k, membership.Step{Do: membership.Get}, simRecord{}, func(r membership.Result) {
		if r.Outcome != membership.OK {
			again()
			return
		}
		found := s.store.upTo(k, r.Seq)
		spec := *found.spec
		switch {
		case what == 0 && found.removed:
			return
		case what == 0:
			spec.Stopped, spec.Revision = true, r.Seq
			p.op(k, membership.Step{Do: membership.Update, Expect: r.Seq}, simRecord{spec: &spec, removed: true}, func(r membership.Result) {
				if r.Outcome != membership.OK {
					again()
					return
				}
				s.stats.Removals++
			})
			return
		case found.removed:
			spec.Stopped = false
		}
		if what == 1 {
			if spec.Node == "" {
				spec.Node = pin
			} else {
				spec.Node = ""
			}
		}
		p.write(spec, r.Seq, func(membership.Result) { s.stats.Changes++ }, again)
	})
}

// write writes what is to run in the place of the record of the sequence that is given.
func (p *simProc) write(spec placement.Spec, over uint64, done func(membership.Result), again func()) {
	spec.Revision = over
	if p.s.faults.BlindChanges {
		over = 0
	}
	p.op(simKey{'c', spec.Name}, membership.Step{Do: membership.Update, Expect: over}, simRecord{spec: &spec}, func(r membership.Result) {
		if r.Outcome != membership.OK {
			again()
			return
		}
		done(r)
	})
}

// stopAsOrdered carries out an order to stop a child, if its record, read now, says
// otherwise than what runs.
func (p *simProc) stopAsOrdered(name string) {
	if p.s.faults.OldStops {
		p.carryOut(name, placement.Spec{})
		return
	}
	k := simKey{'c', name}
	p.op(k, membership.Step{Do: membership.Get}, simRecord{}, func(r membership.Result) {
		if r.Outcome != membership.OK {
			return
		}
		if spec := *p.s.store.upTo(k, r.Seq).spec; spec.Revision > p.runs[name] || spec.Revision == p.runs[name] && spec.Stopped {
			p.carryOut(name, spec)
		}
	})
}

func (p *simProc) carryOut(name string, read placement.Spec) {
	if _, runs := p.owned[name]; !runs || p.claiming[name] || p.leaving {
		return
	}
	newest := p.s.store.last(simKey{'c', name}).spec
	switch {
	case newest.Revision > p.runs[name]:
		p.s.stats.Replaced++
	case !newest.Stopped && !read.Stopped:
		p.s.violate("P6: an old order stops %s on %s, which runs by its newest revision, %d", name, p.label, newest.Revision)
	}
	p.release(name)
}
