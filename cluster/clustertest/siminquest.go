package clustertest

import (
	"slices"

	"github.com/civitas-go/civitas/internal/membership"
)

// simInquest is a process's into another's session.
type simInquest struct {
	machine   *membership.Inquest
	driver    *simDriver
	asking    []simAsk
	following int
	judging   bool // a verdict is on its way
}

// simAsk wants to know what is known of a session, or, following, of its end.
type simAsk struct {
	following bool
	answer    func(membership.Status)
}

// inquire asks for the state of another's session.
func (p *simProc) inquire(incarnation string, answer func(membership.Status)) {
	q := p.inquest(incarnation)
	q.asking = append(q.asking, simAsk{answer: answer})
	q.tell(p.clock())
	q.driver.step()
}

// inquest joins the one into a session, or begins it.
func (p *simProc) inquest(incarnation string) *simInquest {
	if q := p.inquests[incarnation]; q != nil {
		return q
	}
	m := membership.NewInquest(p.s.timing, "")
	q := &simInquest{machine: m, driver: &simDriver{p: p, key: simKey{'s', incarnation}}}
	p.inquests[incarnation] = q
	p.inquestOrder = append(p.inquestOrder, incarnation)
	d := q.driver
	d.next = func(now membership.Time) membership.Step { return m.Next(now, p.session.Standing(now), p.ends) }
	d.value = func(step membership.Step) simRecord {
		if p.s.faults.EarlyVerdict && step.Do == membership.Update {
			q.judging = true
			q.tell(p.clock())
		}
		return simRecord{session: membership.Content{Nonce: p.nonce(), Dead: true}}
	}
	d.result = func(now membership.Time, step membership.Step, r membership.Result) {
		m.Result(now, step, r)
		p.s.checkEnd(p, incarnation, m.Status(now))
		if step.Do == membership.Update && r.Outcome == membership.OK {
			p.s.stats.Verdicts++
			if _, all := p.ends.Last(m.Witnesses()); all {
				p.s.stats.Fast++
			}
		}
		q.tell(p.clock())
	}
	d.done = func() { d.ended = true }
	return q
}

// tell answers those who ask, once there is an answer.
func (q *simInquest) tell(now membership.Time) {
	status := q.machine.Status(now)
	if q.judging && !status.Ended() {
		status = membership.Died
	}
	if status == membership.Unsure {
		return
	}
	asking := q.asking
	q.asking = nil
	for _, a := range asking {
		if a.following && !status.Ended() {
			q.asking = append(q.asking, a)
			continue
		}
		a.answer(status)
	}
}

// follow has ended called once an incarnation is known to have ended, unless
// stopped before. Whoever follows judges.
func (p *simProc) follow(incarnation string, ended func()) (stop func()) {
	q := p.inquest(incarnation)
	stopped := false
	q.following++
	q.asking = append(q.asking, simAsk{following: true, answer: func(membership.Status) {
		if !stopped {
			ended()
		}
	}})
	p.s.after(0, func() { p.when(func() { q.tell(p.clock()) }) })
	q.driver.step()
	return func() {
		stopped = true
		if q.following--; q.following == 0 && !slices.ContainsFunc(q.asking, func(a simAsk) bool { return !a.following }) {
			q.driver.ended = true
			delete(p.inquests, incarnation)
			p.inquestOrder = slices.DeleteFunc(p.inquestOrder, func(i string) bool { return i == incarnation })
		}
	}
}
