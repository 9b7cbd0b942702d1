package node_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/supervisor"
	"github.com/civitas-go/civitas/transport"
)

func TestConfigErrorsNameTheFields(t *testing.T) {
	t.Parallel()
	_, err := node.Start(t.Context(), node.Config{
		Name: "a.b", Cluster: "agent", StopTimeout: -1, Failover: "faster",
		Tree: supervisor.Spec{Children: []supervisor.Child{{Name: "x"}}},
	})
	if err == nil {
		t.Fatal("start: got nil, want an error")
	}
	wantText(t, "start", err, "node config", "Name: ", "Cluster: ", "StopTimeout: ", "Failover: ", "Tree: ", "nothing to run")
}

func TestDefaultName(t *testing.T) {
	t.Parallel()
	a, b := node.DefaultName(), node.DefaultName()
	if a == b {
		t.Errorf("two default names: got %s twice, want two", a)
	}
	n := start(t, node.Config{Logger: quiet})
	if n.Name() == "" || n.Cluster() != node.DefaultCluster {
		t.Errorf("got node %q of cluster %q, want a name and %s", n.Name(), n.Cluster(), node.DefaultCluster)
	}
}

func TestStartWithoutNATSThere(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"nats://127.0.0.1:1", "http://127.0.0.1:1"} {
		_, err := node.Start(t.Context(), config("n1", node.URL(url)))
		if !errors.Is(err, transport.ErrNotConnected) {
			t.Errorf("start with %s: got %v, want ErrNotConnected", url, err)
		}
		wantText(t, "start", err, "start node n1", url)
	}
}

func TestURLWithoutPassword(t *testing.T) {
	t.Parallel()
	url := strings.Replace(startNATS(t), "nats://", "nats://user:secret@", 1)
	n := start(t, config("n1", node.URL(url)))
	if got := n.URL(); strings.Contains(got, "secret") || !strings.HasPrefix(got, "nats://") {
		t.Errorf("URL: got %s, want a NATS URL without the password", got)
	}
}

// A start that fails stops what it had started, and leaves no name behind.
func TestFailedStartLeavesNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		broken := errors.New("no disk")
		ended := false
		_, err := node.Start(t.Context(), config("n1", nats,
			public("box", hooks{terminate: func(error) { ended = true }}),
			public("broken", hooks{init: func(*genserver.Context) error { return broken }})))
		if err == nil {
			t.Fatal("start: got nil, want the child's error")
		}
		wantText(t, "start", err, "start node n1", "child broken", "no disk")
		if !ended {
			t.Error("the child before it: got no terminate, want one")
		}
		stop(t, start(t, config("n1", nats, public("box", hooks{}), public("broken", hooks{}))))
	})
}

// A start whose context ends while a child is in its init gives up.
func TestStartGivesUpWithItsContext(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err := node.Start(ctx, config("n1", nats,
			public("box", hooks{}),
			public("slow", hooks{init: func(ctx *genserver.Context) error {
				cancel()
				<-ctx.Done()
				return context.Cause(ctx)
			}})))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("start: got %v, want context.Canceled", err)
		}
		stop(t, start(t, config("n1", nats, public("box", hooks{}), public("slow", hooks{}))))

		_, err = node.Start(ctx, config("n2", nats, public("box", hooks{})))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("start with an ended context: got %v, want context.Canceled", err)
		}
		stop(t, start(t, config("n2", nats, public("box", hooks{}))))
	})
}

// An init that does not end can't be killed, but the start ends all the same.
func TestStartWithAnInitThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		gate := make(chan struct{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := node.Start(ctx, config("n1", m, public("box", hooks{init: func(*genserver.Context) error {
			<-gate
			return nil
		}})))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("start: got %v, want context.DeadlineExceeded", err)
		}
		if took := time.Since(began); took > time.Second+10*time.Second {
			t.Errorf("start: got its end after %v, want it with its context or soon after", took)
		}
		stop(t, start(t, config("n1", m, public("box", hooks{}))))
		close(gate)
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		ended := make(chan error, 1)
		n := start(t, config("n1", nats, public("box", hooks{terminate: func(reason error) { ended <- reason }})))
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- n.Run(ctx) }()
		get(t, n.Ref("box"))
		cancel()
		noErr(t, "run", receive(t, "run", ran))
		if reason := receive(t, "terminate", ended); !errors.Is(reason, genserver.Shutdown) {
			t.Errorf("terminate: got reason %v, want Shutdown", reason)
		}
		stop(t, start(t, config("n1", nats, public("box", hooks{}))))
	})
}

// A tree that gives up ends Run, with the chain of reasons down to the handler.
func TestRunEndsWithTheTree(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		h := held()
		close(h.gate)
		inner := tree(local("box", h))
		inner.MaxRestarts = 1
		cfg := config("n1", nats, local("beside", hooks{}), supervisor.Child{Name: "inner", Run: inner})
		cfg.Tree.MaxRestarts = supervisor.NoRestarts
		n := start(t, cfg)
		ran := make(chan error, 1)
		go func() { ran <- n.Run(context.Background()) }()
		for range 2 {
			noErr(t, "call", receive(t, "call", served(n.Ref("box")))) // which may be between two lives
			_, err := genserver.Call(t.Context(), n.Ref("box"), Hold{Panic: true})
			wantErr(t, "crash", err, genserver.ErrExit, false)
		}
		err := receive(t, "run", ran)
		if !errors.Is(err, supervisor.ErrRestartLimit) || !errors.Is(err, genserver.ErrPanic) {
			t.Fatalf("run: got %v, want ErrRestartLimit and, at the end of the chain, the panic", err)
		}
		wantText(t, "run", err, "node n1", "inner", "box", "out of seats")
		if !errors.Is(n.Err(), supervisor.ErrRestartLimit) {
			t.Errorf("Err: got %v, want the tree's reason", n.Err())
		}
		stop(t, start(t, config("n1", nats, public("box", hooks{}))))
	})
}
