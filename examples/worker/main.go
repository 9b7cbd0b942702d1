// A worker that asks the rate limiter before it works, and tells metrics
// afterwards: the GenServer page's WorkerAgent. Its call and its cast are in
// the same trace as the call that it answers.
//
//	OTEL_TRACES_EXPORTER=console go run ./examples/worker run
//	go run ./cmd/node call worker '{"type":"work"}'
//	go run ./cmd/node call metrics '{"type":"read"}'
//
// To try: call it three times in a row; the limiter has two tokens a second.
package main

import (
	"os"
	"time"

	"github.com/civitas-go/civitas/cmd/node/app"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/services/ratelimit"
	"github.com/civitas-go/civitas/supervisor"
)

type (
	// Work asks for work to be done.
	Work struct{ genserver.Returns[Worked] }
	// Worked is the answer.
	Worked struct {
		Status string `json:"status"`
	}
	// Count tells metrics of an event.
	Count struct {
		genserver.OneWay
		Event string `json:"event"`
		Agent string `json:"agent"`
	}
	// Read asks metrics for its counts.
	Read struct{ genserver.Returns[Counts] }
	// Counts is the answer: how often each agent has told of each event.
	Counts struct {
		Counts map[string]int `json:"counts"`
	}
)

// Op is "work".
func (Work) Op() string { return "work" }

// Op is "count".
func (Count) Op() string { return "count" }

// Op is "read".
func (Read) Op() string { return "read" }

// ErrRateLimited tells a caller to come back later.
var ErrRateLimited = genserver.NewError("myapp.rate_limited", "rate limited")

type worker struct{}

func (*worker) work(ctx *genserver.Context, _ Work) (Worked, error) {
	// The handler's own context says who calls, and ends when our caller leaves.
	grant, err := genserver.Call(ctx, ctx.Ref("rate_limiter"), ratelimit.Acquire{}, genserver.WithTimeout(time.Second))
	if err != nil {
		return Worked{}, err
	}
	if !grant.OK {
		return Worked{}, ErrRateLimited
	}
	if err := ctx.Ref("metrics").Cast(ctx, Count{Event: "request", Agent: ctx.Self().Name()}); err != nil {
		return Worked{}, err
	}
	return Worked{Status: "ok"}, nil
}

type metrics struct{ counts map[string]int }

func (m *metrics) count(_ *genserver.Context, c Count) error {
	m.counts[c.Agent+" "+c.Event]++
	return nil
}

func (m *metrics) read(*genserver.Context, Read) (Counts, error) {
	counts := make(map[string]int, len(m.counts)) // ours goes on changing
	for key, n := range m.counts {
		counts[key] = n
	}
	return Counts{counts}, nil
}

// The Types.
var (
	Worker = genserver.Define("myapp.agents.WorkerAgent",
		func(*genserver.Context, struct{}) (*worker, error) { return &worker{}, nil },
		genserver.HandleCall((*worker).work))
	Metrics = genserver.Define("myapp.services.Metrics",
		func(*genserver.Context, struct{}) (*metrics, error) { return &metrics{counts: map[string]int{}}, nil },
		genserver.HandleCast((*metrics).count),
		genserver.HandleCall((*metrics).read))
)

var tree = supervisor.Spec{Children: []supervisor.Child{
	{Name: "rate_limiter", Run: ratelimit.Limiter.With(ratelimit.Config{Capacity: 2, Refill: 2}), Scope: supervisor.Cluster},
	{Name: "metrics", Run: Metrics.With(struct{}{}), Scope: supervisor.Cluster},
	{Name: "worker", Run: Worker.With(struct{}{}), Scope: supervisor.Cluster},
}}

func main() { os.Exit(app.Main(app.Options{Name: "worker", Tree: tree})) }
