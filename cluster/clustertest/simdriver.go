package clustertest

import "github.com/civitas-go/civitas/internal/membership"

// simDriver does what one machine wants.
type simDriver struct {
	p      *simProc
	key    simKey
	next   func(membership.Time) membership.Step
	value  func(membership.Step) simRecord
	result func(membership.Time, membership.Step, membership.Result)
	ask    func(holder string)
	done   func()

	busy  bool // an operation is under way, or an answer awaited
	ended bool
	timer int // the newest one; older ones are void
}

// step does the next thing, unless one is being done.
func (d *simDriver) step() {
	if d.busy || d.ended || d.p.gone {
		return
	}
	p := d.p
	step := d.next(p.clock())
	switch step.Do {
	case membership.Done:
		if d.done != nil {
			d.done()
		}
	case membership.Wait:
		d.timer++
		timer := d.timer
		p.later(step.At, func() {
			if timer == d.timer {
				d.step()
			}
		})
	case membership.Ask:
		d.ask(step.Holder)
	case membership.Question:
		p.question(step.Witnesses)
		d.result(p.clock(), step, membership.Result{})
		d.step()
	default:
		d.send(step)
	}
}

func (d *simDriver) send(step membership.Step) {
	p := d.p
	d.busy = true
	var write simRecord
	if d.value != nil {
		write = d.value(step)
	}
	p.op(d.key, step, write, func(r membership.Result) {
		if !d.busy || d.ended {
			return
		}
		d.busy = false
		d.result(p.clock(), step, r)
		d.step()
	})
	if p.freeze > 0 && d.key.name == p.incarnation && !p.s.calm {
		if p.s.trouble("%s freezes for %v, just after a renewal", p.label, p.freeze) {
			p.frozenUntil = p.s.now + p.freeze
		}
		p.freeze = 0
	}
}

// op does one operation on the store. done is called once, with an unknown
// outcome if there is none for some time.
func (p *simProc) op(k simKey, step membership.Step, write simRecord, done func(membership.Result)) {
	pending := true
	once := func(r membership.Result) {
		p.when(func() {
			if pending {
				pending = false
				done(r)
			}
		})
	}
	p.s.store.do(p, k, step, write, once)
	p.later(p.clock()+p.s.timing.Lease/6, func() {
		outcome := membership.Unknown
		if step.Do == membership.Get {
			outcome = membership.Unavailable
		}
		once(membership.Result{Outcome: outcome})
	})
}
