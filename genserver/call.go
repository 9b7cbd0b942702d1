package genserver

import (
	"context"
)

// Call sends a request to a server and waits for its reply: at most
// [DefaultTimeout] unless an [Option] says otherwise, and never longer than
// ctx. A request type embeds [Returns]; a [Map] is answered by a Map.
//
// The error is an *[Error], or nil. [NotDelivered] tells whether it is safe to
// send the request again. When the server ends first, the caller knows at
// once, however long its timeout is.
//
// Pass a handler's own Context to call from inside a server.
func Call[Req CallMessage[Rep], Rep any](ctx context.Context, to Ref, r Req, opts ...Option) (Rep, error) {
	var none Rep
	o := optionsOf(opts)
	p, err := to.local()
	if err != nil {
		return none, err
	}
	from := sender(ctx)
	if err := mayCall(ctx, from, to); err != nil {
		return none, err
	}
	if p != nil {
		op, known := handlerFor[Req, Rep](p.host, r)
		if !known {
			return none, p.unknownOp(KindCall, p.host.def.op(r))
		}
		if op != nil {
			began := p.beginning()
			rep, err := op.call(ctx, from, p, r, o)
			switch {
			case err == errGone: //nolint:errorlint // it's never wrapped
			case p.wide && elsewhere(err):
				o = o.since(began)
			default:
				return rep, err
			}
		}
	}
	rep, err := callErased(ctx, from, to, r, o)
	if err != nil {
		return none, err
	}
	return replyAs[Rep](to, rep)
}

// mayCall refuses a call that could not end well before anything is sent.
func mayCall(ctx context.Context, from *Context, to Ref) error {
	if err := from.refusal(to); err != nil {
		return err
	}
	if from == nil && to.sys.draining.Load() {
		return undelivered(ErrDraining, to.String(), "this node takes no new work")
	}
	if from != nil && (to.node == "" || to.node == to.sys.node) && from.keepsWaiting(to.name) {
		return cycle(from.waiting().names(), to.sys.node, to.name)
	}
	if c, isHandler := ctx.(*Context); isHandler && c.over.Load() == 0 && !c.detached {
		return nil // which saves making its standard context
	}
	if ctx.Err() != nil {
		return timeoutError(ctx, true).about(to.String())
	}
	return nil
}

// callCell is one call of Go values within this System.
type callCell[Req Message, Rep any] struct {
	waiter
	hdr    header
	op     *callOp[Req, Rep]
	req    Req
	rep    Rep
	inline bool // the caller runs the handler itself, and waits for nothing
}

func (o *callOp[Req, Rep]) call(ctx context.Context, from *Context, p *Process, r Req, opt options) (rep Rep, err error) {
	c, _ := o.cells.Get().(*callCell[Req, Rep])
	if c == nil {
		c = &callCell[Req, Rep]{op: o}
	}
	c.arm()
	c.req = r
	c.hdr.fill(ctx, from, KindCall, o.op)
	c.inline = p.host.def.nonBlocking && o.later == nil && p.enterInline(c)
	if c.inline {
		p.leaveInline(p.turn(&slot{what: c}))
		if !c.reusable {
			<-c.done // the server ended instead; its error is there, or about to be
		}
	} else {
		if err := p.push(c, false); err != nil {
			o.recycle(c)
			return rep, err
		}
		if err := c.await(ctx, opt.timeout); err != nil {
			c.limit.drop()
			p.callerLeft(c, err)
			return rep, err.about(p.name)
		}
	}
	rep, err = c.rep, c.err
	if c.reusable {
		o.recycle(c)
	} else {
		c.limit.drop()
	}
	return rep, err
}

// recycle keeps a cell that nobody else holds for another call.
func (o *callOp[Req, Rep]) recycle(c *callCell[Req, Rep]) {
	var req Req
	var rep Rep
	c.req, c.rep, c.err = req, rep, nil
	c.hdr = header{}
	o.cells.Put(c)
}

func (c *callCell[Req, Rep]) header() *header { return &c.hdr }

func (c *callCell[Req, Rep]) message() Message { return c.req }

func (c *callCell[Req, Rep]) run(p *Process, ctx *Context) error {
	if !c.begin() {
		p.sys.stats.expired.Add(1)
		return nil
	}
	ctx.trace()
	if c.op.later != nil {
		req := c.req
		reply := Reply[Rep]{p.pend(c, c.ticket), c.settle}
		return runLater(ctx, reply, func(to Reply[Rep]) error { return c.op.later(p.state, ctx, req, to) })
	}
	rep, err := c.op.fn(p.state, ctx, c.req)
	if err != nil {
		if asStop(err) != nil {
			return err
		}
		err = ctx.handlerError(err)
		ctx.fail(err)
	}
	if p.shutTo(false) {
		var none Rep
		rep, err = none, p.withheld()
	}
	if !c.claim() {
		p.sys.stats.lateReplies.Add(1)
		return nil
	}
	c.rep, c.err = rep, err
	c.reusable = true
	if !c.inline {
		c.wake()
	}
	return nil
}

// settle answers a call that was put off, if it's still the one of the ticket.
// From then on the cell is its caller's.
func (c *callCell[Req, Rep]) settle(ticket uint64, rep Rep, err error) bool {
	if !c.move(ticket, waiterRunning, waiterSettled) {
		return false
	}
	c.rep, c.err = rep, err
	c.reusable = true
	c.wake()
	return true
}

func (c *callCell[Req, Rep]) discard(ticket uint64, why failure) { c.fail(ticket, why) }
