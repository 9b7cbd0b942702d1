package supervisor_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

// restarts reads how many there were, by the child's Type, the node and the reason.
func restarts(t testing.TB, reader *sdk.ManualReader) map[string]int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatalf("collect: got %v, want nil", err)
	}
	got := map[string]int64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != "civitas.supervisor.restarts" {
				continue
			}
			for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
				var words []string
				for _, kv := range p.Attributes.ToSlice() {
					words = append(words, kv.Value.AsString())
				}
				got[strings.Join(words, " ")] = p.Value
			}
		}
	}
	return got
}

// A restart is in the trace of the message that made it necessary, also where a
// backoff and an init that failed came between.
func TestRestartInTheTrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		spans := tracetest.NewInMemoryExporter()
		w := newWorld(t, genserver.Config{Node: "n1", TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))})
		root := w.start(supervisor.Spec{Backoff: supervisor.Backoff{Growth: supervisor.Constant, Base: time.Second}, Children: w.children("a", "b")})
		w.onInit["a"] = func(_ *genserver.Context, life int) error {
			if life == 2 {
				return errors.New("no database")
			}
			return nil
		}
		_ = w.crash("a", "oops")
		<-time.After(time.Minute)
		w.stop(root)
		w.close()
		var crash, inits []tracetest.SpanStub
		for _, span := range spans.GetSpans() {
			switch {
			case span.Name == "civitas.genserver.init":
				inits = append(inits, span)
			case span.Status.Code == codes.Error:
				crash = append(crash, span)
			}
		}
		if len(crash) != 1 || len(inits) != 2 {
			t.Fatalf("got %d crashes and %d inits, want 1 and 2", len(crash), len(inits))
		}
		for _, init := range inits {
			if got, want := init.Parent.SpanID(), crash[0].SpanContext.SpanID(); got != want {
				t.Errorf("got an init below %v, want it below the crash, %v", got, want)
			}
		}
		if first, second := inits[0].Status.Code, inits[1].Status.Code; first != codes.Error || second != codes.Unset {
			t.Errorf("got inits of status %v and %v, want Error, then Unset", first, second)
		}
	})
}

func TestRestartsByReason(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reader := sdk.NewManualReader()
		w := newWorld(t, genserver.Config{Node: "n1", MeterProvider: sdk.NewMeterProvider(sdk.WithReader(reader))})
		want := func(what string, want map[string]int64) {
			t.Helper()
			synctest.Wait()
			if diff := cmp.Diff(want, restarts(t, reader)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
		w.onInit["b"] = func(_ *genserver.Context, life int) error {
			if life == 3 {
				return errors.New("no database")
			}
			return nil
		}
		root := w.start(supervisor.Spec{
			Strategy: supervisor.OneForAll, MaxRestarts: 10,
			Children: append(w.children("a"), supervisor.Child{Name: "below", Run: supervisor.Spec{MaxRestarts: 10, Children: w.children("b")}}),
		})
		want("before any crash", map[string]int64{})
		_ = w.crash("b", "oops")
		want("a panic", map[string]int64{"test.Probe n1 panic": 1})
		w.process("b").Kill()
		<-time.After(time.Minute)
		want("a kill, and a start that failed", map[string]int64{"test.Probe n1 panic": 1, "test.Probe n1 killed": 1, "test.Probe n1 handler_error": 1})
		_ = w.crash("a", "oops")
		want("a sibling's crash", map[string]int64{
			"test.Probe n1 panic": 2, "test.Probe n1 killed": 1, "test.Probe n1 handler_error": 1, "civitas.Supervisor n1 shutdown": 1,
		})
		w.stop(root)
		w.close()
	})
}
