package nodetest_test

import (
	"context"
	"fmt"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/node/nodetest"
	"github.com/civitas-go/civitas/services/ratelimit"
	"github.com/civitas-go/civitas/supervisor"
)

// What a test with a *testing.T would do: start a node, call its server, kill
// that, and wait for its supervisor to start another, which has all tokens again.
func Example() {
	t := newExampleT()
	defer t.end()

	n := nodetest.Start(t, node.Config{Tree: supervisor.Spec{Children: []supervisor.Child{
		{Name: "limiter", Run: ratelimit.Limiter.With(ratelimit.Config{})},
	}}})
	grant, err := genserver.Call(t.Context(), n.Ref("limiter"), ratelimit.Acquire{N: 30})
	fmt.Println(grant.Remaining, err)

	dead := n.Kill("limiter")
	n.Next("limiter", dead)
	grant, err = genserver.Call(t.Context(), n.Ref("limiter"), ratelimit.Acquire{})
	fmt.Println(grant.Remaining, err)
	// Output:
	// 70 <nil>
	// 99 <nil>
}

// exampleT stands in for a *testing.T, which an example has none of.
type exampleT struct {
	fakeT
	ctx context.Context
}

func newExampleT() *exampleT { return &exampleT{ctx: context.Background()} }

func (t *exampleT) Context() context.Context { return t.ctx }

func (t *exampleT) end() {
	t.fakeT.end()
	for _, e := range t.errors {
		fmt.Println(e)
	}
}
