package genserver

import (
	"context"
	"sync"
	"time"
)

// Future is the answer to a call of [CallAsync]. Its methods may be called from
// anywhere, and in any order.
type Future[Rep any] struct{ call *asyncCall }

// CallAsync is [Call] without the wait: many calls can be in flight, and
// awaited in any order. A call to a server of this System costs no goroutine.
//
// It returns when the call has left, as [Ref.Cast] does: what its sender sends
// afterwards is handled afterwards, and a name that this node has to look up is
// looked up first.
//
// Its time begins now, and it ends with ctx: in a handler, use
// [Context.Detach] for a call that outlives it. What Call refuses, it refuses,
// by its Future: a server can't await itself.
func CallAsync[Req CallMessage[Rep], Rep any](ctx context.Context, to Ref, r Req, opts ...Option) *Future[Rep] {
	call, left := begin[Req, Rep](ctx, to, r, opts)
	if left != nil {
		<-left
	}
	return call
}

// begin is CallAsync without the wait until the call has left, or has ended; nil
// for one that has.
func begin[Req CallMessage[Rep], Rep any](ctx context.Context, to Ref, r Req, opts []Option) (call *Future[Rep], left <-chan struct{}) {
	c := &asyncCall{to: to, ctx: ctx, msg: r, opts: optionsOf(opts), began: time.Now(), done: make(chan struct{})}
	left, err := c.send()
	if err != nil {
		c.Reply(nil, err)
	}
	return &Future[Rep]{c}, left
}

// Done is closed when the answer, or an error, is there.
func (f *Future[Rep]) Done() <-chan struct{} { return f.call.done }

// Await waits for the answer, and gives it, or the error that Call would have
// given, every time. When ctx ends first, it returns ErrTimeout, and the call
// goes on.
func (f *Future[Rep]) Await(ctx context.Context) (Rep, error) {
	var none Rep
	c := f.call
	select {
	case <-c.done:
	default:
		select {
		case <-c.done:
		case <-ctx.Done():
			return none, timeoutError(ctx, false).about(c.to.String())
		}
	}
	if c.err != nil {
		return none, c.err
	}
	return replyAs[Rep](c.to, c.rep)
}

// Cancel gives the call up, as the end of its context does: unless it has been
// answered, Await returns ErrTimeout, which is undelivered where its handler had
// not begun and never will.
func (f *Future[Rep]) Cancel() { f.call.giveUp() }

// asyncCall is a Future's call, its types erased.
type asyncCall struct {
	to    Ref
	ctx   context.Context
	msg   Message
	opts  options
	began time.Time
	done  chan struct{} // closed after rep and err are written

	rep any
	err error

	mu      sync.Mutex
	settled bool
	timer   *time.Timer        // of the timeout
	unhook  func() bool        // from ctx
	near    *inboundCall       // within this System
	cancel  context.CancelFunc // of a request to another node
}

func (c *asyncCall) send() (left <-chan struct{}, err error) {
	to, m, o := c.to, c.msg, c.opts
	if _, err := to.local(); err != nil {
		return nil, err
	}
	from := sender(c.ctx)
	if err := mayCall(c.ctx, from, to); err != nil {
		return nil, err
	}
	if to.node == "" || to.node == to.sys.node {
		it := &inboundCall{hdr: headerOf(c.ctx, from, KindCall, ""), body: valueBody{to.sys.codec, m}, msg: m, reply: c}
		c.watch(it, o.timeout)
		err := to.sys.push(to.name, it, o.noWait)
		switch {
		case err != errGone: //nolint:errorlint // it's never wrapped
			return nil, err
		case to.node != "" || to.sys.router == nil:
			return nil, undelivered(ErrNoProcess, to.String(), "")
		}
		c.unwatch()
	}
	return c.sendAway(from), nil
}

// sendAway sends the call to another node. What it returns is closed when the
// call has left, or has ended.
func (c *asyncCall) sendAway(from *Context) (left <-chan struct{}) {
	far, cancel := context.WithCancel(c.ctx)
	c.mu.Lock()
	c.near, c.cancel = nil, cancel
	c.mu.Unlock()
	gone := make(chan struct{})
	sent := sync.OnceFunc(func() { close(gone) })
	go func() { // which ends with the call's time, or Cancel
		defer cancel()
		defer sent()
		c.Reply(c.to.sys.request(far, from, c.to, c.msg, c.opts.since(c.began), sent))
	}()
	return gone
}

// redirect sends a call once more that was queued for a server that turned out
// not to own its name.
func (c *asyncCall) redirect(err error) bool {
	if !elsewhere(err) || c.to.sys.router == nil {
		return false
	}
	c.mu.Lock()
	again := c.near != nil && !c.settled
	c.mu.Unlock()
	if again {
		c.unwatch()
		c.sendAway(sender(c.ctx))
	}
	return again
}

// watch has a call within this System given up when its time is over.
func (c *asyncCall) watch(it *inboundCall, timeout time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.near = it
	if timeout > 0 {
		c.timer = time.AfterFunc(timeout, c.giveUp)
	}
	c.unhook = context.AfterFunc(c.ctx, c.giveUp)
}

func (c *asyncCall) unwatch() {
	c.mu.Lock()
	timer, unhook := c.timer, c.unhook
	c.timer, c.unhook = nil, nil
	c.mu.Unlock()
	if timer != nil {
		timer.Stop()
	}
	if unhook != nil {
		unhook()
	}
}

// giveUp ends the call: a handler that has not begun never does, and one that
// runs has its context cancelled.
func (c *asyncCall) giveUp() {
	c.mu.Lock()
	near, cancel := c.near, c.cancel
	c.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	if near == nil {
		return
	}
	var why *Error
	near.discard(0, func(queued bool) error {
		why = timeoutError(c.ctx, queued).about(c.to.name)
		return why
	})
	if why != nil && !why.Undelivered {
		if p := c.to.sys.procs.get(c.to.name); p != nil {
			p.callerLeft(near, why)
		}
	}
}

// Reply makes it a Replier. The first counts.
func (c *asyncCall) Reply(v any, err error) {
	if c.redirect(err) {
		return
	}
	c.mu.Lock()
	first := !c.settled
	c.settled = true
	c.mu.Unlock()
	if first {
		c.unwatch()
		c.rep, c.err = v, err
		close(c.done)
	}
}
