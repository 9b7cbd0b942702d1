package nodetest

import (
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// keep is a provider whose spans the exporter has as soon as they end.
func keep(e *tracetest.InMemoryExporter) trace.TracerProvider {
	return sdktrace.NewTracerProvider(sdktrace.WithSyncer(e))
}

// Spans are those of the node that have ended, in that order. A call's caller
// may have its answer a moment before the handler's span ends: see [Node.Span].
func (n *Node) Spans() []tracetest.SpanStub {
	n.t.Helper()
	if n.spans == nil {
		n.t.Fatal("nodetest: the spans are with the TracerProvider of the node's Config, or not kept, in a benchmark")
	}
	return n.spans.GetSpans()
}

// Span waits for the first span of a server's handler for an op, and fails the
// test at once if none comes.
func (n *Node) Span(server, op string) tracetest.SpanStub {
	n.t.Helper()
	var found tracetest.SpanStub
	n.await("a span of "+server+" for "+op, func() bool {
		for _, s := range n.Spans() {
			if attribute(s, "civitas.agent.name") == server && attribute(s, "civitas.genserver.op") == op {
				found = s
				return true
			}
		}
		return false
	})
	return found
}

func attribute(s tracetest.SpanStub, key string) string {
	for _, a := range s.Attributes {
		if string(a.Key) == key {
			return a.Value.AsString()
		}
	}
	return ""
}
