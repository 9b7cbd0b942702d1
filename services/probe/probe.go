// Package probe is a server that calls another one at intervals and keeps
// count of what came of it: is the limiter reachable from this node, how long
// does it take, what was the last error?
//
//	{Name: "probe_limiter", Run: probe.Prober.With(probe.Config{
//		Target:  "rate_limiter",
//		Payload: genserver.Map{"type": "acquire"},
//	})}
//
//	status, err := genserver.Call(ctx, n.Ref("probe_limiter"), probe.Check{})
//
// One probe is in flight at a time. A slow or silent target delays the next
// probe, and keeps nobody else waiting: the answer comes to the prober as a
// message. What it has counted is in memory and begins at zero with a restart.
package probe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

// Config says whom a prober calls, with what and how often.
type Config struct {
	// Target is the server's name. Required.
	Target string `json:"target"`
	// Node is the node that has the target, for a node-local name of another
	// node. Default: the prober's own, or the owner of a cluster-wide name.
	Node string `json:"node,omitempty"`
	// Payload is what it is called with. Default {"type": "ping"}.
	Payload genserver.Map `json:"payload,omitempty"`
	// Every is the time from the start of one probe to the start of the next,
	// a millisecond at least. Default 1 s.
	Every time.Duration `json:"every,omitempty"`
	// Timeout is how long an answer may take. Default 1 s.
	Timeout time.Duration `json:"timeout,omitempty"`
}

func (c Config) withDefaults() (Config, error) {
	if c.Payload == nil {
		c.Payload = genserver.Map{genserver.DefaultTag: "ping"}
	}
	if c.Every == 0 {
		c.Every = time.Second
	}
	if c.Timeout == 0 {
		c.Timeout = time.Second
	}
	var errs []error
	if c.Target == "" {
		errs = append(errs, errors.New("target: it names the server to call, and is empty"))
	}
	if c.Every < time.Millisecond { // a number meant as seconds reads as nanoseconds in JSON
		errs = append(errs, fmt.Errorf("every: %v is less than 1ms", c.Every))
	}
	if c.Timeout < time.Millisecond {
		errs = append(errs, fmt.Errorf("timeout: %v is less than 1ms", c.Timeout))
	}
	return c, errors.Join(errs...)
}

// Check asks a prober for its [Status].
type Check struct{ genserver.Returns[Status] }

// Op is "status".
func (Check) Op() string { return "status" }

// Status is what a prober has seen since it started, or since its [Reset].
type Status struct {
	// Target is whom it calls.
	Target string `json:"target"`
	// Up says whether the last probe was answered.
	Up bool `json:"up"`
	// Answered and Failed count the probes that have ended.
	Answered int `json:"answered"`
	Failed   int `json:"failed"`
	// LastMS is how long the last answer took, in milliseconds; 0 before the
	// first one.
	LastMS float64 `json:"last_ms"`
	// LastError is of the last probe that failed; "" if none did.
	LastError string `json:"last_error,omitempty"`
}

// Reset has a prober begin to count anew.
type Reset struct{ genserver.OneWay }

// Op is "reset".
func (Reset) Op() string { return "reset" }

// Prober is the prober's Type.
var Prober = genserver.Define("probe.Prober", newProber,
	genserver.HandleCall((*prober).check),
	genserver.HandleCast((*prober).reset),
	genserver.HandleInfo((*prober).probe),
	genserver.HandleInfo((*prober).ended),
	genserver.HandleTerminate((*prober).terminate),
	genserver.NonBlocking[prober]())

type prober struct {
	Config
	status Status

	waiting sync.WaitGroup // the one who waits for an answer
}

type (
	// due is the prober's tick.
	due struct{ genserver.Signal }
	// outcome is what came of a probe.
	outcome struct {
		genserver.Signal
		begun time.Time
		took  time.Duration
		err   error
	}
)

func (due) Op() string     { return "due" }
func (outcome) Op() string { return "outcome" }

func newProber(ctx *genserver.Context, cfg Config) (*prober, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &prober{Config: cfg}
	p.status.Target = cfg.target(ctx).String()
	ctx.SetTimer(due{}, 0, due{})
	return p, nil
}

func (c Config) target(ctx *genserver.Context) genserver.Ref {
	to := ctx.Ref(c.Target)
	if c.Node != "" {
		to = to.On(c.Node)
	}
	return to
}

// probe sends one probe. Its answer is awaited outside of the handler, so that
// the prober can say how it is meanwhile.
func (p *prober) probe(ctx *genserver.Context, _ due) error {
	self, life, begun := ctx.Self(), ctx.Detach(), time.Now()
	answer := genserver.CallAsync(life, p.target(ctx), p.Payload, genserver.WithTimeout(p.Timeout))
	p.waiting.Go(func() {
		_, err := answer.Await(context.Background()) // its own timeout, or the prober's end, ends it
		// A refusal means that the prober has ended, and then nobody counts.
		_ = self.Send(life, outcome{begun: begun, took: time.Since(begun), err: err})
	})
	// The outcome sets the next one earlier. Should a full mailbox drop it, the
	// prober goes on all the same.
	ctx.SetTimer(due{}, p.Timeout+p.Every, due{})
	return nil
}

func (p *prober) ended(ctx *genserver.Context, o outcome) error {
	p.status.Up = o.err == nil
	if o.err == nil {
		p.status.Answered++
		p.status.LastMS = float64(o.took.Microseconds()) / 1000
	} else {
		p.status.Failed++
		p.status.LastError = o.err.Error()
	}
	ctx.SetTimer(due{}, p.Every-time.Since(o.begun), due{})
	return nil
}

func (p *prober) check(*genserver.Context, Check) (Status, error) { return p.status, nil }

func (p *prober) reset(*genserver.Context, Reset) error {
	p.status = Status{Target: p.status.Target, Up: p.status.Up}
	return nil
}

// terminate waits for the last probe, which has been given up by now.
func (p *prober) terminate(*genserver.Context, error) { p.waiting.Wait() }
