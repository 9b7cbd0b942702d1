package main

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/node/nodetest"
)

func acquire(t *testing.T, n *nodetest.Node, want Grant) {
	t.Helper()
	got, err := genserver.Call(t.Context(), n.Ref("rate_limiter"), Acquire{}, genserver.WithTimeout(time.Second))
	if err != nil || got != want {
		t.Errorf("acquire: got %+v, %v; want %+v", got, err, want)
	}
}

func TestRateLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := nodetest.Start(t, node.Config{Tree: tree})
		for left := capacity - 1; left >= 0; left-- {
			acquire(t, n, Grant{OK: true, Remaining: left})
		}
		acquire(t, n, Grant{})
		<-time.After(time.Second) // of virtual time
		synctest.Wait()
		acquire(t, n, Grant{OK: true, Remaining: 9})

		// The same, untyped.
		if err := n.Ref("rate_limiter").Cast(t.Context(), genserver.Map{"type": "reset"}); err != nil {
			t.Errorf("reset: got %v, want nil", err)
		}
		got, err := genserver.Call(t.Context(), n.Ref("rate_limiter"), genserver.Map{"type": "acquire"})
		if err != nil || got["ok"] != true || got["remaining"] != int64(99) {
			t.Errorf("acquire as a Map: got %v, %v; want 99 left", got, err)
		}

		// A crash begins anew.
		n.Next("rate_limiter", n.Crash("rate_limiter", errors.New("out of ideas")))
		acquire(t, n, Grant{OK: true, Remaining: 99})
	})
}
