package genserver

import (
	"container/heap"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// Timer is a message to the server itself that waits for its time. Its methods
// may be called from anywhere.
type Timer struct {
	p     *Process
	msg   InfoMessage
	op    string
	due   time.Time
	span  *trace.SpanContext // that set it
	key   any                // of SetTimer, nil for none
	state atomic.Uint32

	seq   uint64 // tells timers that are due at the same time
	index int    // in the heap
}

const (
	timerWaiting uint32 = iota
	timerQueued         // due, and in the mailbox
	timerDone           // handled, cancelled or dead
)

// SendAfter has HandleInfo called with m after d, once, by the server's own
// clock, which is monotonic; a d of zero or less is due at once. It never
// blocks. The message waits in the mailbox for its turn like any other, but
// never finds it full; timers arrive there in the order they are due. For a
// tick, call SendAfter again in the handler.
//
// The timer dies with this generation of the server, even when it's due
// already and waits in the mailbox.
func (c *Context) SendAfter(d time.Duration, m InfoMessage) *Timer {
	t := c.newTimer(m)
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	t.p.setTimer(t, d)
	return t
}

// SetTimer is SendAfter for a timer with a key, of which a server has one: it
// replaces the key's earlier timer, even one that is due already and waits in
// the mailbox. The key is compared as a map's is.
func (c *Context) SetTimer(key any, d time.Duration, m InfoMessage) *Timer {
	t := c.newTimer(m)
	t.key = key
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	t.p.cancelKey(key)
	if t.p.setTimer(t, d) {
		t.p.alarm.hang(t)
	}
	return t
}

// CancelTimer cancels the timer of a key, as [Timer.Cancel] does.
func (c *Context) CancelTimer(key any) bool {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	return c.p.cancelKey(key)
}

func (c *Context) newTimer(m InfoMessage) *Timer {
	return &Timer{p: c.p, msg: m, op: c.p.host.def.op(m), span: c.spanContext()}
}

// setTimer starts a timer, unless the process takes none any more; p.mu is held.
func (p *Process) setTimer(t *Timer, d time.Duration) bool {
	if p.phase >= stopping {
		t.state.Store(timerDone)
		return false
	}
	if p.alarm == nil {
		p.alarm = &alarm{}
	}
	t.due = time.Now().Add(max(d, 0))
	p.alarm.add(t)
	switch {
	case d <= 0:
		p.queueDue()
	case t.index == 0:
		p.alarm.set(d, p.rang)
	}
	return true
}

// cancelKey cancels the timer of a key; p.mu is held.
func (p *Process) cancelKey(key any) bool {
	if p.alarm == nil {
		return false
	}
	t := p.alarm.keyed[key]
	return t != nil && t.cancel()
}

// Cancel keeps the timer from being handled, and reports whether it did: false
// means that it was handled, is being handled, or was dead already.
func (t *Timer) Cancel() bool {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	return t.cancel()
}

// cancel is Cancel; the process's lock is held.
func (t *Timer) cancel() bool {
	was := t.state.Swap(timerDone)
	if was == timerDone || t.p.phase >= stopping {
		return false
	}
	if was == timerWaiting {
		t.p.alarm.remove(t)
	}
	t.p.alarm.unhang(t)
	return true
}

// Left is the time until the timer is due, zero once it is or is cancelled.
func (t *Timer) Left() time.Duration {
	if t.state.Load() != timerWaiting {
		return 0
	}
	return max(0, time.Until(t.due))
}

func (t *Timer) header() *header {
	h := &header{kind: KindInfo, timer: true, op: t.op, local: t.p, span: t.span}
	if m := t.p.sys.metrics; m != nil {
		h.arrived = m.at(t.due)
	}
	return h
}

func (t *Timer) message() Message { return t.msg }

func (t *Timer) use() uint64 { return 0 }

func (t *Timer) run(p *Process, c *Context) error {
	if !t.state.CompareAndSwap(timerQueued, timerDone) {
		return nil // cancelled
	}
	if t.key != nil {
		p.mu.Lock()
		if p.alarm != nil {
			p.alarm.unhang(t)
		}
		p.mu.Unlock()
	}
	return handleOneWay(p, c, KindInfo, "", t.msg, nil)
}

func (t *Timer) discard(uint64, failure) { t.state.Store(timerDone) }

// rang is called by the alarm's clock.
func (p *Process) rang() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.phase < stopping && p.alarm != nil {
		p.queueDue()
	}
}

// queueDue moves what is due into the mailbox; p.mu is held.
func (p *Process) queueDue() {
	a, now := p.alarm, time.Now()
	for a.Len() > 0 && !a.waiting[0].due.After(now) {
		t := heap.Pop(a).(*Timer)
		t.state.Store(timerQueued)
		p.box.pushItem(t)
		p.wake()
	}
	if a.Len() > 0 {
		a.set(a.waiting[0].due.Sub(now), p.rang)
	}
}

// alarm is a process's timers, a heap by time, with one clock for the earliest.
// The process's lock guards it.
type alarm struct {
	waiting []*Timer
	seq     uint64
	clock   *time.Timer
	keyed   map[any]*Timer // those of SetTimer, until they are handled
}

func (a *alarm) hang(t *Timer) {
	if a.keyed == nil {
		a.keyed = map[any]*Timer{}
	}
	a.keyed[t.key] = t
}

// unhang forgets the timer's key, unless another has it by now.
func (a *alarm) unhang(t *Timer) {
	if t.key != nil && a.keyed[t.key] == t {
		delete(a.keyed, t.key)
	}
}

func (a *alarm) set(d time.Duration, rang func()) {
	if a.clock == nil {
		a.clock = time.AfterFunc(d, rang)
		return
	}
	a.clock.Reset(d)
}

func (a *alarm) add(t *Timer) {
	a.seq++
	t.seq = a.seq
	heap.Push(a, t)
}

func (a *alarm) remove(t *Timer) {
	heap.Remove(a, t.index)
	if a.Len() == 0 && a.clock != nil {
		a.clock.Stop()
	}
}

// kill ends all timers.
func (a *alarm) kill() {
	if a.clock != nil {
		a.clock.Stop()
	}
	for _, t := range a.waiting {
		t.state.Store(timerDone)
	}
}

// The heap.Interface.

func (a *alarm) Len() int { return len(a.waiting) }

func (a *alarm) Less(i, j int) bool {
	x, y := a.waiting[i], a.waiting[j]
	if x.due.Equal(y.due) {
		return x.seq < y.seq
	}
	return x.due.Before(y.due)
}

func (a *alarm) Swap(i, j int) {
	w := a.waiting
	w[i], w[j] = w[j], w[i]
	w[i].index, w[j].index = i, j
}

func (a *alarm) Push(x any) {
	t := x.(*Timer)
	t.index = len(a.waiting)
	a.waiting = append(a.waiting, t)
}

func (a *alarm) Pop() any {
	last := len(a.waiting) - 1
	t := a.waiting[last]
	a.waiting[last] = nil
	a.waiting = a.waiting[:last]
	return t
}
