package transport_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/civitas-go/civitas/transport"
	"github.com/civitas-go/civitas/transport/transporttest"
)

// startServer runs a NATS server; without a port it is reached in process only.
func startServer(t testing.TB, port int) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, DontListen: port == 0, NoLog: true, NoSigs: true,
	})
	if err != nil {
		t.Fatalf("new server: %v", err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("server is not ready")
	}
	return s
}

func dialNATS(t testing.TB, opts transport.NATSOptions) *transport.NATS {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := transport.DialNATS(ctx, opts)
	if err != nil {
		t.Fatalf("dial: got %v, want nil", err)
	}
	return c
}

// networks are the implementations, each with a way to make a fresh broker.
var networks = map[string]func(t *testing.T) transporttest.Dial{
	"Memory": func(*testing.T) transporttest.Dial { return transport.NewHub().Dial },
	"NATSInProcess": func(t *testing.T) transporttest.Dial {
		s := startServer(t, 0)
		return func(name string) transport.Conn {
			return dialNATS(t, transport.NATSOptions{Name: name, InProcess: s})
		}
	},
	"NATSOverTCP": func(t *testing.T) transporttest.Dial {
		s := startServer(t, server.RANDOM_PORT)
		return func(name string) transport.Conn {
			return dialNATS(t, transport.NATSOptions{Name: name, URL: s.ClientURL()})
		}
	},
}

func TestConformance(t *testing.T) {
	for name, network := range networks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			transporttest.TestConn(t, network)
		})
	}
}

func TestServing(t *testing.T) {
	for name, network := range networks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			transporttest.TestServe(t, network)
		})
	}
}
