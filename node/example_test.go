package node_test

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/node/embedded"
	"github.com/civitas-go/civitas/services/ratelimit"
	"github.com/civitas-go/civitas/supervisor"
)

var limiterTree = supervisor.Spec{Children: []supervisor.Child{
	{Name: "rate_limiter", Run: ratelimit.Limiter.With(ratelimit.Config{}), Scope: supervisor.Cluster},
}}

// A node without NATS is this process alone.
func ExampleStart() {
	ctx := context.Background()
	n, err := node.Start(ctx, node.Config{Name: "n1", Tree: limiterTree})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer n.Stop(ctx)

	grant, err := genserver.Call(ctx, n.Ref("rate_limiter"), ratelimit.Acquire{N: 30})
	fmt.Println(grant.OK, grant.Remaining, err)

	_, err = genserver.Call(ctx, n.Ref("nobody"), ratelimit.Acquire{})
	fmt.Println(err, genserver.NotDelivered(err))
	// Output:
	// true 70 <nil>
	// nobody: no such process true
}

// A cluster in one process, for tests: the second node calls the first one's
// server, and may not have one of the same name.
func ExampleMemory() {
	ctx := context.Background()
	memory := node.NewMemory()
	n1, err := node.Start(ctx, node.Config{Name: "n1", NATS: memory, Tree: limiterTree})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer n1.Stop(ctx)
	n2, err := node.Start(ctx, node.Config{Name: "n2", NATS: memory})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer n2.Stop(ctx)

	grant, err := genserver.Call(ctx, n2.Ref("rate_limiter"), ratelimit.Acquire{N: 30})
	fmt.Println(grant.OK, grant.Remaining, err)
	grant, err = genserver.Call(ctx, n1.Ref("rate_limiter"), ratelimit.Acquire{N: 30})
	fmt.Println(grant.OK, grant.Remaining, err)
	// Output:
	// true 70 <nil>
	// true 40 <nil>
}

// NATS within the node: no other process is needed, and any NATS client can
// call the server.
func Example_embedded() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	n, err := node.Start(ctx, node.Config{Name: "n1", NATS: embedded.Server{}, Tree: limiterTree})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer n.Stop(ctx)

	client, err := nats.Connect(n.URL())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	reply, err := client.RequestWithContext(ctx, "civitas.dev.s.rate_limiter", []byte(`{"type":"acquire","n":30}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(reply.Data))
	// Output: {"ok":true,"remaining":70}
}

// Run is the main of a program: it serves until the context ends, then drains.
func ExampleNode_Run() {
	ctx, cancel := context.WithCancel(context.Background()) // signal.NotifyContext, in a program
	defer cancel()
	n, err := node.Start(ctx, node.Config{Name: "n1", Tree: limiterTree})
	if err != nil {
		fmt.Println(err)
		return
	}
	time.AfterFunc(10*time.Millisecond, cancel)
	fmt.Println("ended:", n.Run(ctx))
	// Output: ended: <nil>
}
