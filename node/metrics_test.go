package node_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

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
		"civitas.cluster.events.dropped": 0, "civitas.nats.disconnects": 0, "civitas.nats.reconnects": 0,
		"civitas.nats.messages.dropped": 0, "civitas.nats.messages.too_large": 1,
		"civitas.nats.messages.unsent": 0, "civitas.nats.messages.missing": 0,
		"civitas.cluster.messages.refused": 0,
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
			data, ok := m.Data.(metricdata.Sum[int64])
			if !ok {
				continue // the cluster's
			}
			for _, p := range data.DataPoints {
				got[m.Name] += p.Value
			}
		}
	}
	return got
}

// The time of a closed gate is counted, and so is how long a take-over took, which
// is a span too.
func TestClusterMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		cut := &storeCut{Connector: m}
		var readers [2]sdkmetric.Reader
		var configs [2]node.Config
		for i, c := range []node.Connector{cut, m} {
			readers[i] = sdkmetric.NewManualReader()
			configs[i] = config([]string{"n1", "n2"}[i], c, public("box", hooks{}))
			configs[i].MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(readers[i]))
		}
		spans := tracetest.NewInMemoryExporter()
		configs[1].TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
		start(t, configs[0])
		<-time.After(10 * time.Second)
		if got := seconds(t, readers[0], "civitas.cluster.gate.closed"); got != 0 {
			t.Errorf("gate's time closed, while it was open: got %v, want 0", got)
		}
		cut.cut.Store(true)
		<-time.After(time.Second)
		start(t, configs[1]) // after the leader, n1, has been declared dead
		if got := seconds(t, readers[0], "civitas.cluster.gate.closed"); got < 2*time.Second || got > 6*time.Second {
			t.Errorf("gate's time closed 16s after the last renewal: got %v, want some 4s", got)
		}
		if got := seconds(t, readers[1], "civitas.cluster.takeover.duration"); got < 14*time.Second || got > 17*time.Second {
			t.Errorf("take-over: got %v, want some 15s", got)
		}
		i := slices.IndexFunc(spans.GetSpans(), func(s tracetest.SpanStub) bool { return s.Name == "civitas.cluster.takeover" })
		if i < 0 {
			t.Fatal("the take-over has no span")
		}
		span := spans.GetSpans()[i]
		if took := span.EndTime.Sub(span.StartTime); took < 14*time.Second || took > 17*time.Second {
			t.Errorf("span of the take-over: it lasted %v, want some 15s", took)
		}
		for _, want := range []attribute.KeyValue{
			attribute.String("civitas.agent.name", "box"), attribute.String("civitas.node.name", "n2"), attribute.String("civitas.cluster.takeover.from_node", "n1"),
		} {
			if !slices.Contains(span.Attributes, want) {
				t.Errorf("span of the take-over: got %v, want %v among them", span.Attributes, want)
			}
		}
		cut.cut.Store(false)
	})
}

// seconds is the sum of a metric.
func seconds(t *testing.T, reader sdkmetric.Reader, name string) (sum time.Duration) {
	t.Helper()
	var all metricdata.ResourceMetrics
	noErr(t, "collect", reader.Collect(t.Context(), &all))
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != name {
				continue
			}
			switch data := m.Data.(type) {
			case metricdata.Sum[float64]:
				sum += time.Duration(data.DataPoints[0].Value * float64(time.Second))
			case metricdata.Histogram[float64]:
				sum += time.Duration(data.DataPoints[0].Sum * float64(time.Second))
			}
		}
	}
	return sum
}
