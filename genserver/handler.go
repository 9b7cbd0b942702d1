package genserver

import (
	"fmt"
	"reflect"
	"sync"
)

// Handler is one part of a server with state S: a message handler, or a
// setting of the Type. The Handle… functions make it, [Define] takes it.
type Handler[S any] struct{ apply func(*definition) }

// HandleCall handles calls of type Req: the reply, or the error, goes to the
// caller, and the server lives on either way. A handler of [Map] takes every
// call that has no handler of its own.
//
// An error keeps its code where [NewError] made it; any other reaches the
// caller as ErrHandler with its text, near and far alike. Return [Stop] to end
// the server, and use Context.Stop to end it after the reply.
func HandleCall[S any, Req CallMessage[Rep], Rep any](fn func(*S, *Context, Req) (Rep, error)) Handler[S] {
	return Handler[S]{func(d *definition) {
		op := opOf[Req](d)
		if _, taken := d.calls[op]; taken {
			d.refuse("two handlers for call %q", op)
		}
		d.calls[op] = &callOp[Req, Rep]{op: op, fn: func(s any, c *Context, r Req) (Rep, error) {
			return fn(s.(*S), c, r)
		}}
	}}
}

// HandleCallLater handles calls of type Req whose answer may come after the
// handler has returned: from a timer, another message's handler, or a goroutine
// that does slow work. The server goes on with other messages meanwhile; the
// caller waits as for any call, and learns at once if the server ends first.
//
// Returning an error answers the call with it, unless it has been answered.
// Even in a NonBlocking server these calls go through the mailbox.
func HandleCallLater[S any, Req CallMessage[Rep], Rep any](fn func(*S, *Context, Req, Reply[Rep]) error) Handler[S] {
	return Handler[S]{func(d *definition) {
		op := opOf[Req](d)
		if _, taken := d.calls[op]; taken {
			d.refuse("two handlers for call %q", op)
		}
		d.calls[op] = &callOp[Req, Rep]{op: op, later: func(s any, c *Context, r Req, to Reply[Rep]) error {
			return fn(s.(*S), c, r, to)
		}}
	}}
}

// HandleCast handles casts of type M. An error, like a panic, is a crash: the
// server ends and its supervisor decides. A handler of [Map] takes every cast
// that has no handler of its own.
func HandleCast[S any, M CastMessage](fn func(*S, *Context, M) error) Handler[S] {
	return Handler[S]{func(d *definition) {
		op := opOf[M](d)
		if _, taken := d.casts[op]; taken {
			d.refuse("two handlers for cast %q", op)
		}
		d.casts[op] = newEntry(KindCast, op, fn)
	}}
}

// HandleInfo handles infos of type M, timers' above all. Errors are as for
// [HandleCast], and so is a handler of [Map].
func HandleInfo[S any, M InfoMessage](fn func(*S, *Context, M) error) Handler[S] {
	return Handler[S]{func(d *definition) {
		op := opOf[M](d)
		if _, taken := d.infos[op]; taken {
			d.refuse("two handlers for info %q", op)
		}
		d.infos[op] = newEntry(KindInfo, op, fn)
	}}
}

// HandleTerminate runs when the server ends, with the reason: after a stop, a
// crash, a panic or a runtime.Goexit, but not after a brutal kill, nor when
// the node or the name is lost, nor while its [Gate] is closed. Callers have been told by then. Its own panic becomes the
// reason.
func HandleTerminate[S any](fn func(*S, *Context, error)) Handler[S] {
	return Handler[S]{func(d *definition) {
		if d.terminate != nil {
			d.refuse("two terminate handlers")
		}
		d.terminate = func(s any, c *Context, reason error) { fn(s.(*S), c, reason) }
	}}
}

// NonBlocking promises that the call handlers do no I/O, wait for nothing and
// take microseconds. A local caller that finds such a server idle runs the
// handler in its own goroutine, which is many times faster. The rules stay:
// one handler at a time, in order, and a panic is the server's crash, not the
// caller's. The caller's deadline can't interrupt a handler that breaks the
// promise.
func NonBlocking[S any]() Handler[S] {
	return Handler[S]{func(d *definition) { d.nonBlocking = true }}
}

// Tag sets the payload key that names the op, [DefaultTag] without it.
func Tag[S any](key string) Handler[S] {
	return Handler[S]{func(d *definition) {
		if key == "" {
			d.refuse("an empty tag")
		}
		d.tag = key
	}}
}

// Mailbox sets how many messages may wait, [DefaultMailbox] without it. Beyond
// it calls are refused with ErrOverloaded and casts are dropped and counted.
func Mailbox[S any](size int) Handler[S] {
	return Handler[S]{func(d *definition) {
		if size < 1 {
			d.refuse("a mailbox of %d: it must hold at least 1 message", size)
		}
		d.mailbox = size
	}}
}

