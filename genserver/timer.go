package genserver

import (
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// Timer is a message to the server itself that waits for its time. Its methods
// may be called from anywhere.
type Timer struct {
	p     *Process
	msg   InfoMessage
	due   time.Time
	timer *time.Timer
	span  *trace.SpanContext // that set it
	state atomic.Uint32

	prev, next *Timer // the process's timers; guarded by its lock
}

const (
	timerWaiting uint32 = iota
	timerQueued         // due, and in the mailbox
	timerDone           // handled, cancelled or dead
)

// SendAfter has HandleInfo called with m after d, once, by the server's own
// clock, which is monotonic; a d of zero or less is due at once. It never
// blocks. The message waits in the mailbox for its turn like any other, but
// never finds it full. For a tick, call SendAfter again in the handler.
//
// The timer dies with this generation of the server, even when it's due
// already and waits in the mailbox.
func (c *Context) SendAfter(d time.Duration, m InfoMessage) *Timer {
	p := c.p
	t := &Timer{p: p, msg: m, due: time.Now().Add(d), span: c.spanContext()}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.phase >= stopping {
		t.state.Store(timerDone)
		return t
	}
	t.link()
	t.timer = time.AfterFunc(d, t.fire)
	return t
}

// Cancel keeps the timer from being handled, and reports whether it did: false
// means that it was handled, is being handled, or was dead already.
func (t *Timer) Cancel() bool {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	if t.state.Swap(timerDone) == timerDone {
		return false
	}
	t.timer.Stop()
	t.unlink()
	return t.p.phase < stopping
}

// Left is the time until the timer is due, zero once it is or is cancelled.
func (t *Timer) Left() time.Duration {
	if t.state.Load() != timerWaiting {
		return 0
	}
	return max(0, time.Until(t.due))
}

func (t *Timer) fire() {
	p := t.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.phase >= stopping || !t.state.CompareAndSwap(timerWaiting, timerQueued) {
		return
	}
	p.box.push(t)
	p.wake()
}

func (t *Timer) link() {
	t.next = t.p.timers
	if t.next != nil {
		t.next.prev = t
	}
	t.p.timers = t
}

func (t *Timer) unlink() {
	if t.prev != nil {
		t.prev.next = t.next
	} else if t.p.timers == t {
		t.p.timers = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	t.prev, t.next = nil, nil
}

func (t *Timer) header() *header {
	return &header{kind: KindInfo, timer: true, op: t.p.host.def.op(t.msg), local: t.p, span: t.span}
}

func (t *Timer) use() uint64 { return 0 }

func (t *Timer) run(p *Process, c *Context) error {
	p.mu.Lock()
	mine := t.state.CompareAndSwap(timerQueued, timerDone)
	if mine {
		t.unlink()
	}
	p.mu.Unlock()
	if !mine {
		return nil // cancelled
	}
	return handleOneWay(p, c, KindInfo, "", t.msg, nil)
}

func (t *Timer) discard(uint64, failure) { t.state.Store(timerDone) }
