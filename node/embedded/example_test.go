package embedded_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/node/embedded"
	"github.com/civitas-go/civitas/services/ratelimit"
	"github.com/civitas-go/civitas/supervisor"
)

// A node with a NATS server of its own, and a plain NATS client that calls one of
// its servers.
func Example() {
	if err := callEmbedded(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	// Output: {"ok":true,"remaining":70}
}

func callEmbedded() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	n, err := node.Start(ctx, node.Config{
		NATS: embedded.Server{}, // Listen and StoreDir, for more than a try
		Tree: supervisor.Spec{Children: []supervisor.Child{
			{Name: "rate_limiter", Run: ratelimit.Limiter.With(ratelimit.Config{}), Scope: supervisor.Cluster},
		}},
	})
	if err != nil {
		return err
	}
	defer func() { _ = n.Stop(ctx) }()

	client, err := nats.Connect(n.URL())
	if err != nil {
		return err
	}
	defer client.Close()
	reply, err := client.RequestWithContext(ctx, "civitas.dev.s.rate_limiter", []byte(`{"type":"acquire","n":30}`))
	if err != nil {
		return err
	}
	fmt.Println(string(reply.Data))
	return nil
}
