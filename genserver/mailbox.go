package genserver

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// item is a message in a mailbox.
type item interface {
	// header describes the message.
	header() *header
	// message is the message as a Go value, nil for bytes and the runtime's own.
	// The server's goroutine asks, once run has failed.
	message() Message
	// use is a ticket that tells one use of a pooled item from the next.
	use() uint64
	// run handles the message, in the server's turn. An error ends the server.
	run(p *Process, c *Context) error
	// discard tells whoever waits for an answer that none will come. It may
	// come while run is under way, and after it.
	discard(ticket uint64, why failure)
}

// failure makes the error for a caller whose message is discarded: whether it
// was still queued makes the difference of [NotDelivered].
type failure func(queued bool) error

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
	if c, ok := ctx.(*Context); ok {
		h.span = c.spanContext()
		return
	}
	h.span = spanOf(ctx)
}

// spanOf is the sender's span. Most have none, and pay nothing.
func spanOf(ctx context.Context) *trace.SpanContext {
	span := trace.SpanFromContext(ctx)
	if span == noSpan {
		return nil
	}
	sc := span.SpanContext()
	if !sc.IsValid() {
		return nil
	}
	return &sc
}

// noSpan is what a context without a span has.
var noSpan = trace.SpanFromContext(context.Background())

func (h *header) expired() bool { return !h.deadline.IsZero() && !time.Now().Before(h.deadline) }

// mailbox is a queue of messages: a ring that grows with need and is given
// back when it has been emptied, since most servers are idle most of the time.
type mailbox struct {
	ring []item // its length is a power of two
	head int32
	n    int32
}

const smallestRing = 4

func (m *mailbox) push(it item) {
	if int(m.n) == len(m.ring) {
		m.grow()
	}
	m.ring[m.slot(m.n)] = it
	m.n++
}

// slot is where the i-th message is.
func (m *mailbox) slot(i int32) int { return int(m.head+i) & (len(m.ring) - 1) }

func (m *mailbox) grow() {
	ring := make([]item, max(smallestRing, 2*len(m.ring)))
	for i := range m.n {
		ring[i] = m.ring[m.slot(i)]
	}
	m.ring, m.head = ring, 0
}

func (m *mailbox) pop() item {
	if m.n == 0 {
		return nil
	}
	it := m.ring[m.head]
	m.ring[m.head] = nil
	m.head = int32(m.slot(1))
	m.n--
	return it
}

// shrink gives the ring back, once it's empty. Messages that come one by one
// need none.
func (m *mailbox) shrink() { m.ring, m.head = nil, 0 }

// takeAll empties the mailbox for good.
func (m *mailbox) takeAll() []item {
	var all []item
	for m.n > 0 {
		all = append(all, m.pop())
	}
	m.ring = nil
	return all
}
