package genserver

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// waiter is one caller that waits for one answer. Three parties race for it:
// the server that answers, the runtime that fails it as the server dies, and
// the caller that gives up. One compare-and-set decides.
//
//	queued ──begin──> running ──claim──> settled   the answer or failure is being written, then done is sent
//	   │                 └─────────────> lost      the caller gave up on a running handler: outcome unknown
//	   └───────────────────────────────> withdrawn the caller gave up first: the handler never runs
//
// A caller that was answered by the handler owns the waiter again and may
// reuse it, under a new ticket. After any other end somebody may still hold
// it, and it's left to the garbage collector.
type waiter struct {
	state  atomic.Uint64 // ticket and phase
	ticket uint64        // written by the caller alone, before it's sent
	done   chan struct{} // holds one; sent by whoever ends the wait but for the caller
	limit  limit
	err    error
	// reusable is set by an answering server, which does not touch the waiter again.
	reusable bool
}

const (
	waiterQueued uint64 = iota
	waiterRunning
	waiterSettled
	waiterLost
	waiterWithdrawn

	waiterPhases = 8 // a ticket is a multiple of it
)

// arm readies a waiter, new or used, for one call.
func (w *waiter) arm() {
	if w.done == nil {
		w.done = make(chan struct{}, 1)
	}
	w.ticket += waiterPhases
	w.state.Store(w.ticket + waiterQueued)
	w.reusable = false
}

func (w *waiter) use() uint64 { return w.ticket }

func (w *waiter) move(ticket, from, to uint64) bool {
	return w.state.CompareAndSwap(ticket|from, ticket|to)
}

// begin is called by the server as the handler is about to run; false means
// that nobody waits any more and it must not.
func (w *waiter) begin() bool { return w.move(w.ticket, waiterQueued, waiterRunning) }

// claim wins the right to write the answer, which is followed by wake.
func (w *waiter) claim() bool {
	return w.move(w.ticket, waiterRunning, waiterSettled) || w.move(w.ticket, waiterQueued, waiterSettled)
}

func (w *waiter) wake() { w.done <- struct{}{} }

// fail ends the wait under this ticket with an error; the handler's answer is
// refused from then on.
func (w *waiter) fail(ticket uint64, why failure) {
	queued := w.move(ticket, waiterQueued, waiterSettled)
	if queued || w.move(ticket, waiterRunning, waiterSettled) {
		w.err = why(queued)
		w.wake()
	}
}

// abandon is the caller's giving up. It reports false where an answer is
// already being written.
func (w *waiter) abandon() bool {
	return w.move(w.ticket, waiterQueued, waiterWithdrawn) || w.move(w.ticket, waiterRunning, waiterLost)
}

// expire gives up in the caller's place, and wakes it, if its time is over, and
// tells how much is left, zero where nobody waits for it.
func (w *waiter) expire() (left time.Duration) {
	for {
		state, until := w.state.Load(), w.limit.until.Load()
		if until == 0 || state%waiterPhases >= waiterSettled {
			return 0
		}
		if left := time.Duration(until) - now(); left > 0 {
			return left
		}
		ticket := state - state%waiterPhases
		if w.move(ticket, waiterQueued, waiterWithdrawn) || w.move(ticket, waiterRunning, waiterLost) {
			w.wake()
			return 0
		}
	}
}

// await blocks until the answer is there, the timeout has passed (zero or
// less: none) or ctx ends. Its error is the timeout's; the answer's is w.err.
func (w *waiter) await(ctx context.Context, timeout time.Duration) *Error {
	if timeout > 0 {
		w.limitTo(timeout)
	}
	if done := ctx.Done(); done == nil {
		<-w.done
	} else {
		select {
		case <-w.done:
		case <-done:
			if !w.abandon() {
				<-w.done
			}
		}
	}
	w.limit.until.Store(0)
	switch w.state.Load() % waiterPhases {
	case waiterWithdrawn:
		return timeoutError(ctx, true)
	case waiterLost:
		return timeoutError(ctx, false)
	default:
		return nil
	}
}

// limit is until when a waiter waits. Setting a timer and stopping it costs a
// sixth of a call, so the timer is left to run when a wait ends: when it rings,
// it is set anew for the wait that is under way then.
type limit struct {
	until atomic.Int64 // when the wait is over, by now; zero for never, and while there is none
	rings atomic.Int64 // when the timer rings, by now; zero while it is not set
	mu    sync.Mutex   // held to set the timer
	timer *time.Timer
}

// furthest is how far ahead a limit's timer is set, so that it keeps a waiter
// that is not used any more for no longer.
const furthest = DefaultTimeout

// limitTo begins a wait that ends after the timeout.
func (w *waiter) limitTo(timeout time.Duration) {
	l := &w.limit
	until := int64(now() + timeout)
	l.until.Store(until)
	if rings := l.rings.Load(); rings != 0 && rings <= until {
		return // in time, and it looks at until when it does
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer == nil {
		const never = 1<<63 - 1 // it's set below, and so has been written before it rings
		l.timer = time.AfterFunc(never, w.rang)
	}
	l.set(timeout)
}

// rang is called by the limit's timer.
func (w *waiter) rang() {
	l := &w.limit
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rings.Store(0) // a wait that begins from now on sets it itself
	if left := w.expire(); left > 0 {
		l.set(left)
	}
}

// set sets the timer; l.mu is held.
func (l *limit) set(d time.Duration) {
	d = min(d, furthest)
	l.rings.Store(int64(now() + d))
	l.timer.Reset(d)
}

// drop stops the timer of a waiter that is not used again. It's the caller's to call.
func (l *limit) drop() {
	if l.timer != nil {
		l.timer.Stop()
	}
}

// epoch is the zero of now.
var epoch = time.Now()

// now reads the monotonic clock, and nothing else.
func now() time.Duration { return time.Since(epoch) }

func timeoutError(ctx context.Context, undelivered bool) *Error {
	e := &Error{Code: ErrTimeout.Code, Undelivered: undelivered, cause: ctx.Err()}
	if e.cause != nil {
		e.Text = e.cause.Error()
	}
	return e
}
