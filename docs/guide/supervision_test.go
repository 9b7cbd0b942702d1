package guide_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/services/ratelimit"
	"github.com/civitas-go/civitas/supervisor"
)

// tree is the one that the chapter on supervision draws.
func tree() supervisor.Spec {
	halls := supervisor.Spec{
		Strategy: supervisor.OneForOne,
		Children: []supervisor.Child{
			{Name: "opera", Run: Seats.With(Hall{Seats: 900, Hold: 15 * time.Minute})},
			{Name: "cinema", Run: Seats.With(Hall{Seats: 120, Hold: 5 * time.Minute})},
		},
	}
	return supervisor.Spec{
		Strategy:      supervisor.RestForOne,
		MaxRestarts:   5,
		RestartWindow: time.Minute,
		Backoff:       supervisor.Backoff{Growth: supervisor.Exponential, Base: 100 * time.Millisecond, Max: 5 * time.Second},
		Children: []supervisor.Child{
			{Name: "rate_limiter", Run: ratelimit.Limiter.With(ratelimit.Config{}), Scope: supervisor.Cluster},
			{Name: "halls", Run: halls},
			{Name: "parties", Run: supervisor.Dynamic{MaxChildren: 10_000}},
		},
	}
}

func Example_tree() {
	ctx := context.Background()
	sys := genserver.NewSystem(genserver.Config{Logger: slog.New(slog.DiscardHandler)})
	root, err := sys.Start(ctx, "root", tree(), genserver.SpawnOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer root.Stop(ctx, genserver.Shutdown)

	party := Seats.With(Hall{Seats: 8, Hold: time.Hour})
	_, err = genserver.Call(ctx, sys.Ref("parties"), supervisor.StartChild{Name: "party-42", Run: party})
	fmt.Println("started:", err)

	_, err = genserver.Call(ctx, sys.Ref("halls"), supervisor.TerminateChild{Name: "cinema"})
	fmt.Println("terminated:", err)
	_, err = genserver.Call(ctx, sys.Ref("cinema"), Book{Guest: "ada"})
	fmt.Println(errors.Is(err, genserver.ErrNoProcess))
	// Output:
	// started: <nil>
	// terminated: <nil>
	// true
}
