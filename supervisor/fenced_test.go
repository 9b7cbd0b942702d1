package supervisor_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

// A server whose name another node owns now is no crash: it's listed as stopped,
// with the reason, its siblings go on, and nothing counts as a restart.
func TestFencedChildStaysDown(t *testing.T) {
	inCluster(t, func(t *testing.T, w *world, router *claimRouter) {
		root := w.start(supervisor.Spec{
			Strategy: supervisor.OneForAll, MaxRestarts: supervisor.NoRestarts,
			Children: []supervisor.Child{w.clusterChild("a"), w.clusterChild("b")},
		})
		w.forget()
		router.mu.Lock()
		epoch := uint64(slices.Index(router.claimed, "b") + 1)
		router.held = slices.DeleteFunc(router.held, func(name string) bool { return name == "b" }) // another node's
		router.mu.Unlock()
		w.sys.Fence("b", epoch, "node n2 owns it, epoch 9")
		synctest.Wait()
		w.wantNotes() // no terminate, no init, and nothing of a's
		children, err := genserver.Call(t.Context(), root.Ref(), supervisor.WhichChildren{})
		if err != nil || len(children.Children) != 2 {
			t.Fatalf("which children: got %v, %v, want two", children, err)
		}
		a, b := children.Children[0], children.Children[1]
		if a.Status != "running" || b.Status != "stopped" || root.Reason() != nil {
			t.Errorf("got a %s, b %s, supervisor's end %v; want running, stopped, none", a.Status, b.Status, root.Reason())
		}
		if !errors.Is(w.process("b").Reason(), genserver.ErrFenced) {
			t.Errorf("got the end %v, want fenced", w.process("b").Reason())
		}
		if _, err := genserver.Call(t.Context(), root.Ref(), supervisor.RestartChild{Name: "b"}); err != nil {
			t.Errorf("restart once the name is free: got %v, want nil", err)
		}
	})
}
