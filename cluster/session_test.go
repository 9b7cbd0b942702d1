package cluster_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
)

// While the store is away the gate closes with the lease, and it opens again
// with the same session when the store is back.
func TestGateFollowsTheLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &faultStore{Store: cluster.NewMemory().Open()}
		r := join(t, s, "n1")
		gate := r.Gate()
		if !gate.Open() {
			t.Fatal("gate after Join: got closed, want open")
		}
		<-time.After(90*time.Second + 500*time.Millisecond)
		s.on(func(string, cluster.Key) fault { return unavailable })
		<-time.After(11 * time.Second)
		if !gate.Open() {
			t.Error("gate 11s after the store went away: got closed, want open")
		}
		<-time.After(time.Second)
		if gate.Open() {
			t.Error("gate 12s after the store went away: got open, want closed")
		}
		woken := make(chan struct{}, 2)
		gate.Await(func() { woken <- struct{}{} })
		cancel := gate.Await(func() { t.Error("a wait that was canceled: got woken") })
		cancel()
		<-time.After(time.Hour)
		if len(woken) > 0 {
			t.Error("with the gate closed: got woken")
		}
		s.on(nil)
		<-woken
		if !gate.Open() || r.Err() != nil {
			t.Errorf("with the store back: got a closed gate or error %v, want it open", r.Err())
		}
		gate.Await(func() { woken <- struct{}{} })
		<-woken // at once
		leave(t, r)
		if gate.Open() {
			t.Error("gate after Leave: got open, want closed")
		}
	})
}

// A node that could not renew for long is declared dead by the one who wants
// its name, and learns that when it can read again.
func TestSilentNodeLosesItsNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := cluster.NewMemory()
		s := &faultStore{Store: m.Open()}
		r1, r2 := join(t, s, "n1"), join(t, m.Open(), "n2")
		old := claim(t, r1, "a")
		_, err := r2.Claim(t.Context(), "a")
		wantCode(t, err, genserver.ErrNameTaken, "a", false)

		ended := make(chan error, 1)
		r2.Follow(r1.Incarnation(), func(reason error) { ended <- reason })
		s.on(func(string, cluster.Key) fault { return unavailable })
		s.deaf.Store(true)
		began := time.Now()
		<-time.After(5 * time.Second)
		epoch := claim(t, r2, "a")
		if took := time.Since(began); took < 14*time.Second || took > 16*time.Second {
			t.Errorf("take-over: got it after %v, want it after 15s", took)
		}
		if epoch <= old {
			t.Errorf("epoch: got %d after %d, want more", epoch, old)
		}
		if reason := <-ended; !errors.Is(reason, genserver.ErrNodeDown) {
			t.Errorf("follower: got %v, want ErrNodeDown", reason)
		}
		if r1.Gate().Open() {
			t.Error("gate of the node that was declared dead: got open, want closed")
		}
		select {
		case <-r1.Lost():
			t.Error("the node has learned of its death without the store")
		default:
		}
		s.on(nil)
		<-r1.Lost()
		if err := r1.Err(); !errors.Is(err, genserver.ErrFenced) {
			t.Errorf("Err: got %v, want ErrFenced", err)
		}
		_, err = r1.Claim(t.Context(), "b")
		if !errors.Is(err, genserver.ErrFenced) {
			t.Errorf("Claim of a node that is lost: got %v, want ErrFenced", err)
		}
		leave(t, r1)
		wantOwner(t, r2, "a", r2, epoch)
		leave(t, join(t, m.Open(), "n1")) // its name is free
	})
}

// A process that crashed is succeeded by the next one of its node's name.
func TestCrashedNodeComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := cluster.NewMemory()
		r1 := join(t, m.Open(), "n1")
		claim(t, r1, "a")
		if err := r1.Close(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		r2 := join(t, m.Open(), "n1")
		if took := time.Since(began); took < 14*time.Second || took > 17*time.Second {
			t.Errorf("the next Join: took %v, want 15s", took)
		}
		began = time.Now()
		claim(t, r2, "a")
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("the name of a node known to be dead: took %v, want it at once", took)
		}
	})
}

// A node whose embedded server came back with it need not wait.
func TestCrashedEmbeddedNodeComesBackAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := cluster.NewMemory()
		info := cluster.NodeInfo{Node: "n1", EmbeddedServer: "S1"}
		r1, err := cluster.Join(t.Context(), m.Open(), info)
		if err != nil {
			t.Fatal(err)
		}
		claim(t, r1, "a")
		_ = r1.Close() // never fails
		began := time.Now()
		info.EmbeddedServer = "S2"
		r2, err := cluster.Join(t.Context(), m.Open(), info)
		if err != nil {
			t.Fatal(err)
		}
		claim(t, r2, "a")
		if took := time.Since(began); took > time.Second {
			t.Errorf("Join and Claim: took %v, want them at once", took)
		}
		leave(t, r2)
	})
}

