// A rate limiter: the GenServer page's first example, typed.
//
//	go run ./examples/ratelimiter run
//	go run ./cmd/node call rate_limiter '{"type":"acquire"}'
//	go run ./cmd/node cast rate_limiter '{"type":"reset"}'
//
// To try: acquire until it says no, and wait a second. Return an error from
// reset, cast it, and see the crash in the log and a full bucket after it.
package main

import (
	"os"
	"time"

	"github.com/civitas-go/civitas/cmd/node/app"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

const capacity = 100

type (
	// Acquire takes a token; a Grant is the answer.
	Acquire struct{ genserver.Returns[Grant] }
	// Grant says whether there was one, and how many are left.
	Grant struct {
		OK        bool `json:"ok"`
		Remaining int  `json:"remaining"`
	}
	// Reset fills the bucket up. Nobody waits for it.
	Reset struct{ genserver.OneWay }
	// refill is the limiter's own tick.
	refill struct{ genserver.Signal }
)

// Op is "acquire".
func (Acquire) Op() string { return "acquire" }

// Op is "reset".
func (Reset) Op() string { return "reset" }

func (refill) Op() string { return "refill" }

type limiter struct{ tokens int }

func newLimiter(ctx *genserver.Context, _ struct{}) (*limiter, error) {
	ctx.SendAfter(time.Second, refill{})
	return &limiter{tokens: capacity}, nil
}

func (l *limiter) acquire(*genserver.Context, Acquire) (Grant, error) {
	if l.tokens == 0 {
		return Grant{}, nil
	}
	l.tokens--
	return Grant{OK: true, Remaining: l.tokens}, nil
}

func (l *limiter) reset(*genserver.Context, Reset) error {
	l.tokens = capacity
	return nil
}

func (l *limiter) refill(ctx *genserver.Context, tick refill) error {
	l.tokens = min(capacity, l.tokens+10)
	ctx.SendAfter(time.Second, tick) // the next one
	return nil
}

// RateLimiter is the limiter's Type.
var RateLimiter = genserver.Define("myapp.services.RateLimiter", newLimiter,
	genserver.HandleCall((*limiter).acquire),
	genserver.HandleCast((*limiter).reset),
	genserver.HandleInfo((*limiter).refill),
	genserver.NonBlocking[limiter]()) // it only counts

var tree = supervisor.Spec{Children: []supervisor.Child{
	{Name: "rate_limiter", Run: RateLimiter.With(struct{}{}), Scope: supervisor.Cluster},
}}

func main() { os.Exit(app.Main(app.Options{Name: "ratelimiter", Tree: tree})) }
