package node_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/supervisor"
)

func TestAlone(t *testing.T) {
	t.Parallel()
	n := start(t, config("n1", nil, public("box", hooks{}), supervisor.Child{Name: "echo", Run: Echo.With(struct{}{})}))
	ctx := t.Context()
	noErr(t, "cast", n.Ref("box").Cast(ctx, Put{X: 7}))
	if got := get(t, n.Ref("box").On("n1")).X; got != 7 {
		t.Errorf("box: got %d, want 7", got)
	}
	m, err := genserver.Call(ctx, n.Ref("echo"), genserver.Map{"a": 1})
	noErr(t, "map call", err)
	if m["node"] != "n1" {
		t.Errorf("echo: got %v, want node n1", m)
	}
	for _, ref := range []genserver.Ref{n.Ref("nobody"), n.Ref("box").On("n2")} {
		_, err := genserver.Call(ctx, ref, Get{})
		wantErr(t, "call "+ref.String(), err, genserver.ErrNoProcess, true)
	}
	if n.URL() != "" || n.Incarnation() != "" || n.Cluster() != "dev" || n.Name() != "n1" {
		t.Errorf("got URL %q, incarnation %q, cluster %q, name %q; want none, none, dev, n1", n.URL(), n.Incarnation(), n.Cluster(), n.Name())
	}
	stop(t, n)
	_, err = genserver.Call(ctx, n.Ref("box"), Get{})
	wantErr(t, "call a stopped node", err, genserver.ErrDraining, true)
}

// Every node reaches every server of every other one, by each kind of message.
func TestFromEachToEach(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		var nodes []*node.Node
		for i := range 3 {
			name := fmt.Sprintf("n%d", i+1)
			nodes = append(nodes, start(t, config(name, nats,
				local("box", hooks{}), // the same name on each
				on(name, public("box."+name, hooks{})),
				on(name, supervisor.Child{Name: "echo." + name, Run: Echo.With(struct{}{}), Scope: supervisor.Cluster}))))
		}
		ctx := context.Background()
		x := 0
		for _, from := range nodes {
			if got := get(t, from.Ref("box")); got.Node != from.Name() {
				t.Errorf("box without a node, from %s: got node %s, want its own", from.Name(), got.Node)
			}
			for _, to := range nodes {
				way := from.Name() + " to " + to.Name()
				for _, ref := range []genserver.Ref{from.Ref("box." + to.Name()), from.Ref("box").On(to.Name())} {
					x++
					noErr(t, "cast "+way, ref.Cast(ctx, Put{X: x}))
					if got := get(t, ref); got.X != x || got.Node != to.Name() {
						t.Errorf("%s, %s: got %d of node %s, want %d of %s", way, ref, got.X, got.Node, x, to.Name())
					}
					noErr(t, "cast a Map "+way, ref.Cast(ctx, genserver.Map{"type": "put", "x": x + 1000}))
					m, err := genserver.Call(ctx, ref, genserver.Map{"type": "get"})
					noErr(t, "call with a Map "+way, err)
					if got := fmt.Sprint(m["x"]); got != fmt.Sprint(x+1000) {
						t.Errorf("%s, %s: got x = %s, want %d", way, ref, got, x+1000)
					}
					_, err = genserver.Call(ctx, ref, Fail{})
					wantErr(t, "a handler's error "+way, err, errNoSeat, false)
				}
				m, err := genserver.Call(ctx, from.Ref("echo."+to.Name()), genserver.Map{"text": "é", "list": []any{"a", true}})
				noErr(t, "echo "+way, err)
				got, _ := m["got"].(genserver.Map)
				if got == nil {
					plain, _ := m["got"].(map[string]any)
					got = plain
				}
				if diff := cmp.Diff(genserver.Map{"text": "é", "list": []any{"a", true}}, got); diff != "" || m["node"] != to.Name() {
					t.Errorf("echo %s: got %v, want what was sent and node %s:\n%s", way, m, to.Name(), diff)
				}
				// From within a server.
				if from != to {
					v, err := genserver.Call(ctx, from.Ref("box"), Pass{To: "box", ToNode: to.Name(), X: x + 5000})
					noErr(t, "pass "+way, err)
					if v.X != x+5000 || v.Node != to.Name() {
						t.Errorf("pass %s: got %+v, want %d of node %s", way, v, x+5000, to.Name())
					}
				}
			}
		}
		for _, n := range nodes {
			stop(t, n)
		}
	})
}

