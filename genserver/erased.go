package genserver

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// callErased is Call by way of bytes or of any: to a handler of other Go types
// than the caller's, to a name between two lives, to another node.
func callErased(ctx context.Context, from *Context, to Ref, m Message, o options) (any, error) {
	if (to.node == "" || to.node == to.sys.node) && to.sys.knows(to.name) {
		began := time.Now()
		w := &erasedWaiter{}
		w.arm()
		it := &inboundCall{
			hdr:    headerOf(ctx, from, KindCall, ""),
			body:   valueBody{to.sys.codec, m},
			msg:    m,
			reply:  w,
			waiter: &w.waiter,
		}
		switch err := to.sys.push(to.name, it, o.noWait); {
		case err == nil:
			err := w.await(ctx, o.timeout)
			w.limit.drop()
			if err != nil {
				if p := to.sys.procs.get(to.name); p != nil {
					p.callerLeft(it, err)
				}
				return nil, err.about(to.name)
			}
			if to.sys.router != nil && elsewhere(w.err) {
				return callErased(ctx, from, to, m, o.since(began))
			}
			return w.rep, w.err
		case err != errGone: //nolint:errorlint // it's never wrapped
			return nil, err
		}
	}
	if to.node == to.sys.node && to.node != "" || to.node == "" && to.sys.router == nil {
		return nil, undelivered(ErrNoProcess, to.String(), "")
	}
	return to.sys.request(ctx, from, to, m, o, nil)
}

// request sends a call to another node; sent is as in [Outgoing], and may be nil.
func (s *System) request(ctx context.Context, from *Context, to Ref, m Message, o options, sent func()) (any, error) {
	if s.router == nil {
		return nil, undelivered(ErrNoProcess, to.String(), "this process has no other nodes")
	}
	out := outgoing(ctx, from, to, KindCall, m)
	defer out.recycle()
	out.Deadline, _ = ctx.Deadline()
	out.Sent = sent
	if o.timeout > 0 {
		if own := time.Now().Add(o.timeout); out.Deadline.IsZero() || own.Before(out.Deadline) {
			out.Deadline = own
		}
	}
	body, err := s.router.Request(ctx, out)
	if err != nil {
		return nil, err
	}
	return body, nil
}

var outgoings = sync.Pool{New: func() any { return new(Outgoing) }}

// outgoing is to be recycled once the Router has returned.
func outgoing(ctx context.Context, from *Context, to Ref, kind Kind, m Message) *Outgoing {
	out := outgoings.Get().(*Outgoing)
	out.To, out.Kind, out.FromNode, out.Node, out.Message = to.name, kind, to.sys.node, to.node, m
	if _, ok := m.(Map); !ok {
		out.Op = m.Op() // of a Map, only the receiver knows its tag
	}
	var h header
	h.fill(ctx, from, kind, out.Op)
	if h.local != nil {
		out.From = h.local.name
		if c := h.local.claim; c != nil {
			out.FromEpoch = c.Epoch()
		}
		out.Chain = h.chain.names()
	}
	if h.span != nil {
		out.Span = *h.span
	}
	return out
}

func (out *Outgoing) recycle() {
	*out = Outgoing{}
	outgoings.Put(out)
}

// replyAs turns an erased reply into the caller's type.
func replyAs[Rep any](to Ref, reply any) (Rep, error) {
	if rep, ok := reply.(Rep); ok {
		return rep, nil
	}
	body, ok := reply.(Body)
	if !ok {
		body = valueBody{to.sys.codec, reply}
	}
	var rep Rep
	if err := body.Decode(&rep); err != nil {
		return rep, &Error{Code: ErrBadPayload.Code, Server: to.String(), Text: "reply: " + err.Error()}
	}
	return rep, nil
}

// erasedWaiter is the caller of an inboundCall in this System.
type erasedWaiter struct {
	waiter
	rep any
}

// Reply takes the answer of a handler that has begun.
func (w *erasedWaiter) Reply(v any, err error) { w.answer(v, err) }

