package node_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/supervisor"
)

// spansOf finds the spans of a server, by what they are for.
func spansOf(spans tracetest.SpanStubs, server string) map[string]tracetest.SpanStub {
	found := map[string]tracetest.SpanStub{}
	for _, s := range spans {
		attrs := map[string]string{}
		for _, a := range s.Attributes {
			attrs[string(a.Key)] = a.Value.AsString()
		}
		if attrs["civitas.agent.name"] == server {
			found[s.Name+" "+attrs["civitas.genserver.op"]] = s
		}
	}
	return found
}

// A trace goes from a caller on one node to a server on another, and from
// there to a third server back on the first.
func TestTraceAcrossNodes(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		exporter := tracetest.NewInMemoryExporter()
		provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
		one, two := config("n1", nats, on("n1", public("home", hooks{}))), config("n2", nats, on("n2", public("away", hooks{})))
		one.TracerProvider, two.TracerProvider = provider, provider
		n1, n2 := start(t, one), start(t, two)

		ctx, caller := provider.Tracer("test").Start(t.Context(), "caller")
		_, err := genserver.Call(ctx, n1.Ref("away"), Pass{To: "home", X: 3})
		noErr(t, "call", err)
		caller.End()
		stop(t, n1) // its spans have ended then
		stop(t, n2)

		away, home := spansOf(exporter.GetSpans(), "away"), spansOf(exporter.GetSpans(), "home")
		call := away["civitas.genserver.call pass"]
		for _, c := range []struct {
			what         string
			span         tracetest.SpanStub
			parent       trace.SpanContext
			kind         trace.SpanKind
			remoteParent bool
		}{
			{"the call", call, caller.SpanContext(), trace.SpanKindServer, true},
			{"its cast", home["civitas.genserver.cast put"], call.SpanContext, trace.SpanKindConsumer, true},
			{"its call back", home["civitas.genserver.call get"], call.SpanContext, trace.SpanKindServer, true},
		} {
			if c.span.Parent.SpanID() != c.parent.SpanID() || c.span.SpanContext.TraceID() != c.parent.TraceID() {
				t.Errorf("%s: got span %+v, want a child of %v", c.what, c.span.Parent, c.parent.SpanID())
			}
			if c.span.SpanKind != c.kind {
				t.Errorf("%s: got kind %v, want %v", c.what, c.span.SpanKind, c.kind)
			}
			if c.span.Parent.IsRemote() != c.remoteParent {
				t.Errorf("%s: got a remote parent: %v, want %v", c.what, c.span.Parent.IsRemote(), c.remoteParent)
			}
		}
	})
}

// Tock is the message of a clock's timer.
type Tock struct{ genserver.Signal }

func (Tock) Op() string { return "tock" }

// clock sets a timer for each Put, and says when it was due.
type clock struct{ rang chan<- struct{} }

var Clock = genserver.Define("test.Clock",
	func(_ *genserver.Context, rang chan<- struct{}) (*clock, error) { return &clock{rang}, nil },
	genserver.HandleCall(func(*clock, *genserver.Context, Get) (Value, error) { return Value{}, nil }),
	genserver.HandleCast(func(_ *clock, ctx *genserver.Context, _ Put) error {
		ctx.SendAfter(10*time.Millisecond, Tock{})
		return nil
	}),
	genserver.HandleInfo(func(c *clock, _ *genserver.Context, _ Tock) error {
		c.rang <- struct{}{}
		return nil
	}))

