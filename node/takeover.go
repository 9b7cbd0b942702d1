package node

import (
	"context"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/civitas-go/civitas/cluster"
)

// Attributes; genserver has those of servers.
const (
	attrNode      = attribute.Key("civitas.node.name")
	attrAgentName = attribute.Key("civitas.agent.name")
	attrEpoch     = attribute.Key("civitas.cluster.epoch")
	attrFrom      = attribute.Key("civitas.cluster.takeover.from") // an incarnation
	attrFromNode  = attribute.Key("civitas.cluster.takeover.from_node")
)

// takeOvers tells of names that this node has from others that have ended.
type takeOvers struct {
	tracer  trace.Tracer
	seconds metric.Float64Histogram
	node    metric.MeasurementOption
}

// record measures a take-over, and is the id of the trace that its span begins; ""
// if there is none. The span lasts from the last sign of life of the name's owner
// to now.
func (o *takeOvers) record(node string, t cluster.TakeOver) (traceID string) {
	now := time.Now()
	_, span := o.tracer.Start(context.Background(), "civitas.cluster.takeover", trace.WithTimestamp(now.Add(-t.Since)),
		trace.WithAttributes(
			attrAgentName.String(t.Server), attrNode.String(node), attrEpoch.Int64(int64(t.Epoch)), // Never so many.
			attrFrom.String(t.From), attrFromNode.String(t.Node),
		))
	span.End(trace.WithTimestamp(now))
	o.seconds.Record(context.Background(), t.Since.Seconds(), o.node)
	if id := span.SpanContext().TraceID(); id.IsValid() {
		return id.String()
	}
	return ""
}

func (n *Node) tookOver(t cluster.TakeOver) {
	e := cluster.Event{Kind: cluster.EventTakeOver, Server: t.Server, Epoch: t.Epoch, From: t.From, Reason: "its owner on node " + t.Node + " has ended"}
	if o := n.takeOvers.Load(); o != nil {
		e.TraceID = o.record(n.cfg.Name, t)
	}
	n.happened(e)
}

func (n *Node) tracer() trace.Tracer {
	tp := n.cfg.TracerProvider
	if tp == nil {
		tp = otel.GetTracerProvider()
	}
	return tp.Tracer(scopeName)
}
