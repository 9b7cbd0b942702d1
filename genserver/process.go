package genserver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
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
	box   mailbox // guarded by mu, but for its inbox
	gen   uint64
	born  int64 // when, in Unix nanoseconds
	claim Claim // of a cluster-wide name
	watch Watcher

	// fenced is set by Kill: what the generation does from then on is refused.
	fenced atomic.Bool
	// urgent is set where something comes ahead of the mailbox, so that no more
	// letters are claimed until it has been looked for.
	urgent atomic.Bool

	// Guarded by mu; they are here because it keeps the struct small.
	phase     phase
	notice    notice
	concluded bool // exited, and reported
	begun     bool // to start
	wide      bool // of a cluster-wide name; set before the start
	keeps     bool // Keep; likewise
	closing   bool // handles what is in its mailbox, and ends
	undead    undead

	// state is touched by whoever has the turn only: init, a handler, terminate.
	state any

	mu      sync.Mutex
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
	p.urgent.Store(true)
	p.wake()
	return true
}

// push queues a message, beyond the mailbox's bound where force is set.
func (p *Process) push(it item, force bool) error {
	p.sys.stamp(it)
	return p.pushSlot(&slot{what: it}, force)
}

// pushSlot is push for a message that may be a letter.
func (p *Process) pushSlot(s *slot, force bool) error {
	if p.box.offer(s, p.host.def.mailbox) {
		return nil
	}
	p.mu.Lock()
	if p.phase == idle {
		// Nothing waits, and nothing ran: the message is first.
		p.phase = busy
		p.take(s)
		p.mu.Unlock()
		go p.drain(*s)
		return nil
	}
	defer p.mu.Unlock()
	if p.phase >= stopping || p.closing && !force {
		return errGone
	}
	if p.box.waiting() >= p.host.def.mailbox && !force {
		return &Error{Code: ErrOverloaded.Code, Server: p.name, Text: p.host.full, Undelivered: true}
	}
	p.box.push(s)
	return nil
}

// wake gives an idle process its turn; p.mu is held.
func (p *Process) wake() {
	if p.phase == idle {
		p.phase = busy
		go p.drain(slot{})
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
	p.box.pushItem(b)
	p.mu.Unlock()
	select {
	case <-b.done:
		return 0, false, nil
	case <-ctx.Done():
		return 0, false, ctx.Err()
	}
}

// take makes it the message whose turn it is; p.mu is held.
func (p *Process) take(s *slot) {
	p.turns++
	it := s.item()
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
	if s.handler == nil {
		p.ctx.reset(it.header())
		return
	}
	h := s.header(p.host.def)
	p.ctx.reset(&h)
	if p.claim == nil && p.host.def.watchdog == nil {
		p.box.batch()
	}
}

// callerLeft cancels the handler of a caller that has given up.
func (p *Process) callerLeft(it item, cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == it {
		p.ctx.abort(cause)
	}
}

// unknownOp is the refusal of a message that no handler is there for.
func (p *Process) unknownOp(kind Kind, op string) *Error {
	p.sys.stats.unknownOps.Add(1)
	return undelivered(ErrUnknownOp, p.name, "%s", p.host.def.unhandled(kind, op))
}

// unhandled says that there is no handler, and what there is one for.
func (d *definition) unhandled(kind Kind, op string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s has no handler for %s %q", d.name, kind, op)
	if op == "" {
		fmt.Fprintf(&b, ", which a payload says under %q", d.tag)
	}
	for of, ops := range map[Kind][]string{KindCall: named(d.calls), KindCast: named(d.casts)} {
		if slices.Contains(ops, op) {
			fmt.Fprintf(&b, ", it is a %s", of)
			return b.String()
		}
	}
	var ops []string
	switch kind {
	case KindCall:
		ops = named(d.calls)
	case KindCast:
		ops = named(d.casts)
	}
	const most = 12
	switch n := len(ops); {
	case n > most:
		fmt.Fprintf(&b, "; it has %s and %d more", strings.Join(ops[:most], ", "), n-most)
	case n > 0:
		fmt.Fprintf(&b, "; it has %s", strings.Join(ops, ", "))
	}
	return b.String()
}

// named are the ops that there are handlers for, the fallback apart.
func named[E any](handlers map[string]E) []string {
	ops := slices.Sorted(maps.Keys(handlers))
	return slices.DeleteFunc(ops, func(op string) bool { return op == "" })
}
