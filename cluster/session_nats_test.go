package cluster_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/natsserver"
)

// quick are times for tests in real time. They bear a machine that is busy for
// a second or so.
var quick = cluster.Timing{Lease: 2 * time.Second, Renew: 100 * time.Millisecond}

func joinQuick(t *testing.T, s cluster.Store, node string) *cluster.Registry {
	t.Helper()
	r, err := cluster.Join(t.Context(), s, cluster.NodeInfo{Node: node, Timing: quick})
	if err != nil {
		t.Fatalf("Join(%s): %v", node, err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// claimSoon claims a name until its owner is no longer taken for living.
func claimSoon(t *testing.T, r *cluster.Registry, name string) (epoch uint64) {
	t.Helper()
	eventually(t, "the name is taken over", func() bool {
		var err error
		if epoch, err = r.Claim(t.Context(), name); err != nil && !errors.Is(err, genserver.ErrNameTaken) {
			t.Fatalf("Claim(%s): got %v, want nil or name taken", name, err)
		}
		return err == nil
	})
	return epoch
}

func TestTakeOverOnJetStream(t *testing.T) {
	t.Parallel()
	server := startServer(t, natsserver.Options{JetStream: true})
	nc := connect(t, server)
	open := func() cluster.Store { return openJetStream(t, connect(t, server), "dev") }
	s1 := &faultStore{Store: open()}
	r1, r2 := joinQuick(t, s1, "n1"), joinQuick(t, open(), "n2")
	old := claim(t, r1, "a")
	ended := make(chan error, 1)
	r2.Follow(r1.Incarnation(), func(reason error) { ended <- reason })

	s1.on(func(string, cluster.Key) fault { return unavailable })
	s1.deaf.Store(true)
	epoch := claimSoon(t, r2, "a")
	if r1.Gate().Open() {
		t.Error("gate of the former owner: got open, want closed")
	}
	if epoch <= old {
		t.Errorf("epoch: got %d after %d, want more", epoch, old)
	}
	if reason := <-ended; !errors.Is(reason, genserver.ErrNodeDown) {
		t.Errorf("follower: got %v, want ErrNodeDown", reason)
	}
	stream, err := jsContext(t, nc).Stream(t.Context(), cluster.StreamName("dev"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := stream.GetLastMsgForSubject(t.Context(), cluster.RecordSubject("dev", cluster.Key{Kind: cluster.KindSession, Name: r1.Incarnation()}))
	if err != nil || m.Header.Get(jetstream.MsgTTLHeader) != "24h0m0s" {
		t.Errorf("the verdict: got TTL %q, error %v, want a day", m.Header.Get(jetstream.MsgTTLHeader), err)
	} else if rec, err := cluster.DecodeSession(m.Data); err != nil || rec.State != cluster.Dead || rec.By != r2.Incarnation() || rec.Node != "n1" {
		t.Errorf("the verdict: got %s, error %v, want n1 dead by n2", m.Data, err)
	}

	s1.on(nil)
	select {
	case <-r1.Lost():
	case <-time.After(20 * time.Second):
		t.Fatal("the former owner has not learned of its end in 20s")
	}
	leave(t, r1)
	wantOwner(t, r2, "a", r2, epoch)
	eventually(t, "the node's name is free", func() bool {
		r, err := cluster.Join(t.Context(), open(), cluster.NodeInfo{Node: "n1", Timing: quick})
		return err == nil && r.Leave(t.Context()) == nil
	})
}

// The gate closes while the server is away for longer than the lease, and opens
// again with the same session and names.
func TestGateOverAServersRestart(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	opts := natsserver.Options{JetStream: true, StoreDir: t.TempDir(), Port: l.Addr().(*net.TCPAddr).Port}
	_ = l.Close()
	server := startServer(t, opts)
	r1, r2 := joinQuick(t, openJetStream(t, connect(t, server), "dev"), "n1"), joinQuick(t, openJetStream(t, connect(t, server), "dev"), "n2")
	epoch := claim(t, r1, "a")
	stopServer(t, server)
	eventually(t, "the gates are closed", func() bool { return !r1.Gate().Open() && !r2.Gate().Open() })
	woken := make(chan struct{})
	r1.Gate().Await(func() { close(woken) })
	startServer(t, opts)
	select {
	case <-woken:
	case <-time.After(20 * time.Second):
		t.Fatal("the gate is closed 20s after the server came back")
	}
	if !r1.Gate().Open() || r1.Err() != nil {
		t.Errorf("got a closed gate or error %v, want the session as before", r1.Err())
	}
	_, err = r2.Claim(t.Context(), "a")
	wantCode(t, err, genserver.ErrNameTaken, "a", false)
	wantOwner(t, r2, "a", r1, epoch)
	leave(t, r1)
	leave(t, r2)
}
