package genserver

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
)

// turnBudget is how many messages a server handles before it lets other
// goroutines run.
const turnBudget = 128

// ending is why a process ends.
type ending struct {
	reason   error
	handling string      // the message, of a crash
	message  Message     // the same, where its handler failed
	stack    []byte      // of a panic
	goexit   bool        // the goroutine is dying of runtime.Goexit
	state    *slog.Value // as it was when the handler failed; nil where it's not shown
	reported bool
}

// drain is the goroutine of a process that is not idle: it begins with a
// message that has been taken, if any, and handles messages until none is left.
func (p *Process) drain(s slot) {
	has, rested := s.what != nil, false
	until := p.turns + turnBudget
	for {
		if has {
			if p.claim != nil && !p.admitted(&s) {
				return
			}
			if end := p.turn(&s); end != nil {
				p.exit(end)
				return
			}
			if p.turns >= until {
				runtime.Gosched()
				until = p.turns + turnBudget
			}
		}
		idly := rested || !p.mayRest()
		next, end := p.next(&s, idly)
		switch {
		case end != nil:
			p.exit(end)
			return
		case !next && idly:
			return
		case !next:
			p.rest()
		}
		has, rested = next, !next
	}
}

// mostResting is how many servers of a System may rest at once. Where many have
// work now and then, they would but keep each other waiting.
const mostResting = 2

// mayRest reports whether the process, when it has nothing to handle, should
// rest once before it idles.
func (p *Process) mayRest() bool {
	// A NonBlocking server's callers want it idle.
	return !p.host.def.nonBlocking && p.sys.resting.Load() < mostResting
}

// rest lets others run. More often than not the next message is on its way
// already, from whoever has just been answered; letting it come costs less than
// a new goroutine.
func (p *Process) rest() {
	p.sys.resting.Add(1)
	runtime.Gosched()
	p.sys.resting.Add(-1)
}

// next ends a turn and takes the next message. If there is none, the process
// becomes idle where idly is set. A process that was killed meanwhile has none.
func (p *Process) next(s *slot, idly bool) (bool, *ending) {
	p.mu.Lock()
	if p.lost() {
		p.mu.Unlock()
		p.ceased()
		return false, nil
	}
	defer p.mu.Unlock()
	p.running = nil
	p.turns += p.box.count()
	if p.urgent.Load() {
		p.urgent.Store(false)
	}
	if p.stop != nil {
		return false, &ending{reason: p.stop}
	}
	next := p.pop(s)
	if !next && p.more != nil {
		p.awaitIdle()
		next = p.pop(s) // which may be over already
	}
	for !next {
		if !idly {
			return false, nil
		}
		if p.box.close() {
			p.phase = idle
			return false, nil
		}
		next = p.pop(s)
	}
	p.take(s)
	return true, nil
}

// lost reports that the process has ended, or that Kill is ending it; its own
// goroutine has no say any more. p.mu is held.
func (p *Process) lost() bool { return p.phase == exited || p.fenced.Load() }

// pop takes the next message out, leaving aside timers that are dead.
func (p *Process) pop(s *slot) bool {
	for p.popAny(s) {
		if t, ok := s.what.(*Timer); !ok || t.state.Load() == timerQueued {
			return true
		}
	}
	return false
}

func (p *Process) popAny(s *slot) bool {
	if m := p.more; m != nil && m.paused.held != nil {
		*s = *m.paused.held
		m.paused.held = nil
		return true
	}
	if m := p.more; m != nil && len(m.continues) > 0 {
		*s = slot{what: m.continues[0]}
		m.continues = m.continues[1:]
		return true
	}
	if len(p.signals) == 0 {
		next := p.box.pop(s)
		if p.more != nil {
			p.admit()
		}
		return next
	}
	*s = slot{what: p.signals[0]}
	p.signals = p.signals[1:]
	if len(p.signals) == 0 {
		p.signals = nil
	}
	return true
}

// turn handles the message that was taken, and the letters of its batch, and returns
// why the server must end, or nil. A panic ends here. A runtime.Goexit can't be
// kept from ending the goroutine; the process's end then runs in another one.
func (p *Process) turn(s *slot) (end *ending) {
	c := p.ctx
	returned := false
	defer func() {
		if returned {
			return
		}
		end = crash(recover())
		end.handling, end.message = c.String(), s.message()
		c.finish(end.reason)
		c.end()
		if end.goexit {
			go p.exit(end)
		}
	}()
	for {
		err := s.run(p, c)
		returned = true
		c.finish(err)
		if err != nil {
			end = endingOf(err, c)
			end.message = s.message()
			break
		}
		if c.stop != nil {
			end = endingOf(c.stop, c) // the message may be another caller's by now
			break
		}
		if !p.another(s, c) {
			break
		}
		returned = false
	}
	runtime.KeepAlive(p) // so that a traceback of the handler has it; see stackOf
	c.end()
	return end
}

// another claims a letter that may follow in this turn. Its context is the letter's
// before it, unless somebody may hold that.
func (p *Process) another(s *slot, c *Context) bool {
	if s.handler == nil || p.urgent.Load() || c.taken.Load() || !p.box.claim(s) {
		return false
	}
	h := s.header(p.host.def)
	c.follow(&h)
	return true
}

// enterInline gives the turn of an idle process to the calling goroutine, which
// must use leaveInline.
func (p *Process) enterInline(it item) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.phase != idle || p.shutTo(false) {
		return false
	}
	p.phase = busy
	p.take(&slot{what: it})
	return true
}

