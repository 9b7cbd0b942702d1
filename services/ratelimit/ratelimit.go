// Package ratelimit is a rate limiter as a server: a bucket of tokens that is
// refilled at intervals, shared by everyone who can reach its name.
//
//	{Name: "rate_limiter", Run: ratelimit.Limiter.With(ratelimit.Config{}), Scope: supervisor.Cluster}
//
//	grant, err := genserver.Call(ctx, n.Ref("rate_limiter"), ratelimit.Acquire{})
//	if grant.OK { … }
//
// Any NATS client can ask too: nats req civitas.dev.s.rate_limiter '{"type":"acquire"}'.
// The tokens are in memory: a restart begins with a full bucket.
package ratelimit

import (
	"errors"
	"fmt"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

// Config is a limiter's. The zero value is 100 tokens, refilled by 10 each
// second.
type Config struct {
	// Capacity is the most tokens there can be, and how many there are at the
	// start. Default 100.
	Capacity int `json:"capacity,omitempty"`
	// Refill is how many tokens each interval adds. Default 10.
	Refill int `json:"refill,omitempty"`
	// Interval is the time between refills, a millisecond at least. Default 1 s.
	Interval time.Duration `json:"interval,omitempty"`
}

// Acquire takes N tokens, all or none; 0 counts as 1. It never waits.
type Acquire struct {
	genserver.Returns[Grant]
	N int `json:"n,omitempty"`
}

// Op is "acquire".
func (Acquire) Op() string { return "acquire" }

// Grant answers an [Acquire].
type Grant struct {
	// OK says whether the tokens were there, and have been taken.
	OK bool `json:"ok"`
	// Remaining is how many are left.
	Remaining int `json:"remaining"`
}

// Reset fills the bucket up.
type Reset struct{ genserver.OneWay }

// Op is "reset".
func (Reset) Op() string { return "reset" }

// ErrTooMany refuses an [Acquire] of more tokens than the bucket can ever hold.
var ErrTooMany = genserver.NewError("ratelimit.too_many", "more tokens than the limiter's capacity")

// ErrNegative refuses an [Acquire] of fewer tokens than none.
var ErrNegative = genserver.NewError("ratelimit.negative", "a negative number of tokens")

// Limiter is the limiter's Type.
var Limiter = genserver.Define("ratelimit.Limiter", newLimiter,
	genserver.HandleCall((*limiter).acquire),
	genserver.HandleCast((*limiter).reset),
	genserver.HandleInfo((*limiter).refill),
	genserver.NonBlocking[limiter]())

type limiter struct {
	Config
	tokens int
}

// refill is the limiter's tick.
type refill struct{ genserver.Signal }

func (refill) Op() string { return "refill" }

func newLimiter(ctx *genserver.Context, cfg Config) (*limiter, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx.SendAfter(cfg.Interval, refill{})
	return &limiter{Config: cfg, tokens: cfg.Capacity}, nil
}

func (c Config) withDefaults() (Config, error) {
	if c.Capacity == 0 {
		c.Capacity = 100
	}
	if c.Refill == 0 {
		c.Refill = 10
	}
	if c.Interval == 0 {
		c.Interval = time.Second
	}
	var errs []error
	if c.Capacity < 0 {
		errs = append(errs, fmt.Errorf("capacity: %d is negative", c.Capacity))
	}
	if c.Refill < 0 {
		errs = append(errs, fmt.Errorf("refill: %d is negative", c.Refill))
	}
	if c.Interval < time.Millisecond { // a number meant as seconds reads as nanoseconds in JSON
		errs = append(errs, fmt.Errorf("interval: %v is less than 1ms", c.Interval))
	}
	return c, errors.Join(errs...)
}

func (l *limiter) acquire(_ *genserver.Context, r Acquire) (Grant, error) {
	n := r.N
	switch {
	case n == 0:
		n = 1
	case n < 0:
		return Grant{}, ErrNegative
	case n > l.Capacity:
		return Grant{}, ErrTooMany
	}
	if n > l.tokens {
		return Grant{Remaining: l.tokens}, nil
	}
	l.tokens -= n
	return Grant{OK: true, Remaining: l.tokens}, nil
}

func (l *limiter) reset(*genserver.Context, Reset) error {
	l.tokens = l.Capacity
	return nil
}

// refill adds tokens as far as they fit, and sets the next tick.
func (l *limiter) refill(ctx *genserver.Context, tick refill) error {
	l.tokens += min(l.Refill, l.Capacity-l.tokens)
	ctx.SendAfter(l.Interval, tick)
	return nil
}