func (w *erasedWaiter) answer(v any, err error) bool {
	if !w.claim() {
		return false
	}
	w.rep, w.err = v, err
	w.wake()
	return true
}

// inboundCall is a call whose payload the handler's own type is decoded from.
type inboundCall struct {
	hdr    header
	body   Body
	msg    Message // in place of body's bytes, where it came from here
	reply  Replier
	waiter *waiter // of a caller here, who may give up
	state  atomic.Uint32
}

const (
	inboundQueued uint32 = iota
	inboundRunning
	inboundSettled
)

func (it *inboundCall) header() *header  { return &it.hdr }
func (it *inboundCall) message() Message { return it.msg }
func (it *inboundCall) use() uint64      { return 0 }

func (it *inboundCall) begin() bool {
	if it.waiter != nil && !it.waiter.begin() {
		return false
	}
	return it.state.CompareAndSwap(inboundQueued, inboundRunning)
}

func (it *inboundCall) run(p *Process, c *Context) error {
	if it.waiter == nil && it.hdr.expired() {
		// A caller here has a clock of its own.
		p.sys.stats.expired.Add(1)
		it.discard(0, func(bool) error { return undelivered(ErrTimeout, p.name, "its deadline passed in the mailbox") })
		return nil
	}
	remote := it.waiter == nil
	if remote && p.keeps && p.claimShut() {
		it.discard(0, func(bool) error { return p.kept() })
		return nil
	}
	if !it.begin() {
		p.sys.stats.expired.Add(1)
		return nil
	}
	c.trace()
	rep, err := it.answer(p, c)
	if err != nil {
		if asStop(err) != nil {
			return err
		}
		if err == errLater { //nolint:errorlint // it's never wrapped
			return nil
		}
		c.fail(err)
	}
	if p.shutTo(remote) {
		rep, err = nil, p.withheld()
	}
	if !it.settle(rep, err) {
		p.sys.stats.lateReplies.Add(1)
	}
	return nil
}

// settle answers a call that has begun; false means that it was answered, or
// failed, before, or that its caller has left.
func (it *inboundCall) settle(rep any, err error) bool {
	if !it.state.CompareAndSwap(inboundRunning, inboundSettled) {
		return false
	}
	if w, ok := it.reply.(*erasedWaiter); ok {
		return w.answer(rep, err)
	}
	it.reply.Reply(rep, err)
	return true
}

// answer finds the handler and runs it. Its error is the caller's, or a Stop.
func (it *inboundCall) answer(p *Process, c *Context) (any, error) {
	op, err := it.op(p.host.def)
	if err != nil {
		return nil, undelivered(ErrBadPayload, p.name, "%v", err)
	}
	c.rename(op)
	handler, known := lookup(p.host.calls, op)
	if !known {
		return nil, p.unknownOp(KindCall, op)
	}
	rep, err := handler.answer(p, c, op, it)
	if err == nil || err == errLater || asStop(err) != nil { //nolint:errorlint // errLater is never wrapped
		return rep, err
	}
	var bad *payloadError
	if errors.As(err, &bad) {
		return nil, undelivered(ErrBadPayload, p.name, "%v", bad.err)
	}
	return nil, c.handlerError(err)
}

// op is the message's op, from the frame, the Go value or the payload's tag.
func (it *inboundCall) op(d *definition) (string, error) {
	if it.msg != nil {
		return d.op(it.msg), nil
	}
	return opOfBody(d, it.hdr.op, it.body)
}

func opOfBody(d *definition, op string, b Body) (string, error) {
	if op != "" {
		return op, nil
	}
	var m Map
	if err := b.Decode(&m); err != nil {
		return "", err
	}
	return m.op(d.tag), nil
}

func (it *inboundCall) discard(_ uint64, why failure) {
	queued := it.state.CompareAndSwap(inboundQueued, inboundSettled)
	if queued || it.state.CompareAndSwap(inboundRunning, inboundSettled) {
		it.reply.Reply(nil, why(queued))
	}
}
