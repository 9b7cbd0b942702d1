package clustertest

import (
	"time"

	"github.com/civitas-go/civitas/internal/membership"
)

// stop stops a child that the process runs, as an operator wants it.
func (p *simProc) stop(name string) {
	p.s.trace("%s stops %s", p.label, name)
	p.release(name)
	wait := time.Duration(0)
	if p.s.chance(3) {
		wait = p.s.upTo(5 * time.Second)
	}
	p.later(p.clock()+wait, func() { p.mark(name, true) })
}

// mark has a child's record say that it is stopped, or that it is not, until it does.
func (p *simProc) mark(name string, stopped bool) {
	k := simKey{'c', name}
	again := func() { p.later(p.clock()+100*time.Millisecond, func() { p.mark(name, stopped) }) }
	p.op(k, membership.Step{Do: membership.Get}, simRecord{}, func(r membership.Result) {
		if r.Outcome != membership.OK {
			again()
			return
		}
		found := p.s.store.upTo(k, r.Seq)
		spec := *found.spec
		if spec.Stopped == stopped || found.removed {
			return
		}
		spec.Stopped = stopped
		p.op(k, membership.Step{Do: membership.Update, Expect: r.Seq}, simRecord{spec: &spec}, func(r membership.Result) {
			if r.Outcome != membership.OK {
				again()
			}
		})
	})
}