func TestUnknownName(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		n1, n2 := start(t, config("n1", nats)), start(t, config("n2", nats, local("box", hooks{})))
		began := time.Now()
		for _, ref := range []genserver.Ref{
			n1.Ref("nobody"), n2.Ref("nobody"),
			n1.Ref("box"),             // it is another node's own
			n1.Ref("nobody").On("n2"), // the node is there
			n1.Ref("box").On("n9"),    // the node isn't
			n1.Ref("no body"),         // it can't be a name
			n2.Ref("nobody").On("n2"), // this node
			n2.Ref("nobody").On("n1"), // and back
			n1.Ref("box").On("no de"),
		} {
			_, err := genserver.Call(t.Context(), ref, Get{}, genserver.WithTimeout(time.Minute))
			wantErr(t, "call "+ref.String(), err, genserver.ErrNoProcess, true)
			noErr(t, "cast "+ref.String(), ref.Cast(t.Context(), Put{}))
		}
		for _, ref := range []genserver.Ref{n1.Ref("nobody"), n1.Ref("box").On("n9")} {
			err := ref.Cast(t.Context(), Put{}, genserver.Strict())
			wantErr(t, "strict cast "+ref.String(), err, genserver.ErrNoProcess, true)
		}
		if took := time.Since(began); took > 20*time.Second { // of the minute; a busy machine has others to serve
			t.Errorf("unknown names took %v, want an answer at once", took)
		}
	})
}

func TestSecondNodeOfAName(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		n1 := start(t, config("n1", nats, public("box", hooks{})))
		ran := false
		_, err := node.Start(t.Context(), config("n1", nats, local("other", hooks{init: func(*genserver.Context) error {
			ran = true
			return nil
		}})))
		if !errors.Is(err, genserver.ErrNameTaken) {
			t.Fatalf("start a second n1: got %v, want ErrNameTaken", err)
		}
		wantText(t, "start a second n1", err, "n1", n1.Incarnation(), "join under another name")
		if ran {
			t.Error("a child of the refused node: got started, want not")
		}
		if got := get(t, n1.Ref("box")).Node; got != "n1" {
			t.Errorf("owner after the attempt: got %s, want n1", got)
		}
		stop(t, n1)
		stop(t, start(t, config("n1", nats)))
	})
}

// Other clusters on the same NATS are other worlds.
func TestClustersAreApart(t *testing.T) {
	t.Parallel()
	nats := node.URL(startNATS(t))
	a := start(t, config("n1", nats, public("box", hooks{})))
	cfg := config("n1", nats, public("box", hooks{}))
	cfg.Cluster = "other"
	b := start(t, cfg)
	noErr(t, "cast", a.Ref("box").Cast(t.Context(), Put{X: 1}))
	if x, y := get(t, a.Ref("box")).X, get(t, b.Ref("box")).X; x != 1 || y != 0 {
		t.Errorf("boxes of two clusters: got %d and %d, want 1 and 0", x, y)
	}
}

// A clean stop frees the names at once, and callers with an old route find the
// new owner.
func TestNamesMoveByStopAndStart(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		caller := start(t, config("caller", nats))
		var last uint64
		for i := range 4 {
			name := fmt.Sprintf("n%d", i%2)
			n := start(t, config(name, nats, public("box", hooks{init: func(ctx *genserver.Context) error {
				if epoch := ctx.Epoch(); epoch <= last {
					t.Errorf("epoch %d: got no more than the one before, %d", epoch, last)
				} else {
					last = epoch
				}
				return nil
			}})))
			if got := get(t, caller.Ref("box")).Node; got != name {
				t.Errorf("round %d: got node %s, want %s", i, got, name)
			}
			if got := get(t, caller.Ref("box").On(name)).Node; got != name {
				t.Errorf("round %d, by node: got node %s, want %s", i, got, name)
			}
			stop(t, n)
			for _, ref := range []genserver.Ref{caller.Ref("box"), caller.Ref("box").On(name)} {
				_, err := genserver.Call(t.Context(), ref, Get{})
				wantErr(t, "call after the stop", err, genserver.ErrNoProcess, true)
			}
		}
	})
}

// crashedNode leaves the records of a node that ended without giving its name,
// and those of servers, back.
func crashedNode(t *testing.T, nats node.Connector, name string, servers ...string) {
	t.Helper()
	link, err := nats.Connect(t.Context(), node.LinkOptions{Node: name, Cluster: "dev", Logger: quiet})
	if err != nil {
		t.Fatalf("connect as %s: got %v, want nil", name, err)
	}
	r, err := cluster.Join(t.Context(), link.Store, cluster.NodeInfo{Node: name})
	if err != nil {
		t.Fatalf("join as %s: got %v, want nil", name, err)
	}
	for _, server := range servers {
		_, err := r.Claim(t.Context(), server)
		noErr(t, "claim "+server, err)
	}
	noErr(t, "close", r.Close())
	noErr(t, "disconnect", link.Close(t.Context()))
}

