package genserver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// Context is what a handler knows of its server and its message, and a
// context.Context. Messages sent with it carry the server's name and span.
//
// It is valid until the handler returns; then it, and whatever was derived
// from it, is cancelled, and it may come back as the context of another
// message. A goroutine that outlives the handler must not keep it: see
// [Context.Detach].
//
// It ends earlier when its call's caller gives up, and when its server is
// killed: the cause is then ErrFenced, and everything sent with it is refused.
type Context struct {
	p    *Process
	msg  header
	span trace.Span // this handler's, nil where nobody traces
	stop error      // what Stop was given

	began    int64 // by the metrics' clock; 0 where nobody measures, and until a handler runs
	detached bool  // from its handler; see Detach

	// taken is set once the context may be held by others; it's then not reused.
	taken atomic.Bool
	over  atomic.Uint32

	mu     sync.Mutex
	std    context.Context // made when first asked for
	cancel context.CancelCauseFunc
	cause  error // of a cancellation that came before std
}

// How a context is over.
const (
	contextAborted uint32 = iota + 1 // while the handler runs
	contextEnded                     // with the handler
)

var _ context.Context = (*Context)(nil)

// contextKey finds the Context that a derived context came from.
type contextKey struct{}

// errEnded is the cause in a context whose handler has returned.
var errEnded = errors.New("the handler has returned")

// Self is the server's own Ref.
func (c *Context) Self() Ref { return c.p.Ref() }

// Ref is another server's, by name.
func (c *Context) Ref(name string) Ref { return c.p.sys.Ref(name) }

// From is the server that sent the message; its Name is "" where the message
// came from outside of any server.
func (c *Context) From() Ref {
	if c.msg.local != nil {
		return c.msg.local.Ref()
	}
	ref := Ref{sys: c.p.sys}
	if e := c.msg.remote; e != nil {
		ref.name, ref.node = e.From, e.FromNode
	}
	return ref
}

// Epoch is the fencing token of a cluster-wide name: it grows with every
// change of owner, so an outside system that remembers the highest it saw can
// refuse a superseded owner. Zero for a node-local name.
func (c *Context) Epoch() uint64 {
	if c.p.claim == nil {
		return 0
	}
	return c.p.claim.Epoch()
}

// System is the process table the server lives in.
func (c *Context) System() *System { return c.p.sys }

// Process is the generation of the server that handles the message.
func (c *Context) Process() *Process { return c.p }

// Stop ends the server once the handler has returned and its reply has been
// sent. The reason is as for the function [Stop].
func (c *Context) Stop(reason error) {
	if reason == nil {
		reason = Normal
	}
	c.stop = reason
}

// Deadline is the caller's, as far as it is known. The default timeout of a
// local call is not; it ends the context all the same.
func (c *Context) Deadline() (time.Time, bool) { return c.msg.deadline, !c.msg.deadline.IsZero() }

// Done is closed when the handler returns, the caller gives up or the server
// is killed.
func (c *Context) Done() <-chan struct{} { return c.context().Done() }

// Err is nil until Done is closed.
func (c *Context) Err() error { return c.context().Err() }

// Value finds the handler's span, and nothing of the caller's: contexts don't
// travel between servers.
func (c *Context) Value(key any) any {
	if _, ok := key.(contextKey); ok {
		c.taken.Store(true)
		return c
	}
	return c.context().Value(key)
}

// context is the standard context behind this one, made when first needed,
// since most handlers never look.
func (c *Context) context() context.Context {
	c.taken.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.std != nil {
		return c.std
	}
	std := c.withSpan(context.Background())
	std, cancel := context.WithCancelCause(std)
	if !c.msg.deadline.IsZero() {
		timed, stop := context.WithDeadline(std, c.msg.deadline)
		untimed := cancel
		std, cancel = timed, func(cause error) { untimed(cause); stop() }
	}
	c.std, c.cancel = std, cancel
	switch {
	case c.cause != nil:
		c.cancel(c.cause)
	case c.over.Load() == contextEnded:
		c.cancel(errEnded)
	}
	return c.std
}

// handlerError is what the caller gets of an error that the handler returned.
// A handler that gives up because its caller's time is over reports that, so
// that it makes no difference which of the two was quicker.
func (c *Context) handlerError(err error) *Error {
	if c.taken.Load() {
		if over := c.Err(); over != nil && errors.Is(err, over) {
			return &Error{Code: ErrTimeout.Code, Server: c.p.name, Text: over.Error(), cause: over}
		}
	}
	return handlerError(c.p.name, err)
}

func (c *Context) withSpan(ctx context.Context) context.Context {
	switch {
	case c.span != nil:
		return trace.ContextWithSpan(ctx, c.span)
	case c.msg.span != nil && !c.msg.timer:
		return trace.ContextWithSpanContext(ctx, *c.msg.span)
	default:
		return ctx
	}
}

// spanContext is what messages sent from the handler have as their parent.
func (c *Context) spanContext() *trace.SpanContext {
	if c.span != nil {
		span := c.span.SpanContext()
		return &span
	}
	if c.msg.timer {
		return nil // a timer's is no parent
	}
	return c.msg.span
}

// reset makes the context a message's. Whoever holds the process's lock calls
// it, and nobody else has the context then.
func (c *Context) reset(h *header) {
	c.msg = *h
	c.span, c.stop, c.cause, c.began = nil, nil, nil, 0
	if c.over.Load() != 0 { // it's not, behind a letter
		c.over.Store(0)
	}
}

// follow is reset for a letter behind a letter, by the one who handles them and
// without the process's lock. What others read of it has a lock of its own.
func (c *Context) follow(h *header) {
	if h.op != c.msg.op || h.kind != c.msg.kind {
		c.mu.Lock()
		c.msg.op, c.msg.kind = h.op, h.kind
		c.mu.Unlock()
	}
	c.msg.local, c.msg.remote, c.msg.span, c.msg.failed = h.local, h.remote, h.span, false
	c.span = nil
}

// String names what is being handled, as in `call "acquire"`.
func (c *Context) String() string {
	if c.msg.kind == 0 {
		return c.msg.op
	}
	if c.msg.op == "" {
		return c.msg.kind.String() // of a payload that nobody has looked into
	}
	return fmt.Sprintf("%s %q", c.msg.kind, c.msg.op)
}

// handling is String for those who are not the handler.
func (c *Context) handling() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.String()
}

// abort ends the context while its handler runs.
func (c *Context) abort(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.cause = cause
	}
	c.over.CompareAndSwap(0, contextAborted)
	if c.cancel != nil {
		c.cancel(cause)
	}
}

// end closes the context after its handler.
func (c *Context) end() {
	c.over.Store(contextEnded)
	if !c.taken.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		c.cancel(errEnded)
	}
}

// sender is who sends a message: the handler whose context was given, or nobody.
func sender(ctx context.Context) *Context {
	if c, ok := ctx.(*Context); ok {
		return c
	}
	c, _ := ctx.Value(contextKey{}).(*Context)
	return c
}
