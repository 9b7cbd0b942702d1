package genserver

import (
	"context"
	"time"
)

// more is what few processes have, and an idle one's size should not show. The
// process's lock guards it.
type more struct {
	continues []item // asked for by the handler, and next
	idle      idleTimeout
	dog       dog
	monitors  monitors
	paused    paused
	blocked   []*blocked // senders, in the order they came
	crash     *ending    // that the process is ending with
	crashedIn Cause      // the span of the handler that failed

	// What Detach gives derives from life.
	life    context.Context
	endLife context.CancelCauseFunc
}

// extra makes the process's more when first needed; p.mu is held.
func (p *Process) extra() *more {
	if p.more == nil {
		p.more = &more{}
	}
	return p.more
}

// Continue has HandleInfo called with m right after this handler, or init,
// ahead of everything that waits; what is asked for more than once comes in that
// order. It splits long work, above all an init that others wait for. A stop
// of the server comes first.
func (c *Context) Continue(m InfoMessage) {
	p := c.p
	it := &oneWay{msg: m, hdr: header{kind: KindInfo, op: p.host.def.op(m), local: p, span: c.spanContext()}}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.phase < stopping {
		p.extra().continues = append(p.extra().continues, it)
		p.urgent.Store(true)
	}
}

// idleTimeout is what IdleTimeout asked for.
type idleTimeout struct {
	timer *Timer // nil for none
	after time.Duration
	set   bool // the server is idle, and the timer runs
}

// IdleTimeout has HandleInfo called with m when the server has had nothing to
// handle for d after this handler, or init. Whatever is handled meanwhile ends
// it, a timer's message or a Continue too, so a handler that wants it kept asks
// again. A d of zero or less is over as soon as nothing waits. It is called by
// the handler, not by a goroutine; the last one counts.
func (c *Context) IdleTimeout(d time.Duration, m InfoMessage) {
	t := c.newTimer(m)
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	if c.p.phase < stopping {
		c.p.extra().idle = idleTimeout{timer: t, after: d}
		c.p.urgent.Store(true) // as the next message ends it
	}
}

// awaitIdle starts the clock of an idle timeout, since nothing waits; p.mu is held.
func (p *Process) awaitIdle() {
	if p.more == nil || p.more.idle.timer == nil || p.more.idle.set {
		return
	}
	p.more.idle.set = true
	p.setTimer(p.more.idle.timer, p.more.idle.after)
}

// endIdle ends an idle timeout, since there is something to handle; p.mu is held.
func (p *Process) endIdle(it item) {
	t := p.more.idle.timer
	if t == nil {
		return
	}
	if _, ours := it.(*barrier); ours {
		return
	}
	if p.more.idle.set && it != t {
		t.cancel()
	}
	p.more.idle = idleTimeout{}
}

// Detach is a context for work that outlives the handler, such as a goroutine's.
// Messages sent with it are the server's as before, and their spans are
// children of the handler's. It is not cancelled when the handler returns or its
// caller gives up, but when this generation of the server ends, just before
// terminate, so that terminate can wait for the work. Once the generation has
// ended, what is sent with it is refused with ErrFenced.
//
// A call made with it keeps nobody but itself waiting, so it may well be to the
// server itself.
func (c *Context) Detach() context.Context {
	p := c.p
	d := &Context{p: p, msg: c.msg, detached: true}
	d.msg.span, d.msg.timer, d.msg.chain = c.spanContext(), false, nil
	d.msg.deadline = time.Time{}
	d.taken.Store(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.extra()
	if m.life == nil {
		m.life, m.endLife = context.WithCancelCause(context.Background())
		if p.phase >= stopping {
			m.endLife(ErrFenced)
		}
	}
	d.std = d.withSpan(m.life)
	return d
}

// refusal is why nothing may be sent from a handler, or with what it has
// detached; nil where it may. There may be no handler.
func (c *Context) refusal(to Ref) *Error {
	switch {
	case c == nil:
		return nil
	case c.p.fenced.Load():
		return undelivered(ErrFenced, to.String(), "%s was killed", c.p)
	case c.p.shutTo(c.leaves(to)):
		return undelivered(ErrUnavailable, to.String(), "node %s can't prove now that it owns %s, which may send nothing meanwhile", c.p.sys.node, c.p.name)
	case c.detached && c.p.Reason() != nil:
		return undelivered(ErrFenced, to.String(), "%s has ended", c.p)
	default:
		return nil
	}
}

// leaves reports whether what is sent to a server goes to another node.
func (c *Context) leaves(to Ref) bool {
	if to.node != "" && to.node != c.p.sys.node {
		return true
	}
	return c.p.sys.procs.get(to.name) == nil
}
