package clustertest

import (
	"slices"
	"time"

	"github.com/civitas-go/civitas/internal/membership"
	"github.com/civitas-go/civitas/internal/placement"
)

var simLeadKey = simKey{'l', "lead"}

// simLead is a process's part in who leads. It does with a placement.Candidate what
// cluster.Coordinator does with it.
type simLead struct {
	p         *simProc
	candidate *placement.Candidate
	term      *simTerm // while it leads

	following string // whose end is waited for
	unfollow  func()
	busy      bool // it reads or takes the record
	timer     int  // the newest one; older ones are void
	ended     bool
}

// step does the next thing.
func (l *simLead) step() {
	if l.ended {
		return
	}
	p := l.p
	step := l.candidate.Next(p.clock())
	if step.Do != placement.Lead && l.term != nil && !p.s.faults.EveryoneLeads {
		l.term.end()
		l.term = nil
	}
	if step.Do != placement.LookAtLead && step.Do != placement.FollowLead {
		l.follow("")
	}
	if l.busy {
		return
	}
	switch step.Do {
	case placement.LookAtLead:
		l.look()
	case placement.FollowLead:
		l.follow(step.Holder)
		l.wait(step.At)
	case placement.AwaitTurn:
		l.wait(step.At)
	case placement.TakeLead:
		l.take()
	case placement.Lead:
		if l.term == nil {
			l.govern()
		}
	}
}

func (l *simLead) wait(at membership.Time) {
	l.timer++
	timer := l.timer
	l.p.later(at, func() {
		if timer == l.timer {
			l.step()
		}
	})
}

func (l *simLead) look() {
	l.busy = true
	p := l.p
	p.op(simLeadKey, membership.Step{Do: membership.Get}, simRecord{}, func(r membership.Result) {
		l.busy = false
		answered := r.Outcome == membership.OK || r.Outcome == membership.NotFound
		if answered {
			l.candidate.Saw(r.Holder, r.Seq)
		}
		l.candidate.Looked(p.clock(), answered)
		l.step()
	})
}

// follow waits for one's end, or for nobody's.
func (l *simLead) follow(holder string) {
	if l.following == holder {
		return
	}
	if l.unfollow != nil {
		l.unfollow()
	}
	l.following, l.unfollow = holder, nil
	if holder != "" {
		l.unfollow = l.p.follow(holder, func() {
			l.candidate.Ended(l.p.clock(), holder, l.p.living())
			l.step()
		})
	}
}

func (l *simLead) take() {
	l.busy = true
	took := func(seq uint64, ok bool) {
		l.busy = false
		l.candidate.Took(l.p.clock(), seq, ok)
		l.step()
	}
	if !l.p.s.faults.BlindLead {
		l.p.claim(simLeadKey, took)
		return
	}
	l.p.op(simLeadKey, membership.Step{Do: membership.Update}, simRecord{holder: l.p.incarnation}, func(r membership.Result) {
		took(r.Seq, r.Outcome == membership.OK)
	})
}

// govern begins a term.
func (l *simLead) govern() {
	l.p.s.stats.Terms++
	l.p.s.trace("%s leads", l.p.label)
	l.term = newSimTerm(l.p)
	l.term.load()
}

// copied takes the copy of a write.
func (l *simLead) copied(k simKey, r simRecord) {
	switch {
	case k.kind == 'l':
		l.candidate.Saw(r.holder, r.seq)
		l.step()
	case l.term != nil:
		l.term.post(func() { l.term.changed(k, r) })
	}
}

// resign ends the process's part, and gives the lead back if that does not take
// too long.
func (l *simLead) resign(done func()) {
	l.follow("")
	l.ended = true
	if l.term != nil {
		l.term.end()
		l.term = nil
	}
	l.p.within(time.Second, done, func(done func()) func() {
		return l.p.giveBack(simLeadKey, membership.NewRelease(l.p.incarnation, 0), done)
	})
}

// within has done called once something has been done, or was stopped after a while.
func (p *simProc) within(d time.Duration, done func(), do func(done func()) (stop func())) {
	over := false
	once := func() {
		if !over {
			over = true
			done()
		}
	}
	stop := do(once)
	p.later(p.clock()+d, func() {
		stop()
		once()
	})
}

// living are those who were heard of not long ago, and the process itself.
func (p *simProc) living() []string {
	all := []string{p.incarnation}
	for incarnation, at := range p.sightings {
		if p.clock()-at <= p.s.timing.Judge {
			all = append(all, incarnation)
		}
	}
	slices.Sort(all)
	return all
}