// opOf is the op of a message type; "" is Map's, the fallback.
func opOf[M Message](d *definition) string {
	t := reflect.TypeFor[M]()
	if t == reflect.TypeFor[Map]() {
		return ""
	}
	var m M
	if t.Kind() == reflect.Pointer {
		m = reflect.New(t.Elem()).Interface().(M)
	}
	op := m.Op()
	if op == "" {
		d.refuse("%v has an empty Op", t)
	}
	return op
}

// entry is one op's cast or info handler with its types erased.
type entry struct {
	kind    Kind
	op      string // "" for the fallback
	message reflect.Type
	// takes reports whether the message is of that type.
	takes func(m Message) bool
	// handle runs the handler. The error is a *payloadError where the message is
	// of another type and would not convert.
	handle func(p *Process, c *Context, m any) error
	// handleBody is handle for a payload of bytes.
	handleBody func(p *Process, c *Context, op string, b Body) error
}

func newEntry[S any, M Message](kind Kind, op string, fn func(*S, *Context, M) error) *entry {
	handleBody := func(p *Process, c *Context, op string, b Body) error {
		m, err := decodeMessage[M](b, p.host.def.tag, op)
		if err != nil {
			return err
		}
		return fn(p.state.(*S), c, m)
	}
	handle := func(p *Process, c *Context, m any) error {
		if m, ok := m.(M); ok {
			return fn(p.state.(*S), c, m)
		}
		return handleBody(p, c, p.host.def.op(m.(Message)), valueBody{p.sys.codec, m})
	}
	takes := func(m Message) bool { _, ok := m.(M); return ok }
	return &entry{kind, op, reflect.TypeFor[M](), takes, handle, handleBody}
}

// callEntry is one op's call handler with its types erased.
type callEntry interface {
	// answer runs the handler on a payload of bytes.
	// errLater says that the answer comes by way of a Reply.
	answer(p *Process, c *Context, op string, it *inboundCall) (any, error)
	// hosted is a copy of the entry for one System: it has a pool, and what is
	// pooled holds channels and timers, which must not cross the bubbles of
	// testing/synctest.
	hosted() callEntry
	types() (req, rep reflect.Type)
}

type callOp[Req Message, Rep any] struct {
	op    string
	fn    func(any, *Context, Req) (Rep, error)
	later func(any, *Context, Req, Reply[Rep]) error // in place of fn
	cells sync.Pool
}

func (o *callOp[Req, Rep]) hosted() callEntry {
	return &callOp[Req, Rep]{op: o.op, fn: o.fn, later: o.later}
}

func (o *callOp[Req, Rep]) types() (req, rep reflect.Type) {
	return reflect.TypeFor[Req](), reflect.TypeFor[Rep]()
}

func (o *callOp[Req, Rep]) answer(p *Process, c *Context, op string, it *inboundCall) (any, error) {
	r, err := decodeMessage[Req](it.body, p.host.def.tag, op)
	if err != nil {
		return nil, err
	}
	if o.later == nil {
		return o.fn(p.state, c, r)
	}
	reply := Reply[Rep]{p.pend(it, 0), func(_ uint64, rep Rep, err error) bool { return it.settle(rep, err) }}
	if err := runLater(c, reply, func(to Reply[Rep]) error { return o.later(p.state, c, r, to) }); err != nil {
		return nil, err
	}
	return nil, errLater
}

// payloadError is a payload that does not fit its handler; the handler did not run.
type payloadError struct{ err error }

func (e *payloadError) Error() string { return e.err.Error() }
func (e *payloadError) Unwrap() error { return e.err }

// decodeMessage reads a message; a Map gets its op under the tag, where it
// came in a frame or a Go type.
func decodeMessage[M Message](b Body, tag, op string) (m M, err error) {
	if v, ok := b.(valueBody); ok {
		if m, ok := v.value.(M); ok {
			return m, nil // it only took the long way, between two lives of the server
		}
	}
	if err := b.Decode(&m); err != nil {
		return m, &payloadError{err}
	}
	if p, ok := any(&m).(*Map); ok && op != "" {
		if *p == nil {
			*p = Map{}
		}
		(*p)[tag] = op
	}
	return m, nil
}

// op is a message's op to servers of this Type.
func (d *definition) op(m Message) string {
	if m, ok := m.(Map); ok {
		return m.op(d.tag)
	}
	return m.Op()
}

// lookup finds the handler of an op, else the fallback.
func lookup[E any](handlers map[string]E, op string) (e E, ok bool) {
	if e, ok = handlers[op]; ok && op != "" {
		return e, true
	}
	e, ok = handlers[""]
	return e, ok
}

// valueBody is a Go value that is decoded into another type by way of a codec.
type valueBody struct {
	codec Codec
	value any
}

func (b valueBody) Decode(v any) error {
	data, err := b.codec.Encode(b.value)
	if err != nil {
		return err
	}
	if err := b.codec.Decode(data, v); err != nil {
		return fmt.Errorf("%T as %T: %w", b.value, v, err)
	}
	return nil
}
