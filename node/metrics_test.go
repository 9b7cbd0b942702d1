package node_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/transport"
)

// A node's connection is measured, until the node has stopped.
func TestConnectionMetrics(t *testing.T) {
	t.Parallel()
	reader := sdkmetric.NewManualReader()
	nats := &linked{Connector: node.URL(startNATS(t))}
	cfg := config("n1", nats)
	cfg.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	n := start(t, cfg)
	if err := nats.link.Conn.Publish(transport.Msg{Subject: "x", Data: make([]byte, 2<<20)}); err == nil {
		t.Error("publish of 2 MiB: got nil, want an error")
	}
	want := map[string]int64{
		"civitas.nats.disconnects": 0, "civitas.nats.reconnects": 0,
		"civitas.nats.messages.dropped": 0, "civitas.nats.messages.too_large": 1,
		"civitas.nats.messages.unsent": 0, "civitas.nats.messages.missing": 0,
	}
	if diff := cmp.Diff(want, connectionMetrics(t, reader)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	stop(t, n)
	if got := connectionMetrics(t, reader); len(got) > 0 {
		t.Errorf("after the stop: got %v, want nothing", got)
	}
}

// linked is a Connector that keeps its Link.
type linked struct {
	node.Connector
	link *node.Link
}

func (l *linked) Connect(ctx context.Context, o node.LinkOptions) (*node.Link, error) {
	var err error
	l.link, err = l.Connector.Connect(ctx, o)
	return l.link, err
}

func connectionMetrics(t *testing.T, reader sdkmetric.Reader) map[string]int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	noErr(t, "collect", reader.Collect(t.Context(), &all))
	got := map[string]int64{}
	for _, scope := range all.ScopeMetrics {
		if scope.Scope.Name != "github.com/civitas-go/civitas/node" {
			continue
		}
		for _, m := range scope.Metrics {
			data, _ := m.Data.(metricdata.Sum[int64])
			for _, p := range data.DataPoints {
				got[m.Name] += p.Value
			}
		}
	}
	return got
}
