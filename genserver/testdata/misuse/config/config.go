// Package misuse is one of the programs of misuse_test.go.
package misuse

import "github.com/civitas-go/civitas/genserver"

type (
	Acquire struct{ genserver.Returns[Grant] }
	Grant   struct{}
	Reset   struct{ genserver.OneWay }
	refill  struct{ genserver.Signal }
)

func (Acquire) Op() string { return "acquire" }
func (Reset) Op() string   { return "reset" }
func (refill) Op() string  { return "refill" }

type Config struct{ Capacity int }

type limiter struct{ tokens int }

func newLimiter(*genserver.Context, Config) (*limiter, error) { return &limiter{}, nil }

func (l *limiter) acquire(*genserver.Context, Acquire) (Grant, error) { return Grant{}, nil }
func (l *limiter) reset(*genserver.Context, Reset) error              { return nil }
func (l *limiter) refill(*genserver.Context, refill) error            { return nil }

type other struct{}

func (o *other) reset(*genserver.Context, Reset) error { return nil }

var Limiter = genserver.Define("limiter", newLimiter,
	genserver.HandleCall((*limiter).acquire),
	genserver.HandleCast((*limiter).reset),
	genserver.HandleInfo((*limiter).refill))

func use() genserver.Spec {
	return Limiter.With(struct{ Size int }{1}) // wrong
}
