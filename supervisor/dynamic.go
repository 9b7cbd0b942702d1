package supervisor

import (
	"errors"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/supervision"
)

// Dynamic is a supervisor that begins without children and is given them by
// [StartChild], thousands if need be: workers that come and go, one per session
// or job. It is OTP's simple_one_for_one, and Elixir's DynamicSupervisor; the
// zero value has no limits.
//
// Children are restarted as in a OneForOne [Spec], each from its own config,
// but are Transient by default. One that ends for good is forgotten, so that
// its name is free; all are when the supervisor itself is restarted. They are
// stopped all at once, not in order.
type Dynamic struct {
	// MaxRestarts, RestartWindow and Backoff are as in Spec: one counter for
	// all children.
	MaxRestarts   int
	RestartWindow time.Duration
	Backoff       Backoff
	// MaxChildren is how many children there may be at a time, those that wait
	// for a restart included. Default no limit.
	MaxChildren int
	// MaxSpawns is how many children may be started in the supervisor's life,
	// whatever became of them; restarts do not count. Default no limit.
	MaxSpawns int
	// Veto is asked before each start, but not before restarts; its error
	// refuses the child, and so does its panic. It is called in the
	// supervisor's turn, never twice at a time, and must not block: a call to
	// the supervisor itself would never be answered. Default none.
	Veto func(StartChild) error
	// StopWithin and AutoShutdown are as in Spec.
	StopWithin   time.Duration
	AutoShutdown AutoShutdown
	// Types are what StartChild may name where it has no Run, which is what
	// callers on other nodes do. Default none.
	Types []genserver.Type
}

// GenServer makes a Dynamic a genserver.Runnable.
func (d Dynamic) GenServer() genserver.Spec { return d.config(nil).GenServer() }

// Validate returns every fault, as that of [Spec] does. A start checks too.
func (d Dynamic) Validate() error {
	v := validation{names: map[string]string{}}
	v.dynamic("", d)
	return errors.Join(v.faults...)
}

func (d Dynamic) config(n *nest) config { return config{Spec: d.spec(), dynamic: &d, nest: n} }

// spec is what a Dynamic has of a Spec.
func (d Dynamic) spec() Spec {
	return Spec{
		MaxRestarts: d.MaxRestarts, RestartWindow: d.RestartWindow, Backoff: d.Backoff,
		StopWithin: d.StopWithin, AutoShutdown: d.AutoShutdown, Types: d.Types,
	}
}

func (d Dynamic) core() supervision.Spec {
	core := d.spec().core()
	core.Dynamic, core.MaxChildren, core.MaxSpawns = true, d.MaxChildren, d.MaxSpawns
	return core
}
