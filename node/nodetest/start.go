package nodetest

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/civitas-go/civitas/node"
)

const (
	// patience is how long a test waits for what must happen. Nothing waits so
	// long unless it fails.
	patience = 20 * time.Second
	// stopTimeout is how long a node may take to stop, unless its Config says.
	stopTimeout = 10 * time.Second
)

// Node is a node that ends with its test. Its methods beside those of
// [node.Node] are for the test's goroutine: they fail the test at once where
// they can't do what they say.
type Node struct {
	*node.Node

	t       testing.TB
	spans   *tracetest.InMemoryExporter // nil where the node's Config has a provider
	stopped atomic.Bool
}

// Start starts a node, which stops when the test ends; t.Cleanup has that. A
// node that does not start fails the test at once; one that does not stop in
// order and in time fails it in the end.
//
// It fills in of the Config, where not set: a Logger that writes to the test's
// output, a StopTimeout of 10 s, and a TracerProvider that keeps the spans for
// [Node.Spans], but for benchmarks.
func Start(t testing.TB, cfg node.Config) *Node {
	t.Helper()
	log := join(t)
	n := &Node{t: t}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	}
	if cfg.StopTimeout == 0 {
		cfg.StopTimeout = stopTimeout
	}
	if _, benchmark := t.(*testing.B); cfg.TracerProvider == nil && !benchmark {
		n.spans = tracetest.NewInMemoryExporter()
		cfg.TracerProvider = keep(n.spans)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var err error
	if n.Node, err = node.Start(ctx, cfg); err != nil {
		t.Fatalf("nodetest: %v", err)
	}
	t.Cleanup(func() {
		if n.stopped.Load() {
			return // and the test has had the error
		}
		if err := n.Stop(context.Background()); err != nil {
			t.Errorf("nodetest: %v", err)
		}
	})
	return n
}

// Stop is [node.Node.Stop], for tests that stop a node themselves: its error is
// theirs to judge then, and the test's end is content.
func (n *Node) Stop(ctx context.Context) error {
	n.stopped.Store(true)
	return n.Node.Stop(ctx)
}