// leaveInline ends an inline turn. What came meanwhile goes to a goroutine.
func (p *Process) leaveInline(end *ending) {
	p.mu.Lock()
	switch {
	case p.lost():
		p.mu.Unlock()
		p.ceased()
	case end != nil:
		p.mu.Unlock()
		go p.exit(end) // terminate is none of the caller's business
	default:
		p.running = nil
		if p.stop == nil && !p.waits() {
			p.awaitIdle()
		}
		more := p.stop != nil || p.waits() || !p.box.close()
		if !more {
			p.phase = idle
		}
		p.mu.Unlock()
		if more {
			go p.drain(slot{})
		}
	}
}

// waits reports whether there is anything to handle; p.mu is held.
func (p *Process) waits() bool {
	return p.box.waiting() > 0 || len(p.signals) > 0 || p.more != nil && len(p.more.continues) > 0
}

// start is a process's first goroutine: it claims the name where that is
// cluster-wide, runs init, and goes on to the messages that came meanwhile. The
// cause is nil for none.
func (p *Process) start(config any, cause *Cause) {
	if p.begin(config, cause) {
		p.drain(slot{})
	}
}

// begin starts the process, and reports false if it has ended by then.
func (p *Process) begin(config any, cause *Cause) bool {
	p.mu.Lock()
	if p.lost() {
		p.mu.Unlock()
		return false // before anything has run
	}
	p.begun = true
	p.mu.Unlock()
	if end := p.guard(func() error { return p.init(config, cause) }, (*Process).failStart); end != nil {
		p.failStart(end)
		return false
	}
	p.ctx.endInitSpan(nil)
	p.mu.Lock()
	if p.lost() {
		p.mu.Unlock()
		p.ceased()
		return false
	}
	p.phase = busy
	p.notice = noticeStarting
	if p.stop == nil {
		p.stop = p.ctx.stop
	}
	p.mu.Unlock()
	return p.announce()
}

// init has the name be the process's, and makes its state.
func (p *Process) init(config any, cause *Cause) error {
	if p.wide {
		if err := p.claimName(); err != nil {
			return err
		}
	}
	if p.fenced.Load() {
		return ErrFenced // before anything has run
	}
	if err := p.awaitInit(); err != nil {
		return err
	}
	if cause != nil && p.sys.tracer != nil {
		p.ctx.startInitSpan(cause)
	}
	defer p.ctx.end()
	state, err := p.host.def.init(p.ctx, config)
	p.state = state
	return err
}

// failStart ends a process whose init did not succeed.
func (p *Process) failStart(end *ending) {
	p.ctx.endInitSpan(end.reason)
	p.mu.Lock()
	if p.lost() {
		p.mu.Unlock()
		p.ceased()
		return
	}
	if p.stop != nil {
		end.reason = p.stop // init was told to give up, and did
	}
	left := p.empty()
	p.vanish(end.reason)
	p.mu.Unlock()
	end.handling = "init"
	p.discard(&left, end.reason)
	p.conclude(end)
}

// exit ends the process from within: callers are told at once, terminate runs,
// the name is freed.
func (p *Process) exit(end *ending) {
	p.mu.Lock()
	if p.lost() {
		p.mu.Unlock()
		p.ceased()
		return
	}
	p.phase = stopping
	left := p.empty()
	if !end.asked() {
		p.extra().crash = end // lest it be lost should terminate hang
	}
	terminate := p.host.def.terminate
	if p.shutTo(false) {
		terminate = nil // a handler like others
	}
	if terminate != nil {
		p.take(&slot{what: terminating{}})
	}
	p.mu.Unlock()
	p.discard(&left, end.reason)
	if !end.asked() {
		p.noteState(end)
	}

	if terminate != nil {
		end = p.terminate(terminate, end)
	}
	p.depart(end)
}

// terminate runs the server's own, and returns what the process ends with: what
// it was to, or terminate's own failure.
func (p *Process) terminate(fn func(any, *Context, error), end *ending) *ending {
	after := p.guard(func() error {
		defer p.ctx.end()
		fn(p.state, p.ctx, end.reason)
		return nil
	}, func(p *Process, after *ending) {
		p.reportCrash(end)
		after.handling = "terminate"
		p.depart(after)
	})
	if after == nil {
		return end
	}
	p.reportCrash(end)
	after.handling = "terminate"
	return after
}

// depart ends a process after its terminate.
func (p *Process) depart(end *ending) {
	p.mu.Lock()
	if p.lost() {
		p.mu.Unlock()
		p.ceased()
		return
	}
	p.running = nil
	p.vanish(end.reason)
	p.mu.Unlock()
	p.conclude(end)
}

// guard runs user code outside of a turn and returns how it failed. If the
// code ends its goroutine by runtime.Goexit, guard does not return, and the process's
// orphan goes on in a goroutine of its own.
func (p *Process) guard(fn func() error, orphan func(*Process, *ending)) (end *ending) {
	returned := false
	defer func() {
		if returned {
			return
		}
		end = crash(recover())
		if end.goexit {
			go orphan(p, end)
		}
	}()
	err := fn()
	returned = true
	if err == nil {
		return nil
	}
	return endingOf(err, nil)
}

// crash is the end of code that did not return: v is what it panicked with, or
// nil for a runtime.Goexit.
func crash(v any) *ending {
	if v == nil {
		return &ending{reason: &Error{Code: ErrPanic.Code, Text: "handler called runtime.Goexit"}, goexit: true}
	}
	return &ending{reason: &Error{Code: ErrPanic.Code, Text: fmt.Sprint(v)}, stack: debug.Stack()}
}

// endingOf is the end that an error returned by user code asks for.
func endingOf(err error, c *Context) *ending {
	end := &ending{reason: err}
	if c != nil {
		end.handling = c.String()
	}
	if stop := asStop(err); stop != nil {
		end.reason = stop.reason
	}
	return end
}

func asStop(err error) *stopError {
	var stop *stopError
	if err != nil && errors.As(err, &stop) {
		return stop
	}
	return nil
}
