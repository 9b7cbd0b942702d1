package supervisor_test

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/supervisor"
)

// A supervisor is asked from another node as from its own.
func TestAdminFromAnotherNode(t *testing.T) {
	t.Parallel()
	memory := node.NewMemory()
	start := func(name string, children ...supervisor.Child) *node.Node {
		n, err := node.Start(t.Context(), node.Config{
			Name: name, NATS: memory, Tree: supervisor.Spec{Children: children}, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	n1 := start("n1", supervisor.Child{Name: "pool", Run: supervisor.Dynamic{Types: []genserver.Type{fussyType}}})
	n2 := start("n2")
	defer func() {
		if err := errors.Join(n1.Stop(t.Context()), n2.Stop(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	pool := n2.Ref("pool").On("n1")
	add := supervisor.StartChild{Name: "f", Of: "test.Fussy", Config: genserver.Map{"n": 41}, Restart: supervisor.Permanent}
	if started, err := genserver.Call(t.Context(), pool, add); err != nil || started.Generation == 0 {
		t.Errorf("start: got %+v, %v, want a generation", started, err)
	}
	if _, err := genserver.Call(t.Context(), pool, add); !errors.Is(err, supervisor.ErrAlreadyStarted) {
		t.Errorf("start: got %v, want ErrAlreadyStarted", err)
	}
	all, err := genserver.Call(t.Context(), pool, supervisor.WhichChildren{})
	if err != nil || len(all.Children) != 1 || all.Children[0].Name != "f" || all.Children[0].Restart != "permanent" {
		t.Errorf("children: got %+v, %v, want f", all, err)
	}
	if got, err := genserver.Call(t.Context(), n2.Ref("f").On("n1"), incr{}); err != nil || got.N != 42 {
		t.Errorf("count: got %+v, %v, want 42", got, err)
	}
	if _, err := genserver.Call(t.Context(), pool, supervisor.TerminateChild{Name: "f"}); err != nil {
		t.Errorf("terminate: got %v, want nil", err)
	}
	if _, err := genserver.Call(t.Context(), pool, supervisor.TerminateChild{Name: "f"}); !errors.Is(err, supervisor.ErrNotFound) {
		t.Errorf("terminate: got %v, want ErrNotFound", err)
	}
}