// Calls to the names of a node that crashed wait for a new owner.
func TestCallsToACrashedNode(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		crashedNode(t, nats, "ghost", "box")
		n1 := start(t, config("n1", nats))
		for _, ref := range []genserver.Ref{n1.Ref("box"), n1.Ref("any").On("ghost")} {
			noErr(t, "a cast, for the route to be known", ref.Cast(t.Context(), Put{}))
			const timeout = 300 * time.Millisecond
			began := time.Now()
			_, err := genserver.Call(t.Context(), ref, Get{}, genserver.WithTimeout(timeout))
			wantErr(t, "call "+ref.String(), err, genserver.ErrUnavailable, true)
			wantText(t, "call "+ref.String(), err, "node ghost")
			if took := time.Since(began); took < timeout {
				t.Errorf("call %s: got an answer after %v, want it at the deadline, %v", ref, took, timeout)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancelled := callAsyncCtx(ctx, n1.Ref("box"), Get{})
		cancel()
		if err := receive(t, "canceled call", cancelled); !genserver.NotDelivered(err) {
			t.Errorf("canceled call to a leftover name: got %v, want an undelivered one", err)
		}
	})
}

// A node that crashed is succeeded by the next one of its name, and its servers'
// names by whoever starts them, once it is known to be dead.
func TestNamesOfACrashedNodeAreTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		caller := start(t, config("caller", m))
		for _, successor := range []string{"ghost", "n1"} {
			crashedNode(t, m, "ghost", "box")
			call := callAsync(caller.Ref("box"), Get{}, genserver.WithTimeout(time.Minute))
			// What was heard of the ghost last is still taken for life.
			<-time.After(5 * time.Second)
			began := time.Now()
			n := start(t, config(successor, m, public("box", hooks{})))
			if took := time.Since(began); took > 17*time.Second {
				t.Errorf("start of %s: took %v, want some 15s at most", successor, took)
			}
			noErr(t, "call made while nobody owned the name", receive(t, "call", call))
			if got := get(t, caller.Ref("box")).Node; got != successor {
				t.Errorf("the owner: got %s, want %s", got, successor)
			}
			stop(t, n)
		}
	})
}

func callAsyncCtx(ctx context.Context, to genserver.Ref, r Get) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := genserver.Call(ctx, to, r, genserver.WithTimeout(time.Minute))
		done <- err
	}()
	return done
}

// A call to a name on record, whose owner comes back within its time, is made.
func TestCallWaitsForANewOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		link, err := m.Connect(t.Context(), node.LinkOptions{Node: "ghost"})
		noErr(t, "connect", err)
		r, err := cluster.Join(t.Context(), link.Store, cluster.NodeInfo{Node: "ghost"})
		noErr(t, "join", err)
		_, err = r.Claim(t.Context(), "box")
		noErr(t, "claim", err)

		n1 := start(t, config("n1", m))
		done := callAsync(n1.Ref("box"), Get{}, genserver.WithTimeout(time.Minute))
		<-time.After(10*time.Second + 100*time.Millisecond) // between two looks
		noErr(t, "leave", r.Leave(t.Context()))
		noErr(t, "disconnect", link.Close(t.Context()))
		start(t, config("n2", m, public("box", hooks{})))
		owned := time.Now()
		noErr(t, "call made before there was an owner", receive(t, "call", done))
		if took := time.Since(owned); took > 10*time.Millisecond {
			t.Errorf("got the answer %v after there was an owner, want it at once", took)
		}
	})
}

func TestCancelledCall(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		h := held()
		n1 := start(t, config("n1", nats))
		start(t, config("n2", nats, public("box", h)))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := genserver.Call(ctx, n1.Ref("box"), Hold{})
			done <- err
		}()
		receive(t, "the handler", h.entered)
		cancel()
		err := receive(t, "call", done)
		wantErr(t, "canceled call", err, genserver.ErrTimeout, false)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("canceled call: got %v, want it to match context.Canceled", err)
		}
		close(h.gate)
	})
}

func wantText(t testing.TB, what string, err error, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s: got error %q, want %q in it", what, err, text)
		}
	}
}