// One trace: the caller on node 1, its call on node 2, that one's cast to node
// 1. The timer that the cast set begins a trace of its own, with a link.
func TestTraceToATimer(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		exporter := tracetest.NewInMemoryExporter()
		provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
		rang := make(chan struct{}, 1)
		home := supervisor.Child{Name: "home", Run: Clock.With(rang), Scope: supervisor.Cluster}
		one, two := config("n1", nats, on("n1", home)), config("n2", nats, on("n2", public("away", hooks{})))
		one.TracerProvider, two.TracerProvider = provider, provider
		n1, n2 := start(t, one), start(t, two)

		ctx, caller := provider.Tracer("test").Start(t.Context(), "caller")
		_, err := genserver.Call(ctx, n1.Ref("away"), Pass{To: "home"})
		noErr(t, "call", err)
		caller.End()
		receive(t, "the timer", rang)
		stop(t, n1) // its spans have ended then
		stop(t, n2)

		spans := exporter.GetSpans()
		call := spansOf(spans, "away")["civitas.genserver.call pass"]
		cast, timer := spansOf(spans, "home")["civitas.genserver.cast put"], spansOf(spans, "home")["civitas.genserver.info tock"]
		for _, c := range []struct {
			what, node string
			span       tracetest.SpanStub
			parent     trace.SpanContext
		}{
			{"the call", "n2", call, caller.SpanContext()},
			{"its cast", "n1", cast, call.SpanContext},
		} {
			if got := c.span.Parent; got.SpanID() != c.parent.SpanID() || !got.IsRemote() || c.span.SpanContext.TraceID() != caller.SpanContext().TraceID() {
				t.Errorf("%s: got parent %v in trace %v, want %v, remote, in the caller's", c.what, got.SpanID(), c.span.SpanContext.TraceID(), c.parent.SpanID())
			}
			if got := nodeOf(c.span); got != c.node {
				t.Errorf("%s: got a span of node %s, want %s", c.what, got, c.node)
			}
		}
		if timer.Parent.IsValid() || timer.SpanContext.TraceID() == caller.SpanContext().TraceID() {
			t.Errorf("the timer: got parent %v, want a trace of its own", timer.Parent.SpanID())
		}
		if len(timer.Links) != 1 || !timer.Links[0].SpanContext.Equal(cast.SpanContext) {
			t.Errorf("the timer: got links %v, want one to the cast that set it", timer.Links)
		}
	})
}

func nodeOf(span tracetest.SpanStub) string {
	for _, a := range span.Attributes {
		if a.Key == "civitas.node.name" {
			return a.Value.AsString()
		}
	}
	return ""
}

// The metrics of two nodes in one process stay apart.
func TestMetricsOfTwoNodes(t *testing.T) {
	t.Parallel()
	reader := sdkmetric.NewManualReader()
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	nats := node.NewMemory()
	one, two := config("n1", nats, on("n1", public("a", hooks{}))), config("n2", nats, on("n2", public("b", hooks{})), local("c", hooks{}))
	one.MeterProvider, two.MeterProvider = provider, provider
	n1 := start(t, one)
	n2 := start(t, two)
	get(t, n1.Ref("b")) // handled by n2
	noErr(t, "drain", n2.System().Drain(soon(t)))

	var all metricdata.ResourceMetrics
	noErr(t, "collect", reader.Collect(t.Context(), &all))
	got := map[string]int64{}
	var metrics []metricdata.Metrics
	for _, scope := range all.ScopeMetrics {
		metrics = append(metrics, scope.Metrics...)
	}
	for _, m := range metrics {
		switch data := m.Data.(type) {
		case metricdata.Sum[int64]:
			for _, p := range data.DataPoints {
				if typ, _ := p.Attributes.Value("civitas.agent.type"); m.Name == "civitas.genserver.processes" && typ.AsString() == Box.Name() {
					on, _ := p.Attributes.Value("civitas.node.name")
					got["boxes on "+on.AsString()] = p.Value
				}
			}
		case metricdata.Histogram[float64]:
			for _, p := range data.DataPoints {
				if op, _ := p.Attributes.Value("civitas.genserver.op"); op.AsString() == "get" {
					on, _ := p.Attributes.Value("civitas.node.name")
					got["gets on "+on.AsString()] = int64(p.Count)
				}
			}
		}
	}
	if diff := cmp.Diff(map[string]int64{"boxes on n1": 1, "boxes on n2": 2, "gets on n2": 1}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A plain client's traceparent is the parent.
func TestTraceFromAPlainClient(t *testing.T) {
	t.Parallel()
	exporter := tracetest.NewInMemoryExporter()
	url := startNATS(t)
	cfg := config("n1", node.URL(url), public("box", hooks{}))
	cfg.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	n := start(t, cfg)
	nc, err := nats.Connect(url)
	noErr(t, "connect", err)
	defer nc.Close()
	const traceID, spanID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	_, err = nc.RequestMsgWithContext(soon(t), &nats.Msg{
		Subject: "civitas.dev.s.box", Data: []byte(`{"type":"get"}`),
		Header: nats.Header{"traceparent": {"00-" + traceID + "-" + spanID + "-01"}},
	})
	noErr(t, "request", err)
	stop(t, n)
	span := spansOf(exporter.GetSpans(), "box")["civitas.genserver.call get"]
	if got := span.Parent; got.TraceID().String() != traceID || got.SpanID().String() != spanID {
		t.Errorf("got parent %v of trace %v, want %s of %s", got.SpanID(), got.TraceID(), spanID, traceID)
	}
}
