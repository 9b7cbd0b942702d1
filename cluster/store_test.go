package cluster_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/cluster/clustertest"
	"github.com/civitas-go/civitas/internal/natsserver"
	"github.com/civitas-go/civitas/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func startServer(t testing.TB, o natsserver.Options) *natsserver.Server {
	t.Helper()
	s, err := natsserver.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopServer(t, s) })
	return s
}

func stopServer(t testing.TB, s *natsserver.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

func connect(t testing.TB, s *natsserver.Server, o ...nats.Option) *transport.NATS {
	t.Helper()
	return dial(t, transport.NATSOptions{URL: s.ClientURL(), Options: o})
}

func dial(t testing.TB, o transport.NATSOptions) *transport.NATS {
	t.Helper()
	o.ReconnectWait = 10 * time.Millisecond
	o.Logger = slog.New(slog.DiscardHandler)
	c, err := transport.DialNATS(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func openJetStream(t testing.TB, nc *transport.NATS, cl string) cluster.Store {
	t.Helper()
	s, err := cluster.OpenJetStream(t.Context(), nc, cl, cluster.JetStreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// stores are what every test of the registry runs on; each open is of its own records.
func stores(t *testing.T) map[string]func(t *testing.T) func() cluster.Store {
	t.Helper()
	server := startServer(t, natsserver.Options{JetStream: true})
	var clusters atomic.Int64
	return map[string]func(t *testing.T) func() cluster.Store{
		"memory": func(*testing.T) func() cluster.Store { return cluster.NewMemory().Open },
		"jetstream": func(t *testing.T) func() cluster.Store {
			cl := fmt.Sprintf("test_%d", clusters.Add(1))
			return func() cluster.Store { return openJetStream(t, connect(t, server), cl) }
		},
	}
}

func TestStores(t *testing.T) {
	t.Parallel()
	for name, open := range stores(t) {
		t.Run(name, func(t *testing.T) { clustertest.TestStore(t, open) })
	}
}
