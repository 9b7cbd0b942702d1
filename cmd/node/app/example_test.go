package app_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/civitas-go/civitas/cmd/node/app"
	"github.com/civitas-go/civitas/services/ratelimit"
	"github.com/civitas-go/civitas/supervisor"
)

// A program of one's own is the same command, under its own name and with its own
// tree. Its main would be os.Exit(app.Main(shop)).
func Example() {
	shop := app.Options{
		Name:    "shop",
		Version: "1.2.3",
		Tree: supervisor.Spec{Children: []supervisor.Child{
			{Name: "orders", Run: ratelimit.Limiter.With(ratelimit.Config{}), Scope: supervisor.Cluster},
		}},
	}
	var out strings.Builder
	streams := app.Streams{In: strings.NewReader(""), Out: &out, Err: io.Discard, Getenv: os.Getenv}

	code := app.Run(context.Background(), shop, streams, []string{"version"})
	name, _, _ := strings.Cut(out.String(), " (")
	fmt.Println(code, name)
	fmt.Println(app.Run(context.Background(), shop, streams, []string{"no-such-command"}))
	// Output:
	// 0 shop 1.2.3
	// 2
}
