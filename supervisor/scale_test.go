package supervisor_test

import (
	"context"
	"fmt"
	"testing"

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
