package node_test

import (
	"testing"

	"github.com/nats-io/nats.go"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
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
		one, two := config("n1", nats, public("home", hooks{})), config("n2", nats, public("away", hooks{}))
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
