package probe_test

import (
	"context"
	"fmt"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/services/probe"
	"github.com/civitas-go/civitas/services/ratelimit"
)

func Example() {
	ctx := context.Background()
	sys := genserver.NewSystem(genserver.Config{})
	defer sys.Stop(ctx)
	sys.Start(ctx, "rate_limiter", ratelimit.Limiter.With(ratelimit.Config{}), genserver.SpawnOptions{})
	sys.Start(ctx, "probe_limiter", probe.Prober.With(probe.Config{
		Target:  "rate_limiter",
		Payload: genserver.Map{"type": "acquire"},
		Every:   time.Millisecond,
	}), genserver.SpawnOptions{})

	for {
		status, err := genserver.Call(ctx, sys.Ref("probe_limiter"), probe.Check{})
		if err != nil || status.Answered > 2 {
			fmt.Println(status.Target, status.Up, status.Failed, err)
			return
		}
	}
	// Output: rate_limiter true 0 <nil>
}
