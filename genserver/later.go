package genserver

import "errors"

// Reply answers a call that its handler has put off; see [HandleCallLater]. It
// may be kept in the server's state, copied, and used from any goroutine, while
// the server handles other messages. The first of all its Sends and Fails
// counts; a further one, or one after the caller has given up or the server
// has ended, does nothing but count in [Stats].LateReplies.
type Reply[Rep any] struct {
	call   *pending
	settle func(ticket uint64, rep Rep, err error) bool
}

// Send answers the call.
func (r Reply[Rep]) Send(rep Rep) { r.answer(rep, nil) }

// Fail answers the call with an error, as if its handler had returned it.
func (r Reply[Rep]) Fail(err error) {
	var none Rep
	r.answer(none, handlerError(r.call.p.name, err))
}

func (r Reply[Rep]) answer(rep Rep, err error) {
	r.call.unlink()
	if r.call.p.shutTo(r.call.remote()) {
		var none Rep
		rep, err = none, r.call.p.withheld()
	}
	if !r.settle(r.call.ticket, rep, err) {
		r.call.p.sys.stats.lateReplies.Add(1)
	}
}

// errLater is an erased handler's word that the answer comes by its Reply.
var errLater = errors.New("the answer comes later")

// pending is a call that is to be answered later. The process keeps it, so that
// its caller is told at once should the process end first.
type pending struct {
	p      *Process
	call   item
	ticket uint64

	prev, next *pending // guarded by the process's lock
	linked     bool
}

// remote reports whether the caller is on another node, or none.
func (l *pending) remote() bool {
	in, ok := l.call.(*inboundCall)
	return ok && in.waiter == nil
}

// pend notes that a call of the turn under way is to be answered later.
func (p *Process) pend(call item, ticket uint64) *pending {
	l := &pending{p: p, call: call, ticket: ticket, linked: true}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.phase == exited {
		l.linked = false
		return l // its caller has been told
	}
	l.next = p.pending
	if l.next != nil {
		l.next.prev = l
	}
	p.pending = l
	return l
}

func (l *pending) unlink() {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if !l.linked {
		return
	}
	l.linked = false
	if l.prev != nil {
		l.prev.next = l.next
	} else {
		l.p.pending = l.next
	}
	if l.next != nil {
		l.next.prev = l.prev
	}
	l.prev, l.next = nil, nil
}

// runLater runs the handler of a call that it may answer later. Where the
// handler returns an error, that is the answer, unless there was one.
func runLater[Rep any](c *Context, r Reply[Rep], fn func(Reply[Rep]) error) error {
	err := fn(r)
	if err == nil {
		return nil
	}
	if asStop(err) != nil {
		return err
	}
	failed := c.handlerError(err)
	c.fail(failed)
	var none Rep
	r.answer(none, failed)
	return nil
}
