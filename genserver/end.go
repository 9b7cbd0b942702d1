package genserver

import "context"

// Kill ends the process at once and without terminate. A handler that is
// running can't be stopped, but it is fenced: its context is cancelled, its
// caller and those in the mailbox get ErrExit, its timers are gone, and
// whatever it still sends, answers or sets is refused. The name is free for a
// successor when Kill returns.
func (p *Process) Kill() { p.kill(Killed) }

// kill reports false of a process that has ended already.
func (p *Process) kill(reason error) bool { return p.killTurn(0, reason) }

// killTurn is kill, unless the turn is over by now; turn 0 is any.
func (p *Process) killTurn(turn uint64, reason error) bool {
	p.mu.Lock()
	if p.phase == exited || turn > 0 && (p.turns != turn || p.running == nil || p.phase != busy) {
		p.mu.Unlock()
		return false
	}
	p.fenced.Store(true)
	handling := ""
	if p.phase != idle {
		p.ctx.abort(ErrFenced)
		handling = p.ctx.handling()
	}
	if p.begun && p.phase == starting || p.running != nil {
		p.undead = undeadMaybe
	}
	left := p.empty()
	var crash *ending // that led to a terminate which is running now
	if p.more != nil {
		crash = p.more.crash
	}
	onKill := p.onKill
	p.onKill = nil
	if onKill == nil {
		p.vanish(reason)
	} else {
		p.phase = stopping // its children go first
	}
	p.mu.Unlock()

	p.discard(&left, reason)
	if onKill != nil {
		onKill()
		p.mu.Lock()
		late := p.phase == exited
		if !late {
			p.vanish(reason)
		}
		p.mu.Unlock()
		if late {
			return false
		}
	}
	end := &ending{reason: reason, handling: handling}
	end.stack = p.haunt(handling)
	if crash != nil {
		p.reportCrash(crash)
	}
	p.conclude(end)
	return true
}

// OnKill has fn called when the process is killed, by the goroutine of Kill's
// caller: a supervisor takes its children with it, since its terminate does
// not run then. If the process has been killed already, fn is called at once.
func (p *Process) OnKill(fn func()) {
	p.mu.Lock()
	p.onKill = fn
	late := p.fenced.Load()
	p.mu.Unlock()
	if late {
		fn()
	}
}

// remains is what an ending process leaves behind.
type remains struct {
	running item
	ticket  uint64
	queue   []item
	pending *pending
	unowned bool                    // the name was never this node's
	own     map[*Monitor]struct{}   // its monitors
	endLife context.CancelCauseFunc // of what was detached; may be nil
}

// empty takes everything out of the process and ends its timers; p.mu is held.
func (p *Process) empty() remains {
	if p.alarm != nil {
		p.alarm.kill()
	}
	r := remains{running: p.running, ticket: p.ticket, pending: p.pending}
	r.unowned = p.wide && p.sys.router != nil && p.claim == nil
	if p.more != nil {
		r.endLife = p.more.endLife
		r.own = p.more.monitors.own
		if p.more.paused.held != nil {
			r.queue = append(r.queue, p.more.paused.held.item())
			p.more.paused.held = nil
		}
		p.endPause()
		for _, b := range p.more.blocked {
			b.done <- errGone
		}
		p.more.blocked = nil
		p.more.idle, p.more.monitors.own = idleTimeout{}, nil
		if p.more.dog.timer != nil {
			p.more.dog.timer.Stop()
		}
	}
	if p.more != nil {
		r.queue = append(r.queue, p.more.continues...)
		p.more.continues = nil
	}
	r.queue = append(append(r.queue, p.signals...), p.box.takeAll()...)
	for l := p.pending; l != nil; l = l.next {
		l.linked = false
	}
	p.running, p.signals, p.alarm, p.pending = nil, nil, nil, nil
	return r
}

// discard tells the callers; other messages are counted.
func (p *Process) discard(left *remains, reason error) {
	if left.running != nil || len(left.queue) > 0 || left.pending != nil {
		p.refuse(left, reason)
	}
	endMonitors(left.own)
	if left.endLife != nil {
		cause := reason
		if p.fenced.Load() {
			cause = ErrFenced
		}
		left.endLife(cause)
	}
}

func (p *Process) refuse(left *remains, reason error) {
	elsewhere := p.wide && (left.unowned || reasonIs(reason, ErrFenced))
	why := func(queued bool) error {
		if queued && elsewhere {
			return movedError(p.name, reason)
		}
		return exitError(p.name, reason, queued)
	}
	if left.running != nil {
		left.running.discard(left.ticket, why)
	}
	p.sys.discard(left.queue, why)
	for l := left.pending; l != nil; l = l.next {
		l.call.discard(l.ticket, why)
	}
}

func (s *System) discard(queue []item, why failure) {
	for _, it := range queue {
		switch it.(type) {
		case *oneWay, letterItem:
			s.stats.dropped.Add(1)
		}
		it.discard(it.use(), why)
	}
}

// vanish makes the process an exited one, whose name is free; p.mu is held.
// Whoever calls it goes on to conclude.
func (p *Process) vanish(reason error) {
	p.phase = exited
	p.stop = reason
	p.sys.procs.remove(p)
}

// conclude is the very end, come to once: whoever watches is told.
func (p *Process) conclude(end *ending) {
	p.report(end)
	p.mu.Lock()
	p.concluded = true
	if p.exited != nil {
		close(p.exited)
	}
	starting := p.notice == noticeStarting
	if starting {
		p.notice = noticeOwed
	}
	watch := p.watch
	var told map[*Monitor]struct{}
	if p.more != nil {
		told, p.more.monitors.told = p.more.monitors.told, nil
	}
	p.mu.Unlock()
	p.tellMonitors(told, end.reason)
	if watch != nil && !starting {
		watch.ProcessExited(p, end.reason)
	}
}

// announce tells of the start; false means that the process was killed
// meanwhile, and that this has been told too.
func (p *Process) announce() bool {
	if p.watch == nil {
		return true
	}
	p.watch.ProcessStarted(p)
	p.mu.Lock()
	owed, watch := p.notice == noticeOwed, p.watch
	p.notice = noticeNone
	p.mu.Unlock()
	if owed && watch != nil {
		watch.ProcessExited(p, p.Reason())
	}
	return !owed
}
