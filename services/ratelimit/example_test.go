package ratelimit_test

import (
	"context"
	"fmt"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/services/ratelimit"
)

func Example() {
	ctx := context.Background()
	sys := genserver.NewSystem(genserver.Config{})
	defer sys.Stop(ctx)
	_, err := sys.Start(ctx, "rate_limiter", ratelimit.Limiter.With(ratelimit.Config{Capacity: 2}), genserver.SpawnOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	limiter := sys.Ref("rate_limiter")
	for range 3 {
		grant, err := genserver.Call(ctx, limiter, ratelimit.Acquire{})
		fmt.Println(grant.OK, grant.Remaining, err)
	}
	_, err = genserver.Call(ctx, limiter, ratelimit.Acquire{N: 3})
	fmt.Println(err)
	// Output:
	// true 1 <nil>
	// true 0 <nil>
	// false 0 <nil>
	// rate_limiter: more tokens than the limiter's capacity
}
