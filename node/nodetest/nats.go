package nodetest

import (
	"context"
	"testing"

	"github.com/civitas-go/civitas/internal/natsserver"
	"github.com/civitas-go/civitas/node"
)

// NATS starts a NATS server with JetStream in this process, on a free port of
// the loopback interface, and is the connector to it; its URL is where other
// clients find it. It ends with the test, so start it before the nodes. It does
// not work in virtual time.
func NATS(t testing.TB) node.NATS {
	t.Helper()
	s, err := natsserver.Start(t.Context(), natsserver.Options{JetStream: true, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatalf("nodetest: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Errorf("nodetest: stop the NATS server: %v", err)
		}
	})
	return node.NATS{URL: s.ClientURL()}
}
