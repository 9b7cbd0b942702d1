package genserver

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Span, metric and attribute names. The civitas.* ones are the GenServer page's, the
// messaging.* ones OpenTelemetry's conventions.
const (
	scopeName = "github.com/civitas-go/civitas/genserver"

	spanPrefix = "civitas.genserver."

	attrAgentName     = attribute.Key("civitas.agent.name")
	attrType          = attribute.Key("civitas.agent.type")
	attrOp            = attribute.Key("civitas.genserver.op")
	attrGeneration    = attribute.Key("civitas.genserver.generation")
	attrFrom          = attribute.Key("civitas.genserver.from")
	attrNode          = attribute.Key("civitas.node.name")
	attrMessagingOp   = attribute.Key("messaging.operation.type")
	attrMessagingDest = attribute.Key("messaging.destination.name")
	attrMessagingSys  = attribute.Key("messaging.system")

	// Of metrics alone.
	attrKind    = attribute.Key("civitas.genserver.kind")
	attrOutcome = attribute.Key("civitas.genserver.outcome")
	attrReason  = attribute.Key("civitas.supervisor.restart.reason")

	metricHandlerDuration = "civitas.genserver.handler.duration"
	metricMailboxWait     = "civitas.genserver.mailbox.wait"
	metricMailboxDepth    = "civitas.genserver.mailbox.depth"
	metricMailboxMax      = "civitas.genserver.mailbox.depth_max"
	metricInFlight        = "civitas.genserver.calls.in_flight"
	metricExpired         = "civitas.genserver.calls.expired"
	metricProcesses       = "civitas.genserver.processes"
	metricDropped         = "civitas.genserver.messages.dropped"
	metricUnknownOps      = "civitas.genserver.messages.unknown_op"
	metricLateReplies     = "civitas.genserver.replies.late"
	metricRestarts        = "civitas.supervisor.restarts"
)

// tracerOf is the tracer of a provider, or nil where its spans would go
// nowhere, so that handlers cost nothing then.
func tracerOf(tp trace.TracerProvider) trace.Tracer {
	if tp == nil {
		tp = otel.GetTracerProvider()
	}
	tracer := tp.Tracer(scopeName)
	// A provider that does nothing hands a span's parent back. The parent is
	// not sampled, so that the probe itself shows up nowhere.
	parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, Remote: true})
	_, probe := tracer.Start(trace.ContextWithSpanContext(context.Background(), parent), "civitas.probe")
	if sc := probe.SpanContext(); !sc.IsValid() || sc.SpanID() == parent.SpanID() {
		return nil
	}
	return tracer
}

var spanKinds = [...]trace.SpanKind{KindCall: trace.SpanKindServer, KindCast: trace.SpanKindConsumer, KindInfo: trace.SpanKindInternal}

// trace begins the span and the measurement of the message that c is for,
// where somebody wants them. It is inlined: the mere call of startSpan, with
// its large frame, would have every goroutine's stack grow.
func (c *Context) trace() {
	if s := c.p.sys; s.tracer != nil || s.metrics != nil {
		c.begin()
	}
}

func (c *Context) begin() {
	if m := c.p.sys.metrics; m != nil {
		m.begin(c)
	}
	if c.p.sys.tracer != nil {
		c.startSpan()
	}
}

// startSpan begins the span of the message that c is for, once that is sure to
// be handled, as a child of its sender's. A timer's begins a trace of its own, with a link to the span that
// set the timer: a tick that renews itself for days is not one trace.
func (c *Context) startSpan() {
	s := c.p.sys
	opts := []trace.SpanStartOption{
		trace.WithSpanKind(spanKinds[c.msg.kind]),
		trace.WithAttributes(
			attrAgentName.String(c.p.name),
			attrType.String(c.p.host.def.name),
			attrGeneration.Int64(int64(c.p.gen)),
			attrOp.String(c.msg.op),
			attrNode.String(s.node),
			attrMessagingSys.String("civitas"),
			attrMessagingOp.String("process"),
			attrMessagingDest.String(c.p.name),
		),
	}
	if from := c.From(); from.name != "" {
		opts = append(opts, trace.WithAttributes(attrFrom.String(from.name)))
	}
	parent := context.Background()
	switch {
	case c.msg.span == nil:
	case c.msg.timer:
		opts = append(opts, trace.WithLinks(trace.Link{SpanContext: *c.msg.span}))
	default:
		parent = trace.ContextWithSpanContext(parent, *c.msg.span)
	}
	_, c.span = s.tracer.Start(parent, spanPrefix+c.msg.kind.String(), opts...)
}

// rename is called when a payload has been looked into for its op.
func (c *Context) rename(op string) {
	if op == c.msg.op {
		return
	}
	c.mu.Lock()
	c.msg.op = op
	c.mu.Unlock()
	if c.span != nil {
		c.span.SetAttributes(attrOp.String(op))
	}
}

// fail marks a handler that answered with an error.
func (c *Context) fail(err error) {
	c.msg.failed = true
	if c.span != nil {
		c.span.SetStatus(codes.Error, err.Error())
	}
}

// finish ends the handler's measurement and span; err is a crash or a Stop.
func (c *Context) finish(err error) {
	if c.began != 0 {
		c.p.sys.metrics.end(c, err)
	}
	if c.span != nil {
		if err != nil && !ended(err) {
			c.span.RecordError(err)
			c.span.SetStatus(codes.Error, err.Error())
			c.p.noteCrash(c.span.SpanContext())
		}
		c.span.End()
	}
}

// Cause is where in a trace a server crashed; the zero value is nowhere. What it
// leads to is shown there too.
type Cause struct{ span trace.SpanContext }

// TraceID is the trace's, in hex; empty for nowhere.
func (c Cause) TraceID() string {
	if !c.span.HasTraceID() {
		return ""
	}
	return c.span.TraceID().String()
}

// CrashedIn is the span of the handler that the process crashed in; nowhere, if
// it did not crash, or not in a handler that has a span.
func (p *Process) CrashedIn() Cause {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.more == nil {
		return Cause{}
	}
	return p.more.crashedIn
}

func (p *Process) noteCrash(span trace.SpanContext) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.extra().crashedIn = Cause{span}
}

// startInitSpan begins the span of an init that a crash has led to: it is how a
// restart shows in the trace of the message that made it necessary. Other inits
// have none.
func (c *Context) startInitSpan(cause *Cause) {
	parent := trace.ContextWithSpanContext(context.Background(), cause.span)
	_, c.span = c.p.sys.tracer.Start(parent, spanPrefix+"init", trace.WithAttributes(
		attrAgentName.String(c.p.name),
		attrType.String(c.p.host.def.name),
		attrGeneration.Int64(int64(c.p.gen)),
		attrNode.String(c.p.sys.node),
	))
}

// endInitSpan ends it, if there is one; failed is nil if init has succeeded.
func (c *Context) endInitSpan(failed error) {
	if c.span == nil {
		return
	}
	if failed != nil {
		c.span.RecordError(failed)
		c.span.SetStatus(codes.Error, failed.Error())
	}
	c.span.End()
}
