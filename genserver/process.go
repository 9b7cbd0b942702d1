package genserver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// Process is one generation of a server: what a start made, until it ends. A
// restart makes another Process of the same name.
//
//	starting ──init──> idle <──> busy ──> stopping ──terminate──> exited
//	    │                                                            ^
//	    └──init failed, or Kill from any of them─────────────────────┘
//
// It has no goroutine while idle. Its methods may be called from anywhere.
type Process struct {
	sys   *System
	host  *host
	name  string
	gen   uint64
	born  int64 // when, in Unix nanoseconds
	claim Claim // of a cluster-wide name
	watch Watcher

	// fenced is set by Kill: what the generation does from then on is refused.
	fenced atomic.Bool

	// Guarded by mu; they are here because it keeps the struct small.
	phase     phase
	notice    notice
	concluded bool // exited, and reported
	begun     bool // to start
	wide      bool // of a cluster-wide name; set before the start
	closing   bool // handles what is in its mailbox, and ends
	undead    undead

	// state is touched by whoever has the turn only: init, a handler, terminate.
	state any

	mu      sync.Mutex
	box     mailbox
	signals []item // ahead of the mailbox, unbounded
	stop    error  // the reason, asked for and in the end true
	running item   // whose turn it is
	ticket  uint64 // of running
	ctx     *Context
	alarm   *alarm        // nil while no timer was set
	more    *more         // nil where there is no more
	pending *pending      // calls that are to be answered later
	exited  chan struct{} // made when first asked for
	onKill  func()
	turns   uint64 // how many there were, for Drain
}

// notice keeps a Watcher's notices in order where a process is killed while
// its start is being told.
type notice uint8

const (
	noticeNone     notice = iota
	noticeStarting        // ProcessStarted is under way
	noticeOwed            // and ProcessExited must follow it
)

type phase uint8

const (
	starting phase = iota
	idle
	busy
	stopping
	exited
)

// errGone is a push to a process that takes nothing any more.
var errGone = errors.New("process is gone")

// Watcher is told of a process's fate, by the process's own goroutine (or
// that of Kill's caller), once each, the start first. Its methods must not block.
//
// One that has a method Supervisor() string besides says by it what
// [ProcessInfo] has as the process's supervisor.
type Watcher interface {
	// ProcessStarted follows a successful init.
	ProcessStarted(p *Process)
	// ProcessExited follows the end. The name is free by then. Of a process
	// that failed to start, it is the only notice.
	ProcessExited(p *Process, reason error)
}

// Name is the server's name.
func (p *Process) Name() string { return p.name }

// Generation tells this process from others of its name: it grows.
func (p *Process) Generation() uint64 { return p.gen }

// String is "name#generation".
func (p *Process) String() string { return fmt.Sprintf("%s#%d", p.name, p.gen) }

// Ref addresses the process's name, and so its successors too.
func (p *Process) Ref() Ref { return Ref{sys: p.sys, name: p.name} }

// Exited is closed once the process has ended.
func (p *Process) Exited() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exited == nil {
		p.exited = make(chan struct{})
		if p.concluded {
			close(p.exited)
		}
	}
	return p.exited
}

// Reason is why the process ended: [Normal], [Shutdown], [Killed] or an error;
// nil while it lives.
func (p *Process) Reason() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.phase != exited {
		return nil
	}
	return p.stop
}

// Signal delivers an info ahead of the mailbox, however full it is. It is for
// notices that must not be lost, such as those of a supervisor's children. It
// reports false once the process is ending.
func (p *Process) Signal(m InfoMessage) bool {
	it := &oneWay{msg: m, hdr: header{kind: KindInfo, op: p.host.def.op(m)}}
	p.sys.stamp(it)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.phase >= stopping {
		return false
	}
	p.signals = append(p.signals, it)
	p.wake()
	return true
}

// push queues a message, beyond the mailbox's bound where force is set.
func (p *Process) push(it item, force bool) error {
	p.sys.stamp(it)
	p.mu.Lock()
	if p.phase == idle {
		// Nothing waits, and nothing ran: the message is first.
		p.phase = busy
		p.take(it)
		p.mu.Unlock()
		go p.drain(it)
		return nil
	}
	defer p.mu.Unlock()
	if p.phase >= stopping || p.closing && !force {
		return errGone
	}
	if int(p.box.n) >= p.host.def.mailbox && !force {
		return &Error{Code: ErrOverloaded.Code, Server: p.name, Text: p.host.full, Undelivered: true}
	}
	p.box.push(it)
	return nil
}

// wake gives an idle process its turn; p.mu is held.
func (p *Process) wake() {
	if p.phase == idle {
		p.phase = busy
		go p.drain(nil)
	}
}

// settle waits until what is in the mailbox has been handled, and reports how
// many turns there were, and whether the process was idle already.
func (p *Process) settle(ctx context.Context) (turns uint64, wasIdle bool, err error) {
	p.mu.Lock()
	if p.phase == idle || p.phase >= stopping {
		defer p.mu.Unlock()
		return p.turns, true, nil
	}
	b := &barrier{done: make(chan struct{})}
	p.box.push(b)
	p.mu.Unlock()
	select {
	case <-b.done:
		return 0, false, nil
	case <-ctx.Done():
		return 0, false, ctx.Err()
	}
}

// take makes it the message whose turn it is; p.mu is held.
func (p *Process) take(it item) {
	p.turns++
	if p.more != nil {
		p.endIdle(it)
	}
	p.running, p.ticket = it, it.use()
	if p.host.def.watchdog != nil && p.phase == busy {
		p.watchTurn()
	}
	if p.ctx == nil || p.ctx.taken.Load() {
		p.ctx = &Context{p: p}
	}
	p.ctx.reset(it.header())
}

// callerLeft cancels the handler of a caller that has given up.
func (p *Process) callerLeft(it item, cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == it {
		p.ctx.abort(cause)
	}
}

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

	p.discard(left, reason)
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
			r.queue = append(r.queue, p.more.paused.held)
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
func (p *Process) discard(left remains, reason error) {
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
	endMonitors(left.own)
	if left.endLife != nil {
		cause := reason
		if p.fenced.Load() {
			cause = ErrFenced
		}
		left.endLife(cause)
	}
}

func (s *System) discard(queue []item, why failure) {
	for _, it := range queue {
		if _, ok := it.(*oneWay); ok {
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

// unknownOp is the refusal of a message that no handler is there for.
func (p *Process) unknownOp(kind Kind, op string) *Error {
	p.sys.stats.unknownOps.Add(1)
	return undelivered(ErrUnknownOp, p.name, "%s has no handler for %s %q", p.host.def.name, kind, op)
}
