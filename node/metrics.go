package node

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"

	"github.com/civitas-go/civitas/transport"
)

// measure has the counts of the connection, and of what came on it, read whenever
// metrics are collected, until the node has ended.
func (n *Node) measure() error {
	conn, ok := n.link.Conn.(interface{ Stats() transport.NATSStats })
	if !ok {
		return nil // the one in memory has none
	}
	meter := n.meter()
	var (
		counters []metric.Int64ObservableCounter
		all      []metric.Observable
	)
	for _, c := range []struct{ name, unit, text string }{
		{"civitas.nats.disconnects", "{connection}", "connections to NATS that were lost"},
		{"civitas.nats.reconnects", "{connection}", "connections to NATS that were made after one was lost"},
		{"civitas.nats.messages.dropped", "{message}", "messages that came for a subscription whose queue was full"},
		{"civitas.nats.messages.too_large", "{message}", "messages not sent because NATS takes none so large"},
		{"civitas.nats.messages.unsent", "{message}", "casts and infos that a connection took with it, before they could leave on it"},
		{"civitas.nats.messages.missing", "{message}", "messages that other nodes sent here and that never came"},
	} {
		counter, err := meter.Int64ObservableCounter(c.name, metric.WithUnit(c.unit), metric.WithDescription(c.text))
		if err != nil {
			return err
		}
		counters, all = append(counters, counter), append(all, counter)
	}
	node := n.attributes()
	reg, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := conn.Stats()
		for i, count := range []uint64{s.Disconnects, s.Reconnects, s.Dropped, s.TooLarge, s.Unsent, n.service.Stats().Lost} {
			o.ObserveInt64(counters[i], int64(count), node) // Never so many.
		}
		return nil
	}, all...)
	if err == nil {
		n.unmeasure = append(n.unmeasure, reg.Unregister)
	}
	return err
}

// measureCluster has the gate's time read, and makes the histogram of take-overs.
func (n *Node) measureCluster() error {
	meter, node := n.meter(), n.attributes()
	closed, err := meter.Float64ObservableCounter("civitas.cluster.gate.closed", metric.WithUnit("s"),
		metric.WithDescription("for how long cluster-wide servers were paused, as the node could not prove that it owns their names"))
	if err != nil {
		return err
	}
	taken, err := meter.Float64Histogram("civitas.cluster.takeover.duration", metric.WithUnit("s"),
		metric.WithDescription("from the last sign of life of a name's owner to its being owned by this node"),
		metric.WithExplicitBucketBoundaries(0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 15, 20, 30, 60))
	if err != nil {
		return err
	}
	dropped, err := meter.Int64ObservableCounter("civitas.cluster.events.dropped", metric.WithUnit("{event}"),
		metric.WithDescription("events of this node that were not kept, since too many waited or the store was away"))
	if err != nil {
		return err
	}
	n.takeOvers.Store(&takeOvers{n.tracer(), taken, node})
	refused, err := meter.Int64ObservableCounter("civitas.cluster.messages.refused", metric.WithUnit("{message}"),
		metric.WithDescription("messages of servers that did not own their cluster-wide names any more"))
	if err != nil {
		return err
	}
	reg, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveFloat64(closed, n.registry.Gate().Closed().Seconds(), node)
		if n.link.Events != nil {
			o.ObserveInt64(dropped, int64(n.link.Events.Dropped()), node) // Never so many.
		}
		o.ObserveInt64(refused, int64(n.router.origins.refused.Load()), node) // Never so many.
		return nil
	}, closed, dropped, refused)
	if err == nil {
		n.unmeasure = append(n.unmeasure, reg.Unregister)
	}
	return err
}

// scopeName is what the node's own metrics and spans are of.
const scopeName = "github.com/civitas-go/civitas/node"

func (n *Node) meter() metric.Meter {
	mp := n.cfg.MeterProvider
	if mp == nil {
		mp = otel.GetMeterProvider()
	}
	return mp.Meter(scopeName)
}

func (n *Node) attributes() metric.MeasurementOption {
	return metric.WithAttributes(attrNode.String(n.cfg.Name))
}
