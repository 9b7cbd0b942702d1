package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

// A counter adds up what it is sent, and can't stand negative numbers.

type Add struct {
	genserver.Returns[Sum]
	N int `json:"n"`
}

type Sum struct {
	Total int `json:"total"`
}

func (Add) Op() string { return "add" }

type counter struct{ total int }

func newCounter(_ *genserver.Context, start int) (*counter, error) {
	return &counter{total: start}, nil
}

func (c *counter) add(_ *genserver.Context, a Add) (Sum, error) {
	if a.N < 0 {
		panic("negative")
	}
	c.total += a.N
	return Sum{c.total}, nil
}

var Counter = genserver.Define("example.Counter", newCounter, genserver.HandleCall((*counter).add))

// quiet is a System that does not log, for the examples' sake.
func quiet() *genserver.System {
	return genserver.NewSystem(genserver.Config{Logger: slog.New(slog.DiscardHandler)})
}

// A supervised counter crashes and comes back, from its config: what it had
// counted is gone.
func Example() {
	ctx := context.Background()
	sys := quiet()
	root, err := sys.Start(ctx, "app", supervisor.Spec{
		Strategy: supervisor.OneForOne,
		Children: []supervisor.Child{
			// Calls to a name of cluster scope wait while its server is restarted.
			{Name: "counter", Run: Counter.With(100), Scope: supervisor.Cluster},
		},
	}, genserver.SpawnOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}

	for _, n := range []int{1, 2, -1, 3} {
		sum, err := genserver.Call(ctx, sys.Ref("counter"), Add{N: n})
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(sum.Total)
	}
	if err := root.Stop(ctx, genserver.Shutdown); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 101
	// 103
	// counter: server exited: panic: negative
	// 103
}

// Supervisors nest. The inner one gives up at the first crash, the outer one
// does too, and the reason tells how it came to that.
func Example_nested() {
	ctx := context.Background()
	sys := quiet()
	pool := supervisor.Spec{
		Strategy:    supervisor.OneForAll,
		MaxRestarts: supervisor.NoRestarts,
		Children: []supervisor.Child{
			{Name: "left", Run: Counter.With(0)},
			{Name: "right", Run: Counter.With(0)},
		},
	}
	root, err := sys.Start(ctx, "app", supervisor.Spec{
		MaxRestarts: supervisor.NoRestarts,
		Children:    []supervisor.Child{{Name: "pool", Run: pool}},
	}, genserver.SpawnOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}

	_, err = genserver.Call(ctx, sys.Ref("left"), Add{N: -1})
	fmt.Println(err)
	<-root.Exited()
	fmt.Println(root.Reason())
	fmt.Println(errors.Is(root.Reason(), supervisor.ErrRestartLimit), errors.Is(root.Reason(), genserver.ErrPanic))
	// Output:
	// left: server exited: panic: negative
	// restart limit reached: 1 in 5s, 0 allowed, the last was pool: restart limit reached: 1 in 5s, 0 allowed, the last was left: panic: negative
	// true true
}

// A backoff spares what a crashed server depends on: the first restart comes
// after Base, later ones after more, until the server has run well for a while.
func Example_backoff() {
	ctx := context.Background()
	sys := quiet()
	root, err := sys.Start(ctx, "app", supervisor.Spec{
		MaxRestarts:   10,
		RestartWindow: time.Minute,
		Backoff: supervisor.Backoff{
			Growth: supervisor.Exponential,
			Base:   10 * time.Millisecond,
			Max:    time.Second,
		},
		Children: []supervisor.Child{{Name: "counter", Run: Counter.With(0), Scope: supervisor.Cluster}},
	}, genserver.SpawnOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}

	for _, least := range []time.Duration{10, 20, 40} {
		_, _ = genserver.Call(ctx, sys.Ref("counter"), Add{N: -1})
		crashed := time.Now()
		sum, err := genserver.Call(ctx, sys.Ref("counter"), Add{N: 1})
		fmt.Println(sum.Total, err, time.Since(crashed) > (least-2)*time.Millisecond)
	}
	if err := root.Stop(ctx, genserver.Shutdown); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 1 <nil> true
	// 1 <nil> true
	// 1 <nil> true
}

// A Spec that can't work is refused with all its faults at once.
func ExampleSpec_Validate() {
	fmt.Println(supervisor.Spec{
		MaxRestarts: -5,
		Children: []supervisor.Child{
			{Name: "counter", Run: Counter.With(0)},
			{Name: "pool", Run: supervisor.Spec{
				Backoff:  supervisor.Backoff{Growth: supervisor.Linear},
				Children: []supervisor.Child{{Name: "counter", Run: Counter.With(0)}},
			}},
		},
	}.Validate())
	// Output:
	// MaxRestarts: -5 is negative; NoRestarts (-1) means none
	// Children[1] "pool".Backoff.Base: 0s is not positive
	// Children[1] "pool".Children[0] "counter".Name: taken by Children[0] "counter"
}

// A Dynamic is given its children while it runs. Each keeps its own config over
// restarts, and is forgotten once it has ended for good.
func ExampleDynamic() {
	ctx := context.Background()
	sys := quiet()
	pool, err := sys.Start(ctx, "pool", supervisor.Dynamic{MaxChildren: 2}, genserver.SpawnOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for i, name := range []string{"left", "right", "third"} {
		_, err := genserver.Call(ctx, pool.Ref(), supervisor.StartChild{Name: name, Run: Counter.With(100 * i)})
		fmt.Println(name, err)
	}
	_, err = genserver.Call(ctx, pool.Ref(), supervisor.TerminateChild{Name: "left"})
	fmt.Println(err)
	all, err := genserver.Call(ctx, pool.Ref(), supervisor.WhichChildren{})
	for _, c := range all.Children {
		fmt.Println(c.Name, c.Status, c.Restart, err)
	}
	if err := pool.Stop(ctx, genserver.Shutdown); err != nil {
		fmt.Println(err)
	}
	// Output:
	// left <nil>
	// right <nil>
	// third pool: third: no child more at a time
	// <nil>
	// right running transient <nil>
}
