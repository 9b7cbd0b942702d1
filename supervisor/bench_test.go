package supervisor_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"testing"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

// sparkType tells a channel of each start.
var sparkType = genserver.Define("bench.Spark",
	func(_ *genserver.Context, up chan struct{}) (*struct{}, error) {
		up <- struct{}{}
		return &struct{}{}, nil
	},
	genserver.HandleCast(func(*struct{}, *genserver.Context, hint) error { return errBroken }))

// benchSystem logs errors as others do, to nowhere.
func benchSystem() *genserver.System {
	return genserver.NewSystem(genserver.Config{
		Logger: slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelInfo})),
	})
}

// BenchmarkStartStop starts and stops a supervisor of 1,000 children.
func BenchmarkStartStop(b *testing.B) {
	ctx := context.Background()
	sys := benchSystem()
	var spec supervisor.Spec
	for i := range 1000 {
		spec.Children = append(spec.Children, supervisor.Child{Name: fmt.Sprintf("c%d", i), Run: Counter.With(0)})
	}
	b.ReportAllocs()
	for b.Loop() {
		root, err := sys.Start(ctx, "root", spec, genserver.SpawnOptions{})
		if err != nil {
			b.Fatal(err)
		}
		if err := root.Stop(ctx, genserver.Shutdown); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/child")
}

// BenchmarkRestart is the way from a cast that crashes a child to the end of
// the next one's init, under each strategy with ten children.
func BenchmarkRestart(b *testing.B) {
	for _, strategy := range []supervisor.Strategy{supervisor.OneForOne, supervisor.OneForAll} {
		b.Run(strategy.String(), func(b *testing.B) {
			ctx := context.Background()
			sys := benchSystem()
			up := make(chan struct{}, 1)
			spec := supervisor.Spec{Strategy: strategy, MaxRestarts: math.MaxInt32}
			for i := range 9 {
				spec.Children = append(spec.Children, supervisor.Child{Name: fmt.Sprintf("c%d", i), Run: Counter.With(0)})
			}
			spec.Children = append(spec.Children, supervisor.Child{Name: "spark", Run: sparkType.With(up)})
			root, err := sys.Start(ctx, "root", spec, genserver.SpawnOptions{})
			if err != nil {
				b.Fatal(err)
			}
			<-up
			b.ReportAllocs()
			for b.Loop() {
				if err := sys.Ref("spark").Cast(ctx, hint{}, genserver.Strict()); err != nil {
					b.Fatal(err)
				}
				<-up
			}
			if err := root.Stop(ctx, genserver.Shutdown); err != nil {
				b.Fatal(err)
			}
		})
	}
}
