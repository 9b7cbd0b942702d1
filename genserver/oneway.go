package genserver

import (
	"context"
	"errors"
	"sync"
)

// oneWay is a cast or an info that is not a letter: of bytes, or of a Go value that
// was sent while nobody knew of which Type its server will be, or by the runtime.
type oneWay struct {
	hdr  header
	msg  Message
	body Body
}

var oneWays = sync.Pool{New: func() any { return new(oneWay) }}

func (r Ref) send(ctx context.Context, kind Kind, m Message, opts []Option) error {
	p, err := r.local()
	if err != nil {
		return err
	}
	from := sender(ctx)
	if err := from.refusal(r); err != nil {
		return err
	}
	if from == nil && r.sys.draining.Load() {
		return undelivered(ErrDraining, r.String(), "this node takes no new work")
	}
	o := optionsOf(opts)
	if p != nil {
		handler, known := p.host.handlerOf(kind, m)
		if !known {
			op := p.host.def.op(m)
			return r.dropped(kind, op, p.unknownOp(kind, op), o)
		}
		var s slot
		if span := spanIn(ctx); span == nil && r.sys.metrics == nil {
			s = letterOf(from, m, handler)
		} else {
			it := oneWays.Get().(*oneWay)
			it.hdr.fill(ctx, from, kind, p.host.def.op(m))
			it.msg = m
			r.sys.stamp(it)
			s.what = it
		}
		switch err := p.pushPatiently(ctx, from, &s); {
		case err == nil:
			return nil
		case err != errGone: //nolint:errorlint // it's never wrapped
			return r.dropped(kind, p.host.def.op(m), err, o)
		}
	}
	return r.sendAway(ctx, from, kind, m, o)
}

// sendAway sends to a name that has no process here: between two lives, or on
// another node.
func (r Ref) sendAway(ctx context.Context, from *Context, kind Kind, m Message, o options) error {
	if (r.node == "" || r.node == r.sys.node) && r.sys.knows(r.name) {
		it := &oneWay{hdr: headerOf(ctx, from, kind, ""), msg: m}
		if err := r.sys.push(r.name, it, o.noWait); err != errGone { //nolint:errorlint // it's never wrapped
			return r.dropped(kind, m.Op(), err, o)
		}
	}
	if r.sys.router == nil || r.node == r.sys.node && r.node != "" {
		return r.dropped(kind, m.Op(), undelivered(ErrNoProcess, r.String(), ""), o)
	}
	out := outgoing(ctx, from, r, kind, m)
	err := r.sys.router.Publish(ctx, out)
	out.recycle()
	if errors.Is(err, ErrNoProcess) || errors.Is(err, ErrOverloaded) {
		return r.dropped(kind, m.Op(), err, o)
	}
	return err
}

// dropped counts a message that came to nothing, and says so if asked to.
func (r Ref) dropped(kind Kind, op string, err error, o options) error {
	if err == nil {
		return nil
	}
	r.sys.drop(r.name, kind, op, err)
	if o.strict {
		return err
	}
	return nil
}

func (it *oneWay) recycle() {
	*it = oneWay{}
	oneWays.Put(it)
}

func (it *oneWay) header() *header         { return &it.hdr }
func (it *oneWay) message() Message        { return it.msg }
func (it *oneWay) use() uint64             { return 0 }
func (it *oneWay) discard(uint64, failure) {}

func (it *oneWay) run(p *Process, c *Context) error {
	if it.hdr.remote != nil && p.keeps && p.claimShut() {
		p.sys.drop(p.name, it.hdr.kind, it.hdr.op, p.kept())
		it.recycle()
		return nil
	}
	if err := handleOneWay(p, c, it.hdr.kind, it.hdr.op, it.msg, it.body); err != nil {
		return err // and it stays, for the report; so it does after a panic
	}
	it.recycle()
	return nil
}

// handleOneWay runs the handler of a cast or an info, given as a Go value or
// as bytes. Its error is the handler's: what has no handler, or does not
// decode, is dropped.
func handleOneWay(p *Process, c *Context, kind Kind, op string, msg Message, body Body) error {
	d := p.host.def
	if msg != nil {
		op = d.op(msg)
	} else {
		var err error
		if op, err = opOfBody(d, op, body); err != nil {
			p.sys.drop(p.name, kind, op, undelivered(ErrBadPayload, p.name, "%v", err))
			return nil
		}
	}
	c.rename(op)
	c.trace()
	handler, known := lookup(p.host.entries(kind), op)
	if !known {
		p.sys.drop(p.name, kind, op, p.unknownOp(kind, op))
		return nil
	}
	if msg != nil {
		return dropBad(p, kind, op, handler.handle(p, c, msg))
	}
	return dropBad(p, kind, op, handler.handleBody(p, c, op, body))
}

// dropBad keeps a payload that does not fit from being a crash.
func dropBad(p *Process, kind Kind, op string, err error) error {
	if err == nil {
		return nil
	}
	var bad *payloadError
	if errors.As(err, &bad) {
		p.sys.drop(p.name, kind, op, undelivered(ErrBadPayload, p.name, "%v", bad.err))
		return nil
	}
	return err
}
