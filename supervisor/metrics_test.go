package supervisor_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

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
