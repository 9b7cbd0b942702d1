package genserver

import "context"

// DrainAll has a server that is told to stop handle all that waits in its mailbox
// first; without it, the message in hand is the last one. Either way what comes
// later, or is left, is refused, undelivered, so that callers may send it again;
// to a cluster-wide name it waits for the next life, unless the name is released.
//
// What was put off, by timers or by HandleCallLater, is not waited for. A stop
// without DrainAll, and a crash, come before what is left. A server that is still
// in its init is stopped there.
func DrainAll() Option {
	return func(o options) options {
		o.drainAll = true
		return o
	}
}

// Stop asks the process to end with a reason, ahead of its mailbox unless
// [DrainAll] is given: after the handler that runs now, terminate runs, and
// queued callers get ErrExit. An init that runs now has its context cancelled.
// Stop waits for the end until ctx ends; nil says that the process has ended, for
// whatever reason, and [ErrTimeout] that it has not yet. A handler that does not
// return keeps Stop waiting: see [Process.Kill].
func (p *Process) Stop(ctx context.Context, reason error, opts ...Option) error {
	p.RequestStop(reason, opts...)
	select {
	case <-p.Exited():
		return nil
	case <-ctx.Done():
		return timeoutError(ctx, false).about(p.name)
	}
}

// RequestStop is Stop without the wait.
func (p *Process) RequestStop(reason error, opts ...Option) {
	if reason == nil {
		reason = Normal
	}
	o := optionsOf(opts)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop != nil || p.phase >= stopping {
		return
	}
	if o.drainAll && p.phase == busy {
		if !p.closing {
			p.closing = true
			p.box.seal()
			p.box.pushItem(&lastItem{reason})
		}
		return
	}
	p.stop = reason
	p.urgent.Store(true)
	switch p.phase {
	case starting:
		p.ctx.abort(reason)
	case idle:
		p.phase = busy
		go p.drain(slot{})
	case busy:
		p.unpause()
	}
}

// lastItem ends the server behind all that was in its mailbox.
type lastItem struct{ reason error }

func (*lastItem) header() *header                 { return &header{op: "drain"} }
func (*lastItem) message() Message                { return nil }
func (*lastItem) use() uint64                     { return 0 }
func (it *lastItem) run(*Process, *Context) error { return Stop(it.reason) }
func (*lastItem) discard(uint64, failure)         {}

// Stop ends the server that has the name, and waits for its end until ctx ends,
// for five seconds on another node if it has no deadline: see [Process.Stop]. The
// error is ErrNoProcess where there is none, or [ErrTimeout] as ctx has ended: the
// server still ends, once its handler has returned.
//
// Like all stops but a supervisor's own it's an end by itself: a permanent child
// is started again.
func (r Ref) Stop(ctx context.Context, reason error, opts ...Option) error {
	p, err := r.local()
	if err != nil {
		return err
	}
	if p != nil {
		return p.Stop(ctx, reason, opts...)
	}
	if r.isHere() {
		return undelivered(ErrNoProcess, r.String(), "")
	}
	if err := sender(ctx).refusal(r); err != nil {
		return err
	}
	if reason == nil {
		reason = Normal
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DefaultTimeout)
		defer cancel()
	}
	return r.sys.router.Stop(ctx, r.name, r.node, reasonError(reason), optionsOf(opts).drainAll)
}
