package supervisor_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

// BenchmarkStatic starts and stops static supervisors of growing size; the cost
// of a child does not grow with them.
func BenchmarkStatic(b *testing.B) {
	for _, n := range []int{1000, 4000, 16000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			ctx := context.Background()
			sys := benchSystem()
			var spec supervisor.Spec
			for i := range n {
				spec.Children = append(spec.Children, supervisor.Child{Name: fmt.Sprintf("c%d", i), Run: Counter.With(0)})
			}
			for b.Loop() {
				root, err := sys.Start(ctx, "root", spec, genserver.SpawnOptions{})
				if err != nil {
					b.Fatal(err)
				}
				if err := root.Stop(ctx, genserver.Shutdown); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/child")
		})
	}
}

// startMany has a Dynamic start n children, and stops it.
func startMany(tb testing.TB, n int) (started, stopped time.Duration) {
	ctx := context.Background()
	sys := benchSystem()
	root, err := sys.Start(ctx, "root", supervisor.Dynamic{}, genserver.SpawnOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	ref := root.Ref()
	began := time.Now()
	for i := range n {
		if _, err := genserver.Call(ctx, ref, supervisor.StartChild{Name: fmt.Sprintf("c%d", i), Run: Counter.With(0)}); err != nil {
			tb.Fatal(err)
		}
	}
	started = time.Since(began)
	if err := root.Stop(ctx, genserver.Shutdown); err != nil {
		tb.Fatal(err)
	}
	return started, time.Since(began) - started
}

// BenchmarkDynamic starts children one after another and stops them all.
func BenchmarkDynamic(b *testing.B) {
	for _, n := range []int{1000, 10_000, 40_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var start, stop time.Duration
			for b.Loop() {
				s, e := startMany(b, n)
				start, stop = start+s, stop+e
			}
			b.ReportMetric(float64(start.Nanoseconds())/float64(b.N*n), "ns/start")
			b.ReportMetric(float64(stop.Nanoseconds())/float64(b.N*n), "ns/stop")
		})
	}
}

// Ten times the children take ten times as long, not a hundred times. The bound
// is generous, as machines are noisy.
func TestDynamicScalesLinearly(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second")
	}
	total := func(n int) time.Duration { start, stop := startMany(t, n); return start + stop }
	total(1000) // warms up
	var few, many time.Duration
	for range 5 { // whoever else is on the machine can spoil a try, but not all of them
		few, many = min(total(1000), total(1000), total(1000)), total(10_000)
		if many <= 40*few {
			return
		}
	}
	t.Errorf("10,000 children took %v, 1,000 took %v, want about ten times as long", many, few)
}
