package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/natsserver"
	"github.com/civitas-go/civitas/internal/natstest"
	"github.com/civitas-go/civitas/transport"
)

// joinNATS joins over a connection of its own, as a node does.
func joinNATS(t *testing.T, node, url string, wait time.Duration) *cluster.Registry {
	t.Helper()
	conn, err := transport.DialNATS(t.Context(), transport.NATSOptions{
		URL: url, Name: node, ReconnectWait: wait, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	r, err := cluster.Join(t.Context(), openJetStream(t, conn, "dev"), cluster.NodeInfo{Node: node, Links: linksOf(t, conn)})
	if err != nil {
		t.Fatalf("join as %s: %v", node, err)
	}
	t.Cleanup(func() { _ = r.Close() })
	eventually(t, "there are events", func() bool { return r.Events() == nil })
	return r
}

// A node whose connections end is succeeded long before its silence would tell.
func TestFastDeathOverNATS(t *testing.T) {
	t.Parallel()
	s := startServer(t, natsserver.Options{JetStream: true, DisconnectEvents: disconnects})
	r1, r2 := joinNATS(t, "n1", s.ClientURL(), 0), joinNATS(t, "n2", s.ClientURL(), 0)
	old := claim(t, r1, "a")
	awaitWitness(t, r1, openJetStream(t, connect(t, s), "dev"), s.ID())
	down := make(chan error, 1)
	r2.Follow(r1.Incarnation(), func(reason error) { down <- reason })
	began := time.Now()
	if err := r1.Close(); err != nil { // as a crash would
		t.Fatal(err)
	}
	if reason := <-down; !errors.Is(reason, genserver.ErrNodeDown) {
		t.Errorf("follower: got %v, want ErrNodeDown", reason)
	}
	if took := time.Since(began); took < 700*time.Millisecond || took > 8*time.Second {
		t.Errorf("got the verdict after %v, want it after 0.7s", took)
	}
	if epoch := claimSoon(t, r2, "a"); epoch <= old {
		t.Errorf("epoch: got %d after %d, want more", epoch, old)
	}
	leave(t, r2)
}

// awaitWitness waits until a session on record names a witness to a server.
func awaitWitness(t *testing.T, r *cluster.Registry, s cluster.Store, server string) {
	t.Helper()
	eventually(t, "a witness is on record", func() bool {
		e, err := s.Get(t.Context(), cluster.Key{Kind: cluster.KindSession, Name: r.Incarnation()})
		if err != nil {
			return false
		}
		rec, err := cluster.DecodeSession(e.Value)
		return err == nil && slices.ContainsFunc(rec.Witnesses, func(w cluster.Witness) bool { return w.Server == server })
	})
}

// Whatever way the only server takes to be started anew, no living node is
// declared dead by it.
func TestServersRestartKillsNobody(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*server.Server){
		"stopped":   natstest.Stop,
		"lame duck": (*server.Server).LameDuckShutdown,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := fmt.Sprintf(`
listen: "127.0.0.1:%d"
jetstream { store_dir: %q }
lame_duck_grace_period: "1s"
lame_duck_duration: "30s"
no_auth_user: app
`, freePort(t), t.TempDir()) + accounts(disconnects, disconnects)
			s := natstest.Start(t, config)
			r1, r2 := joinNATS(t, "n1", s.ClientURL(), 2*time.Second), joinNATS(t, "n2", s.ClientURL(), 10*time.Millisecond)
			epoch := claim(t, r1, "a")
			store := openJetStream(t, dial(t, transport.NATSOptions{URL: s.ClientURL()}), "dev")
			awaitWitness(t, r1, store, s.ID())
			awaitWitness(t, r2, store, s.ID())
			stop1 := r2.Follow(r1.Incarnation(), func(reason error) { t.Errorf("n1: got %v, want it alive", reason) })
			stop2 := r1.Follow(r2.Incarnation(), func(reason error) { t.Errorf("n2: got %v, want it alive", reason) })
			end(s)
			<-time.After(time.Second)
			again := natstest.Start(t, config)
			awaitWitness(t, r1, store, again.ID())
			awaitWitness(t, r2, store, again.ID())
			eventually(t, "the gates are open", func() bool { return r1.Gate().Open() && r2.Gate().Open() })
			<-time.After(2 * time.Second)
			wantOwner(t, r2, "a", r1, epoch)
			stop1()
			stop2()
			leave(t, r1)
			leave(t, r2)
		})
	}
}