// An incarnation that leaves is known to its followers, those who come late too.
func TestFollowOfOneThatLeaves(t *testing.T) {
	onEachStore(t, func(t *testing.T, b bundle) {
		r1, r2 := join(t, b.open(), "n1"), join(t, b.open(), "n2")
		ended := make(chan error, 3)
		r2.Follow(r1.Incarnation(), func(reason error) { ended <- reason })
		stop := r2.Follow(r1.Incarnation(), func(error) { t.Error("a follow that was stopped: got called") })
		stop()
		stop()
		leave(t, r1)
		for range 2 {
			select {
			case reason := <-ended:
				wantText(t, reason, "node is down", r1.Incarnation(), "has left")
			case <-time.After(10 * time.Second):
				t.Fatal("follower: got no word in 10s")
			}
			r2.Follow(r1.Incarnation(), func(reason error) { ended <- reason })
		}
		r2.Follow(cluster.NewIncarnation(), func(reason error) { ended <- reason }) // never was
		if reason := <-ended; !errors.Is(reason, genserver.ErrNodeDown) {
			t.Errorf("follower of nobody: got %v, want ErrNodeDown", reason)
		}
	})
}

// Times that let two own a name are refused, with the numbers.
func TestTimingIsChecked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		timing cluster.Timing
		want   string
	}{
		{cluster.Timing{Judge: 12 * time.Second}, "judge 12s is too short for a lease of 12s: with clocks up to 7.5% fast or slow it must be 13.946s at least"},
		{cluster.Timing{Lease: time.Second, Renew: 400 * time.Millisecond}, "lease 1s is too short: it must be three times renew, 400ms"},
		{cluster.Timing{Standing: time.Second}, "standing 1s is too short: it must be twice renew, 1s"},
		{cluster.Timing{Event: 650 * time.Millisecond}, "event 650ms is too short for a pong of 600ms: with clocks up to 7.5% fast or slow it must be 697ms at least"},
		{cluster.Timing{Ping: 400 * time.Millisecond, Pong: 600 * time.Millisecond}, "pong 600ms is too short: it must be twice ping, 400ms"},
		{cluster.Timing{Lease: -time.Second}, "more than 0"},
	} {
		_, err := cluster.Join(t.Context(), cluster.NewMemory().Open(), cluster.NodeInfo{Node: "n1", Timing: tt.timing})
		wantText(t, err, "join as node n1: timing", tt.want)
	}
}

// Records that an operator removed, or another wrote over, take the name from
// its owner, whose session lives.
func TestNameThatIsTakenAway(t *testing.T) {
	t.Parallel()
	m := cluster.NewMemory()
	type loss struct {
		server string
		reason error
	}
	lost := make(chan loss, 4)
	r, err := cluster.Join(t.Context(), m.Open(), cluster.NodeInfo{
		Node: "n1", NameLost: func(server string, reason error) { lost <- loss{server, reason} },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer leave(t, r)
	foul := m.Open()
	a, b := claim(t, r, "a"), claim(t, r, "b")
	if err := foul.Delete(t.Context(), own("a"), a); err != nil {
		t.Fatal(err)
	}
	other, err := cluster.OwnerRecord{Incarnation: "Inc9", Node: "n9", Since: since}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := foul.Update(t.Context(), own("b"), other, b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct{ server, text string }{{"a", "its record was removed"}, {"b", "another has owned it since epoch"}} {
		got := <-lost
		if got.server != want.server || !errors.Is(got.reason, genserver.ErrFenced) {
			t.Errorf("got %s lost because of %v, want %s and ErrFenced", got.server, got.reason, want.server)
		}
		wantText(t, got.reason, want.text)
	}
	release(t, r, "b") // leaves the other's alone
	if e, err := foul.Get(t.Context(), own("b")); err != nil || string(e.Value) != string(other) {
		t.Errorf("after the release: got %s, error %v, want the other's record", e.Value, err)
	}
	claim(t, r, "a")
}

// The question is asked before every handler.
func TestGateCostsNothing(t *testing.T) {
	r := join(t, cluster.NewMemory().Open(), "n1")
	gate := r.Gate()
	if n := testing.AllocsPerRun(1000, func() { gate.Open() }); n != 0 {
		t.Errorf("Open: got %v allocations, want none", n)
	}
}

func BenchmarkGateOpen(b *testing.B) {
	r, err := cluster.Join(b.Context(), cluster.NewMemory().Open(), cluster.NodeInfo{Node: "n1"})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	gate := r.Gate()
	b.ReportAllocs()
	for b.Loop() {
		if !gate.Open() {
			b.Fatal("got a closed gate, want it open")
		}
	}
}
