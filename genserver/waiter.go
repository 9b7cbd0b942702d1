package genserver

import (
	"context"
	"sync/atomic"
	"time"
)

// DefaultTimeout is how long a call waits unless its context ends earlier or
// [WithTimeout] says otherwise.
const DefaultTimeout = 5 * time.Second

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
	timer  *time.Timer
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

// expire is the timer's: it gives up in the caller's place and wakes it.
func (w *waiter) expire() {
	if w.abandon() {
		w.wake()
	}
}

// await blocks until the answer is there, the timeout has passed (zero or
// less: none) or ctx ends. Its error is the timeout's; the answer's is w.err.
func (w *waiter) await(ctx context.Context, timeout time.Duration) *Error {
	if timeout > 0 {
		if w.timer == nil {
			w.timer = time.AfterFunc(timeout, w.expire)
		} else {
			w.timer.Reset(timeout)
		}
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
	if timeout > 0 && !w.timer.Stop() {
		w.reusable = false // its expire may yet run
	}
	switch w.state.Load() % waiterPhases {
	case waiterWithdrawn:
		return timeoutError(ctx, true)
	case waiterLost:
		return timeoutError(ctx, false)
	default:
		return nil
	}
}

func timeoutError(ctx context.Context, undelivered bool) *Error {
	e := &Error{Code: ErrTimeout.Code, Undelivered: undelivered, cause: ctx.Err()}
	if e.cause != nil {
		e.Text = e.cause.Error()
	}
	return e
}
