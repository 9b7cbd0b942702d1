package topology_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/services/ratelimit"
	"github.com/civitas-go/civitas/topology"
)

// Work is a worker's call: it does its work if the limiter lets it.
type Work struct{ genserver.Returns[Worked] }

// Worked answers a Work.
type Worked struct {
	Done bool `json:"done"`
}

// Op is "work".
func (Work) Op() string { return "work" }

type agent struct{}

func (*agent) work(ctx *genserver.Context, _ Work) (Worked, error) {
	grant, err := genserver.Call(ctx, ctx.Ref("rate_limiter"), ratelimit.Acquire{N: 60})
	return Worked{Done: grant.OK}, err
}

// renamed is a Type under another name.
type renamed struct {
	genserver.Type
	name string
}

func (r renamed) Name() string { return r.name }

func Example() {
	const file = `
supervision:
  name: root
  strategy: ONE_FOR_ONE
  children:
    - name: rate_limiter
      type: myapp.services.RateLimiter
    - name: worker
      type: myapp.agents.WorkerAgent
`
	workerAgent := genserver.Define("myapp.agents.WorkerAgent",
		func(*genserver.Context, struct{}) (*agent, error) { return &agent{}, nil },
		genserver.HandleCall((*agent).work))
	rateLimiter := renamed{ratelimit.Limiter, "myapp.services.RateLimiter"}

	top, err := topology.Load(strings.NewReader(file), rateLimiter, workerAgent)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	n, err := node.Start(ctx, node.Config{Tree: top.Tree})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer n.Stop(ctx)
	for range 2 {
		worked, err := genserver.Call(ctx, n.Ref("worker"), Work{})
		fmt.Println(worked.Done, err)
	}
	// Output:
	// true <nil>
	// false <nil>
}

func ExampleLoader() {
	// In a program it is os.Open's file, and os.LookupEnv.
	file := strings.NewReader(`
supervision:
  children:
    - name: limiter_${REGION}
      type: ratelimit.Limiter
      config:
        capacity: ${CAPACITY:-100}
        interval: 250ms
`)
	env := func(name string) (string, bool) { return "eu", name == "REGION" }
	top, err := topology.Loader{Types: []genserver.Type{renamed{ratelimit.Limiter, "ratelimit.Limiter"}}, Lookup: env}.Load(file)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(top)
	// Output:
	// root           one_for_one        3 restarts in 1m
	// └─ limiter_eu  ratelimit.Limiter  permanent, cluster, config.capacity ${CAPACITY:-100}, config.interval 250ms
	//
	// 1 server, 1 supervisor
}

func ExampleMistakes() {
	_, err := topology.Load(strings.NewReader(`
supervision:
  stratgy: one_for_all
  children:
    - name: limiter
      type: ratelimit.Limiter
      restart: always
`), renamed{ratelimit.Limiter, "ratelimit.Limiter"})
	var mistakes topology.Mistakes
	if errors.As(err, &mistakes) {
		for _, m := range mistakes {
			fmt.Println(m.Line, m.Column, m.Path, m.Suggestion)
		}
	}
	// Output:
	// 3 3 supervision.stratgy did you mean "strategy"?
	// 7 16 supervision.children[0].restart did you mean "permanent"?
}

func ExampleDiff() {
	read := func(text string) *topology.Topology {
		// The Types are not needed to look at a file.
		top, err := topology.Loader{AnyType: true}.Load(strings.NewReader(text))
		if err != nil {
			fmt.Println(err)
		}
		return top
	}
	before := read(`supervision: {children: [
		{name: limiter, type: myapp.Limiter, config: {capacity: 10}},
		{name: old, type: myapp.Worker}]}`)
	after := read(`supervision: {strategy: rest_for_one, children: [
		{name: limiter, type: myapp.Limiter, config: {capacity: 20}},
		{name: cache, type: myapp.Cache}]}`)
	fmt.Print(topology.Diff(before, after))
	// Output:
	// ~ root          strategy: one_for_one -> rest_for_one
	// ~ root/limiter  config.capacity: 10 -> 20
	// + root/cache    myapp.Cache
	// - root/old      myapp.Worker
}

func ExampleSchema() {
	schema := topology.Schema(renamed{ratelimit.Limiter, "ratelimit.Limiter"})
	if err := os.WriteFile(os.DevNull, schema, 0o644); err != nil { // or topology.schema.json
		fmt.Println(err)
	}
	// A file that begins so has its keys, types and configs completed by editors:
	fmt.Println("# yaml-language-server: $schema=./topology.schema.json")
	// Output:
	// # yaml-language-server: $schema=./topology.schema.json
}
