package main

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/node/nodetest"
)

func TestTTLCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := nodetest.Start(t, node.Config{Tree: tree})
		cache := n.Ref("cache")
		if got, err := genserver.Call(t.Context(), cache, Set{Key: "typed", Value: "x"}); err != nil || !got.OK {
			t.Errorf("set: got %+v, %v; want OK", got, err)
		}
		_, err := genserver.Call(t.Context(), cache, genserver.Map{"op": "set", "key": "map", "value": 7, "ttl": 30})
		if err != nil {
			t.Errorf("set as a Map: got %v, want nil", err)
		}
		for _, want := range []struct {
			after      time.Duration
			typed, asM bool
		}{{0, true, true}, {29 * time.Second, true, true}, {time.Second, true, false}, {30 * time.Second, false, false}} {
			<-time.After(want.after)
			typed, err1 := genserver.Call(t.Context(), cache, Get{Key: "typed"})
			asMap, err2 := genserver.Call(t.Context(), cache, genserver.Map{"op": "get", "key": "map"})
			if typed.Hit != want.typed || asMap["hit"] != want.asM || err1 != nil || err2 != nil {
				t.Errorf("%v later: got %+v, %v and %v, %v; want hits %v and %v", want.after, typed, err1, asMap, err2, want.typed, want.asM)
			}
		}
	})
}
