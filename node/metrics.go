package node

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
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
	mp := n.cfg.MeterProvider
	if mp == nil {
		mp = otel.GetMeterProvider()
	}
	meter := mp.Meter("github.com/civitas-go/civitas/node")
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
	node := metric.WithAttributes(attribute.String("civitas.node.name", n.cfg.Name))
	reg, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := conn.Stats()
		for i, count := range []uint64{s.Disconnects, s.Reconnects, s.Dropped, s.TooLarge, s.Unsent, n.service.Stats().Lost} {
			o.ObserveInt64(counters[i], int64(count), node) // Never so many.
		}
		return nil
	}, all...)
	if err == nil {
		n.unmeasure = reg.Unregister
	}
	return err
}
