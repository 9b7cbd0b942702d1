package genserver

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"

	"go.opentelemetry.io/otel/trace"
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
// message that has been taken, or nil, and handles messages until none is left.
func (p *Process) drain(it item) {
	rested := false
	for n := 1; ; n++ {
		if it != nil {
			if p.claim != nil && !p.admitted(it) {
				return
			}
			if end := p.turn(it); end != nil {
				p.exit(end)
				return
			}
		}
		if n%turnBudget == 0 {
			runtime.Gosched()
		}
		idly := rested || !p.mayRest()
		next, end := p.next(idly)
		switch {
		case end != nil:
			p.exit(end)
			return
		case next == nil && idly:
			return
		case next == nil:
			p.rest()
		}
		it, rested = next, next == nil
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
func (p *Process) next(idly bool) (item, *ending) {
	p.mu.Lock()
	if p.lost() {
		p.mu.Unlock()
		p.ceased()
		return nil, nil
	}
	defer p.mu.Unlock()
	p.running = nil
	if p.stop != nil {
		return nil, &ending{reason: p.stop}
	}
	it := p.pop()
	if it == nil {
		p.awaitIdle()
		it = p.pop() // which may be over already
	}
	if it == nil {
		if idly {
			p.phase = idle
			p.box.shrink()
		}
		return nil, nil
	}
	p.take(it)
	return it, nil
}

// lost reports that the process has ended, or that Kill is ending it; its own
// goroutine has no say any more. p.mu is held.
func (p *Process) lost() bool { return p.phase == exited || p.fenced.Load() }

// pop takes the next message out, leaving aside timers that are dead.
func (p *Process) pop() item {
	for {
		it := p.popAny()
		if t, ok := it.(*Timer); !ok || t.state.Load() == timerQueued {
			return it
		}
	}
}

func (p *Process) popAny() item {
	if m := p.more; m != nil && m.paused.held != nil {
		it := m.paused.held
		m.paused.held = nil
		return it
	}
	if m := p.more; m != nil && len(m.continues) > 0 {
		it := m.continues[0]
		m.continues = m.continues[1:]
		return it
	}
	if len(p.signals) == 0 {
		it := p.box.pop()
		if p.more != nil {
			p.admit()
		}
		return it
	}
	it := p.signals[0]
	p.signals = p.signals[1:]
	if len(p.signals) == 0 {
		p.signals = nil
	}
	return it
}

// turn handles the message that was taken, and returns why the server must
// end, or nil. A panic ends here. A runtime.Goexit can't be kept from ending
// the goroutine; the process's end then runs in another one.
func (p *Process) turn(it item) (end *ending) {
	c := p.ctx
	returned := false
	defer func() {
		if returned {
			return
		}
		end = crash(recover())
		end.handling, end.message = c.String(), it.message()
		c.finish(end.reason)
		if end.goexit {
			go p.exit(end)
		}
	}()
	err := it.run(p, c)
	returned = true
	runtime.KeepAlive(p) // so that a traceback of the handler has it; see stackOf
	c.finish(err)
	if err != nil {
		end = endingOf(err, c)
		end.message = it.message()
		return end
	}
	if c.stop != nil {
		return endingOf(c.stop, c) // the message may be another caller's by now
	}
	return nil
}

// enterInline gives the turn of an idle process to the calling goroutine, which
// must use leaveInline.
func (p *Process) enterInline(it item) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.phase != idle || p.shut() {
		return false
	}
	p.phase = busy
	p.take(it)
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
		more := p.stop != nil || p.waits()
		if !more {
			p.phase = idle
		}
		p.mu.Unlock()
		if more {
			go p.drain(nil)
		}
	}
}

// waits reports whether there is anything to handle; p.mu is held.
func (p *Process) waits() bool {
	return p.box.n > 0 || len(p.signals) > 0 || p.more != nil && len(p.more.continues) > 0
}

// start is a process's first goroutine: it claims the name where that is
// cluster-wide, runs init, and goes on to the messages that came meanwhile.
func (p *Process) start(spec Spec, o SpawnOptions) {
	p.mu.Lock()
	if p.lost() {
		p.mu.Unlock()
		return // before anything has run
	}
	p.begun = true
	p.mu.Unlock()
	var span trace.Span
	end := guard(func() error {
		if err := p.claimName(o.Scope); err != nil {
			return err
		}
		if p.fenced.Load() {
			return ErrFenced // before anything has run
		}
		if err := p.awaitInit(); err != nil {
			return err
		}
		defer p.ctx.end()
		span = p.ctx.startInitSpan(o.Cause)
		state, err := p.host.def.init(p.ctx, spec.config)
		p.state = state
		return err
	}, func(end *ending) {
		endInitSpan(span, end)
		p.failStart(end)
	})
	if end != nil {
		endInitSpan(span, end)
		p.failStart(end)
		return
	}
	endInitSpan(span, nil)
	p.mu.Lock()
	if p.lost() {
		p.mu.Unlock()
		p.ceased()
		return
	}
	p.phase = busy
	p.notice = noticeStarting
	if p.stop == nil {
		p.stop = p.ctx.stop
	}
	p.mu.Unlock()
	if p.announce() {
		p.drain(nil)
	}
}

// failStart ends a process whose init did not succeed.
func (p *Process) failStart(end *ending) {
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
	p.discard(left, end.reason)
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
	if p.shut() {
		terminate = nil // a handler like others
	}
	if terminate != nil {
		p.take(terminating{})
	}
	p.mu.Unlock()
	p.discard(left, end.reason)
	if !end.asked() {
		p.noteState(end)
	}

	if terminate != nil {
		after := guard(func() error {
			defer p.ctx.end()
			terminate(p.state, p.ctx, end.reason)
			return nil
		}, func(after *ending) {
			after.handling = "terminate"
			p.reportCrash(end)
			p.depart(after)
		})
		if after != nil {
			after.handling = "terminate"
			p.reportCrash(end)
			end = after
		}
	}
	p.depart(end)
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
// code ends its goroutine by runtime.Goexit, guard does not return, and orphan
// goes on in a goroutine of its own.
func guard(fn func() error, orphan func(*ending)) (end *ending) {
	returned := false
	defer func() {
		if returned {
			return
		}
		end = crash(recover())
		if end.goexit {
			go orphan(end)
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
