package genserver

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// Router carries messages out of this process. A System without one knows its
// own servers only. The node package implements it over NATS.
//
// Its methods are called from the caller's goroutine, many at once.
type Router interface {
	// Request sends a call and waits for its answer until ctx ends, or
	// m.Deadline where there is one. The error is an *Error, whose Undelivered
	// the implementation answers for. It does not keep m.
	Request(ctx context.Context, m *Outgoing) (Body, error)

	// Publish sends a cast or an info. Nil says that it has left, not that it
	// arrived; ErrNoProcess that the name is known to have no owner, and
	// ErrOverloaded that the server is known to have no room now. It does not
	// keep m.
	Publish(ctx context.Context, m *Outgoing) error

	// Stop ends the server of that name on that node, or, with no node, wherever it
	// is, and waits for its end until ctx ends.
	Stop(ctx context.Context, name, node string, reason *Error, drainAll bool) error

	// Monitor has down called once, from any goroutine, when the process that has the name on
	// that node, or, with no node, wherever it is, has ended, with why; or its
	// node; or, soon, if there is none. The Down comes after all that the process
	// has sent here. Monitor returns at once. down must not block; it is not
	// called any more once cancel has returned, unless it is being called then.
	Monitor(name, node string, down func(Down)) (cancel func())

	// Claim makes this node the owner of a cluster-wide name, or refuses with
	// ErrNameTaken and the holder's name.
	Claim(ctx context.Context, name string) (Claim, error)
}

// Claim is the ownership of a cluster-wide name. It outlives the generations
// of the server that bears the name.
type Claim interface {
	// Epoch grows with every change of owner; see Context.Epoch.
	Epoch() uint64
	// Gate says whether the owner may act at the moment; nil if it always may.
	// When the name is lost for good, its Router calls [System.Fence].
	Gate() Gate
	// Release gives the name back; others may claim it at once.
	Release(ctx context.Context) error
}

// Outgoing is a message on its way to another node.
type Outgoing struct {
	Envelope
	// Node names the node to send to; empty for the owner of the cluster-wide name.
	Node string
	// Message is the message as the caller gave it, for the Router to encode.
	Message Message
	// Sent, of a call, unless it's nil, is called each time the call has left,
	// before its answer is awaited: what is sent after that arrives after it.
	Sent func()
}

// Incoming is a message from another node, or from a plain NATS client.
type Incoming struct {
	// Envelope may be that of other messages too, and nobody changes it.
	*Envelope
	// Body is the payload. It is decoded in the server's goroutine.
	Body Body
	// Reply takes a call's answer; nil for a cast or an info.
	Reply Replier
}

// Envelope is what both ends know of a message besides its payload.
type Envelope struct {
	// To is the server's name.
	To string
	// Kind is how the message arrives.
	Kind Kind
	// Op is the message's op; empty where only the payload's tag has it.
	Op string
	// From names the server that sends, empty outside of any server.
	From string
	// FromNode names the sender's node, empty if that is not a node's.
	FromNode string
	// FromEpoch is the epoch of the sending server's ownership of its cluster-wide
	// name; zero of a node-local one.
	FromEpoch uint64
	// Deadline is when the caller stops waiting; zero for never.
	Deadline time.Time
	// Span is the sender's span.
	Span trace.SpanContext
	// Chain names the servers, as node/name, that wait for this call's answer,
	// outermost first.
	Chain []string
}

// Body is a payload in some encoding.
type Body interface {
	// Decode reads the payload into v, a pointer. It may be called again. Its
	// error is the caller's ErrBadPayload.
	Decode(v any) error
}

// Replier takes the answer to one call.
type Replier interface {
	// Reply is called once, with a value to encode or with an *Error. It is
	// called from the server's goroutine or from Deliver's, and must not block.
	Reply(v any, err error)
}
