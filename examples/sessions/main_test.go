package main

import (
	"errors"
	"testing"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/node/nodetest"
)

func TestSessionRegistry(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, node.Config{Tree: tree})
	registry := n.Ref("sessions")
	opened, err := genserver.Call(t.Context(), registry, genserver.Map{"type": "open", "user": "ada"})
	if err != nil || opened["id"] != "s1" {
		t.Errorf("open: got %v, %v; want id s1", opened, err)
	}
	wantCount(t, n, 1)
	if err := registry.Cast(t.Context(), genserver.Map{"type": "close", "id": "s1"}); err != nil {
		t.Errorf("close: got %v, want nil", err)
	}
	wantCount(t, n, 0) // the call comes after the cast
	_, err = genserver.Call(t.Context(), registry, genserver.Map{"type": "dance"})
	if !errors.Is(err, ErrUnknownCall) {
		t.Errorf("dance: got %v, want ErrUnknownCall", err)
	}
}

func wantCount(t *testing.T, n *nodetest.Node, want int) {
	t.Helper()
	got, err := genserver.Call(t.Context(), n.Ref("sessions"), genserver.Map{"type": "count"})
	if err != nil || got["count"] != want {
		t.Errorf("count: got %v, %v; want %d", got, err, want)
	}
}
