package genserver_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

// A name that is lost ends its server at once: no terminate, no release; whoever
// was being served does not know the outcome, and whoever waited is served by
// the new owner.
func TestFence(t *testing.T) {
	onGated(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
		asked := make(chan string, 10)
		s, gate, claim := gated(t, func(r *fakeRouter) {
			r.request = func(_ context.Context, m *genserver.Outgoing) (genserver.Body, error) {
				asked <- m.To
				return jsonBody(`{"n":3}`), nil
			}
		})
		w := newWatcher()
		p, err := s.Start(t.Context(), "p", typ.With(hooks{terminate: func(*genserver.Context, error) { t.Error("got terminate of a fenced server") }}),
			genserver.SpawnOptions{Scope: genserver.Cluster, Watcher: w})
		noErr(t, "start", err)
		entered, leave := make(chan struct{}), make(chan struct{})
		running := genserver.CallAsync(t.Context(), s.Ref("p"), Do{Fn: func(c *genserver.Context) (Done, error) {
			close(entered)
			<-leave
			wantErr(t, "cast of a fenced handler", c.Ref("q").Cast(c, Tell{}), genserver.ErrFenced, true)
			return Done{1}, nil
		}})
		<-entered
		queued := make(chan Done, 3)
		go func() {
			rep, err := genserver.Call(t.Context(), s.Ref("p"), Do{})
			noErr(t, "queued call", err)
			queued <- rep
		}()
		go func() {
			rep, err := genserver.Call(t.Context(), s.Ref("p"), genserver.Map{"type": "do"})
			noErr(t, "queued Map call", err)
			queued <- Done{int(rep["n"].(int64))}
		}()
		future := genserver.CallAsync(t.Context(), s.Ref("p"), Do{})
		in, a := inbound("p"), newAnswer()
		in.Reply = a
		s.Deliver(in)
		synctest.Wait()

		s.Fence("p", 6, "an old claim's loss")
		synctest.Wait()
		if p.Reason() != nil {
			t.Fatalf("got the end %v by the loss of another claim, want none", p.Reason())
		}
		gate.lose()
		s.Fence("p", 7, "node n2 owns it, epoch 9")
		if reason := <-w.exited; !errors.Is(reason, genserver.ErrFenced) || !strings.Contains(reason.Error(), "epoch 9") {
			t.Errorf("got the end %v, want fenced with the reason given", reason)
		}
		_, err = running.Await(t.Context())
		wantErr(t, "running call", err, genserver.ErrExit, false)
		if !errors.Is(err, genserver.ErrFenced) {
			t.Errorf("running call: got %v, want the reason fenced in it", err)
		}
		for range 2 {
			if rep := <-queued; rep.N != 3 {
				t.Errorf("queued call: got %v, want the new owner's answer", rep)
			}
		}
		rep, err := future.Await(t.Context())
		if noErr(t, "queued asynchronous call", err); rep.N != 3 {
			t.Errorf("queued asynchronous call: got %v, want the new owner's answer", rep)
		}
		if _, err, _ := a.once(); !errors.Is(err, genserver.ErrMoved) || !genserver.NotDelivered(err) {
			t.Errorf("queued call of another node's: got %v, want moved, undelivered", err)
		}
		close(leave)
		if claim.releases() != 0 || len(asked) != 3 {
			t.Errorf("got %d releases and %d calls of the new owner, want 0 and 3", claim.releases(), len(asked))
		}
	})
}

// Between two lives a lost name is forgotten as well, and what waited for it
// goes to the new owner.
func TestFenceBetweenTwoLives(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _, claim := gated(t, func(r *fakeRouter) {
			r.request = func(context.Context, *genserver.Outgoing) (genserver.Body, error) { return jsonBody(`{"n":3}`), nil }
		})
		startCluster(t, s, "p", Puppet.With(hooks{})).Kill()
		waiting := callAsync(t.Context(), s.Ref("p"), Do{})
		synctest.Wait()
		s.Fence("p", 7, "lost")
		noErr(t, "the call that waited", <-waiting)
		noErr(t, "release", s.Release(t.Context(), "p"))
		if claim.releases() != 0 {
			t.Errorf("got %d releases of a lost name, want none", claim.releases())
		}
	})
}

// While a start claims a name that turns out to be another node's, callers here
// wait for the outcome and are then served by its owner.
func TestCallersOfADoomedClaimReachTheOwner(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{Node: "n1", Router: &fakeRouter{
			claim: func(ctx context.Context, _ string) (genserver.Claim, error) {
				pass(2 * time.Second)
				return nil, &genserver.Error{Code: genserver.ErrNameTaken.Code, Text: "node n2 owns it"}
			},
			request: func(ctx context.Context, m *genserver.Outgoing) (genserver.Body, error) {
				if left := time.Until(m.Deadline); left > 3*time.Second {
					t.Errorf("got %v left of a call of 5 s after 2 s, want what is left", left)
				}
				return jsonBody(`{"n":3}`), nil
			},
		}})
		w := newWatcher()
		_, err := s.Spawn("p", Puppet.With(hooks{}), genserver.SpawnOptions{Scope: genserver.Cluster, Watcher: w})
		noErr(t, "spawn", err)
		typed, untyped := callAsync(t.Context(), s.Ref("p"), Do{}), make(chan error, 1)
		go func() {
			_, err := genserver.Call(t.Context(), s.Ref("p"), genserver.Map{"type": "do"})
			untyped <- err
		}()
		_, err = genserver.CallAsync(t.Context(), s.Ref("p"), Do{}).Await(t.Context())
		noErr(t, "asynchronous call", err)
		noErr(t, "call", <-typed)
		noErr(t, "Map call", <-untyped)
		if reason := <-w.exited; !errors.Is(reason, genserver.ErrNameTaken) {
			t.Errorf("got the end %v, want name taken", reason)
		}
	})
}
