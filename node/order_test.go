package node_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
)

// A call is handled after the casts that its sender sent before it.
func TestOrderOverNATS(t *testing.T) {
	t.Parallel()
	url := startNATS(t)
	const senders = 5
	n1 := start(t, config("n1", node.URL(url)))
	cfg := config("n2", node.URL(url), public("box", hooks{}))
	for i := range senders {
		cfg.Tree.Children = append(cfg.Tree.Children, public(fmt.Sprintf("box.%d", i), hooks{}))
	}
	n2 := start(t, cfg)
	_ = n2

	rounds := 10_000
	if testing.Short() {
		rounds = 1_000
	}
	castsThenCalls(t, n1.Ref("box"), rounds)

	// Several senders at once, each with a server of its own, and the way of a
	// plain client to the same node.
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() { castsThenCalls(t, n1.Ref(fmt.Sprintf("box.%d", i)), rounds/senders) })
	}
	wg.Wait()
	plainCastsThenCalls(t, url, rounds/senders)
}

func castsThenCalls(t *testing.T, ref genserver.Ref, rounds int) {
	ctx := t.Context()
	for x := range rounds {
		if err := ref.Cast(ctx, Put{X: x}); err != nil {
			t.Errorf("%s, cast %d: got %v, want nil", ref, x, err)
			return
		}
		got, err := genserver.Call(ctx, ref, Get{})
		if err != nil || got.X != x {
			t.Errorf("%s, round %d: got %d, %v; want the value of the cast before", ref, x, got.X, err)
			return
		}
	}
}

func plainCastsThenCalls(t *testing.T, url string, rounds int) {
	nc, err := nats.Connect(url)
	noErr(t, "connect", err)
	defer nc.Close()
	for x := range rounds {
		noErr(t, "publish", nc.Publish("civitas.dev.s.box", fmt.Appendf(nil, `{"type":"put","x":%d}`, x)))
		m, err := nc.RequestMsgWithContext(soon(t), &nats.Msg{Subject: "civitas.dev.s.box", Data: []byte(`{"type":"get"}`)})
		if err != nil {
			t.Errorf("plain client, round %d: got %v, want nil", x, err)
			return
		}
		if got := jsonOf(t, m.Data)["x"]; got != float64(x) {
			t.Errorf("plain client, round %d: got %v, want the value of the publish before", x, got)
			return
		}
	}
}

// Senders that share a server do not hold each other's messages up or back.
func TestOrderOfManySendersToOneServer(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		const senders, rounds = 8, 200
		var mu sync.Mutex
		last := map[int]int{}
		h := hooks{handled: func(x int) {
			mu.Lock()
			defer mu.Unlock()
			sender, n := x/rounds, x%rounds
			if before, seen := last[sender]; seen && before != n-1 || !seen && n != 0 {
				t.Errorf("sender %d: got %d after %d", sender, n, before)
			}
			last[sender] = n
		}}
		start(t, config("n2", nats, public("box", h)))
		n1 := start(t, config("n1", nats))
		var wg sync.WaitGroup
		for s := range senders {
			wg.Go(func() {
				for n := range rounds {
					noErr(t, "cast", n1.Ref("box").Cast(t.Context(), Put{X: s*rounds + n}))
					if n%50 == 49 {
						get(t, n1.Ref("box"))
					}
				}
			})
		}
		wg.Wait()
		get(t, n1.Ref("box"))
		for s := range senders {
			if last[s] != rounds-1 {
				t.Errorf("sender %d: got %d as the last cast, want %d", s, last[s], rounds-1)
			}
		}
	})
}

// Calls that are not waited for keep their place among what their sender sends,
// the first ones to a name too.
func TestOrderOfCallsInFlightOverNodes(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		start(t, config("n2", nats, public("box", hooks{})))
		n1 := start(t, config("n1", nats))
		ref := n1.Ref("box")
		const rounds = 200
		var calls []*genserver.Future[Value]
		for x := range rounds {
			if err := ref.Cast(t.Context(), Put{X: x}); err != nil {
				t.Fatalf("cast %d: got %v, want nil", x, err)
			}
			calls = append(calls, genserver.CallAsync(t.Context(), ref, Get{}))
		}
		for x, call := range calls {
			got, err := call.Await(t.Context())
			if err != nil || got.X != x {
				t.Fatalf("call %d: got %d, %v; want the value of the cast right before it", x, got.X, err)
			}
		}
	})
}
