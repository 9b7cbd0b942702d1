package node_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/supervisor"
)

// A handler panics with a full mailbox behind it: everyone on the other node
// knows at once, however long they would have waited.
func TestCrashIsKnownAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		h := held()
		n1, n2 := start(t, config("n1", nats)), start(t, config("n2", nats, public("box", h)))
		noErr(t, "cast", n1.Ref("box").Cast(t.Context(), Put{X: 1}))
		before := get(t, n1.Ref("box"))
		long := genserver.WithTimeout(10 * time.Minute)
		running := callAsync(n1.Ref("box"), Hold{Panic: true}, long)
		receive(t, "the handler", h.entered)

		// One more than the mailbox holds is refused; the others are in it then.
		const callers = genserver.DefaultMailbox + 1
		ends := make(chan error, callers)
		for range callers {
			go func() {
				_, err := genserver.Call(t.Context(), n1.Ref("box"), Get{}, long)
				ends <- err
			}()
		}
		wantErr(t, "the call beyond the mailbox", receive(t, "overload", ends), genserver.ErrOverloaded, true)

		began := time.Now()
		close(h.gate)
		for range genserver.DefaultMailbox {
			err := receive(t, "the end of a queued call", ends)
			if !errors.Is(err, genserver.ErrExit) || !errors.Is(err, genserver.ErrPanic) || !genserver.NotDelivered(err) {
				t.Fatalf("queued call: got %v, want ErrExit with the panic as reason, undelivered", err)
			}
		}
		err := receive(t, "the end of the running call", running)
		if took := time.Since(began); took > 10*time.Second { // of the ten minutes; a busy machine has others to serve
			t.Errorf("the last caller: got its answer after %v, want it at once", took)
		}
		wantErr(t, "running call", err, genserver.ErrExit, false)
		wantText(t, "running call", err, "box", "out of seats")

		after := get(t, n1.Ref("box"))
		if after.X != 0 || after.Life <= before.Life || after.Node != n2.Name() {
			t.Errorf("after the restart: got %+v, want a fresh box in a later life than %d", after, before.Life)
		}
	})
}

// Calls made while a cluster-wide name is between two lives wait for the next.
func TestCallsBetweenTwoLivesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		h := held()
		cfg := config("n2", m, public("box", h), local("own", h))
		cfg.Tree.Backoff = supervisor.Backoff{Growth: supervisor.Constant, Base: 3 * time.Second}
		n2 := start(t, cfg)
		n1 := start(t, config("n1", m))
		first := get(t, n1.Ref("box")).Life
		close(h.gate)
		_, err := genserver.Call(t.Context(), n1.Ref("box"), Hold{Panic: true})
		wantErr(t, "crash", err, genserver.ErrExit, false)

		began := time.Now()
		var wg sync.WaitGroup
		for _, from := range []*node.Node{n1, n2, n1, n2} {
			wg.Go(func() {
				noErr(t, "cast", from.Ref("box").Cast(t.Context(), Put{X: 5}))
				if got := get(t, from.Ref("box")); got.Life <= first || got.X != 5 {
					t.Errorf("call between two lives: got %+v, want a later life than %d, and the cast before", got, first)
				}
			})
		}
		wg.Wait()
		if took := time.Since(began); took < 3*time.Second || took > 4*time.Second {
			t.Errorf("calls between two lives: got answers after %v, want them after the backoff, 3s", took)
		}

		// A short timeout ends undelivered.
		_, err = genserver.Call(t.Context(), n1.Ref("box"), Hold{Panic: true})
		wantErr(t, "second crash", err, genserver.ErrExit, false)
		_, err = genserver.Call(t.Context(), n2.Ref("box"), Get{}, genserver.WithTimeout(time.Second))
		wantErr(t, "short call between two lives", err, genserver.ErrTimeout, true)

		// A node-local name is unknown between two lives.
		_, err = genserver.Call(t.Context(), n1.Ref("own").On("n2"), Hold{Panic: true})
		wantErr(t, "crash of a local server", err, genserver.ErrExit, false)
		_, err = genserver.Call(t.Context(), n1.Ref("own").On("n2"), Get{})
		wantErr(t, "local name between two lives", err, genserver.ErrNoProcess, true)
	})
}

// A child that is stopped for good gives its name back, while the node runs on.
func TestNameOfAStoppedChildIsFree(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		child := public("box", hooks{})
		child.Restart = supervisor.Transient
		n1 := start(t, config("n1", nats, child))
		noErr(t, "stop the child", n1.Ref("box").Stop(t.Context(), nil))
		// The supervisor gives the name back on its own time.
		deadline := time.Now().Add(10 * time.Second)
		for {
			n2, err := node.Start(t.Context(), config("n2", nats, public("box", hooks{})))
			if err == nil {
				stop(t, n2)
				return
			}
			if !errors.Is(err, genserver.ErrNameTaken) || time.Now().After(deadline) {
				t.Fatalf("start n2: got %v, want the name free", err)
			}
		}
	})
}
