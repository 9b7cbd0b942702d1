package genserver

import (
	"context"
	"reflect"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// header is what is known of every message.
type header struct {
	kind  Kind
	timer bool // of a timer: span set it, and is no parent
	// failed is the handler's: it answered with an error. It's here because it
	// costs no space here.
	failed bool
	op     string
	// The sender: a server of this System, else what the envelope says, else
	// nobody's.
	local    *Process
	remote   *Envelope
	deadline time.Time          // of the caller, where it's known
	span     *trace.SpanContext // the sender's, nil for none
	chain    *chain             // of a call: who waits for it here
	arrived  int64              // by the metrics' clock; 0 where nobody measures
}

// headerOf describes a message sent with ctx, which from was found in.
func headerOf(ctx context.Context, from *Context, kind Kind, op string) (h header) {
	h.fill(ctx, from, kind, op)
	return h
}

// fill is headerOf in place, for a header that is empty.
func (h *header) fill(ctx context.Context, from *Context, kind Kind, op string) {
	h.kind, h.op = kind, op
	if from != nil {
		h.local = from.p
	}
	if kind == KindCall {
		h.deadline, _ = ctx.Deadline()
		if from != nil {
			h.chain = from.waiting()
		}
	}
	h.span = spanIn(ctx)
}

// spanIn is the span that a message sent with ctx has as its parent.
func spanIn(ctx context.Context) *trace.SpanContext {
	if c, ok := ctx.(*Context); ok {
		return c.spanContext()
	}
	return spanOf(ctx)
}

// spanOf is the sender's span. Most have none, and pay nothing.
func spanOf(ctx context.Context) *trace.SpanContext {
	span := trace.SpanFromContext(ctx)
	if reflect.TypeOf(span) == noSpan {
		return nil
	}
	sc := span.SpanContext()
	if !sc.IsValid() {
		return nil
	}
	return &sc
}

// noSpan is the type of what a context without a span has. To compare the spans
// themselves costs more.
var noSpan = reflect.TypeOf(trace.SpanFromContext(context.Background()))

func (h *header) expired() bool { return !h.deadline.IsZero() && !time.Now().Before(h.deadline) }
