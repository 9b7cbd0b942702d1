package bench

import (
	"context"
	"fmt"
	"runtime"

	"github.com/civitas-go/civitas/genserver"
)

// memoryServers is how many servers a measurement of memory has.
const memoryServers = 10_000

// memory measures what one idle server takes: heap and stacks, its name and
// its place in the process table included. All of ours come first, since the
// stacks of the baseline's goroutines are given back by and by, and would be
// taken off what comes next.
func memory(ctx context.Context, o Options) (Result, error) {
	const work = "idle named server"
	names := make([]string, memoryServers)
	for i := range names {
		names[i] = fmt.Sprintf("server-%d", i)
	}
	ours := make([]float64, o.Pairs)
	for i := range ours {
		if err := ctx.Err(); err != nil {
			return Result{Work: work}, err
		}
		var failed error
		ours[i] = growth(func() func() {
			sys := genserver.NewSystem(genserver.Config{Logger: quiet})
			for _, name := range names {
				if _, err := sys.Start(ctx, name, plain.With(struct{}{}), genserver.SpawnOptions{}); err != nil {
					failed = err
				}
			}
			return func() { _ = sys.Stop(ctx) }
		})
		if failed != nil {
			return Result{Work: work}, failed
		}
	}
	var s samples
	for _, a := range ours {
		if err := ctx.Err(); err != nil {
			return Result{Work: work}, err
		}
		b := growth(func() func() { return idleBaseline(names) })
		s.add(a/memoryServers, b/memoryServers)
	}
	return s.result(work, "B"), nil
}

// growth is how many bytes more are in use after make than before it.
func growth(build func() (done func())) float64 {
	before := inUse()
	done := build()
	after := inUse()
	done()
	return float64(after) - float64(before)
}

func inUse() uint64 {
	// Twice: what a pool holds survives the first.
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
