package supervisor

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/supervision"
)

// What a Spec and a Child have where they say nothing.
const (
	DefaultMaxRestarts   = 3
	DefaultRestartWindow = 5 * time.Second
	DefaultShutdown      = 5 * time.Second
)

// Spec is a supervisor: its children and how they are restarted. The zero
// value is one_for_one without children.
type Spec struct {
	// Strategy says which children are restarted with one that crashed.
	// Default OneForOne.
	Strategy Strategy
	// MaxRestarts is how many restarts may fall into one RestartWindow; one
	// more, and the supervisor stops its children and crashes itself, which is
	// its own supervisor's to decide about. A round that restarts five siblings
	// counts once. Default 3; NoRestarts for none.
	MaxRestarts int
	// RestartWindow is the sliding window MaxRestarts counts in. Default 5 s.
	RestartWindow time.Duration
	// Backoff is the wait before a restart. Default none.
	Backoff Backoff
	// Children are started in this order and stopped in reverse.
	Children []Child
	// StopWithin is how long the supervisor may take to stop all its children,
	// whatever it ends for, before those left are killed at once, with all below
	// them, and listed in the log. Default no limit but the children's own.
	StopWithin time.Duration
	// AutoShutdown says whether the end of significant children ends the
	// supervisor. Default NeverShutdown.
	AutoShutdown AutoShutdown
	// Types are what [StartChild] may name where it has no Run, which is what
	// callers on other nodes do. Default none.
	Types []genserver.Type
}

// NoRestarts is a [Spec].MaxRestarts of none: the first crash escalates.
const NoRestarts = -1

// Child is one child of a supervisor.
type Child struct {
	// Name is the server's name, unique on its node, or in its cluster with
	// the Scope Cluster.
	Name string
	// Run is what runs: a Type's With, or another supervisor, a Spec or a Dynamic.
	Run genserver.Runnable
	// Restart says which of its ends the child is restarted after. Default
	// Permanent below a Spec, Transient below a Dynamic.
	Restart Restart
	// Shutdown is how long the child may take to stop before it is killed.
	// Default 5 s, and Infinity for a supervisor; BrutalKill kills at once.
	Shutdown time.Duration
	// Scope is how far the name is known. Default Local.
	Scope genserver.Scope
	// OnPartition is what a server of the Scope Cluster does while its node can't
	// prove that the name is its own. Default [Pause].
	OnPartition genserver.OnPartition
	// Significant is a child that the supervisor's AutoShutdown looks at. It
	// can't be Permanent. Default false.
	Significant bool
	// Placement says which nodes may run the child. It is for children of a
	// node's tree that have cluster-wide names; see node.Config.Tree. Default any
	// node that has the child's Type.
	Placement Placement
}

// Placement chooses among the nodes of a cluster. A node must meet all that it says.
type Placement struct {
	// Node is the name of the only node that will do. Default any.
	Node string `json:"node,omitempty"`
	// Labels are those that the node must have, with these values. Default none.
	Labels map[string]string `json:"labels,omitempty"`
}

// IsZero reports a Placement that any node meets.
func (p Placement) IsZero() bool { return p.Node == "" && len(p.Labels) == 0 }

// AutoShutdown says when a supervisor ends because [Child].Significant ones have
// ended: by themselves, and not to be restarted. One that a request or a
// sibling's crash stopped ends nothing. The supervisor stops its other children
// and ends with the reason genserver.Shutdown, after which only a permanent
// supervisor is restarted. As in OTP 24.
type AutoShutdown uint8

// The automatic shutdowns, as in OTP.
const (
	// NeverShutdown allows no significant children.
	NeverShutdown = AutoShutdown(supervision.NeverShutdown)
	// AnySignificant ends the supervisor with the first one.
	AnySignificant = AutoShutdown(supervision.AnySignificant)
	// AllSignificant ends it with the last one that runs, or is about to be
	// restarted.
	AllSignificant = AutoShutdown(supervision.AllSignificant)
)

// String is the name in OTP and in topology files.
func (a AutoShutdown) String() string { return supervision.AutoShutdown(a).String() }

// Special values of [Child].Shutdown.
const (
	// Infinity waits for as long as the child takes.
	Infinity time.Duration = -1
	// BrutalKill kills the child at once, without terminate.
	BrutalKill time.Duration = -2
)

// Scopes of a [Child]'s name.
const (
	// Local names are the node's; other nodes may have the same.
	Local = genserver.Local
	// Cluster names have one owner in the cluster.
	Cluster = genserver.Cluster
)

// Answers of a [Child]'s OnPartition.
const (
	// Pause waits, with its state, until the node can prove it again.
	Pause = genserver.Pause
	// Keep goes on serving callers on its own node: see [genserver.Keep].
	Keep = genserver.Keep
)

// Strategy says which children a crash concerns.
type Strategy uint8

// The strategies, as in OTP.
const (
	// OneForOne restarts the child that crashed, and no other.
	OneForOne = Strategy(supervision.OneForOne)
	// OneForAll stops all other children in reverse order, then starts all in
	// order.
	OneForAll = Strategy(supervision.OneForAll)
	// RestForOne does the same with the child that crashed and those after it.
	RestForOne = Strategy(supervision.RestForOne)
)

// String is the strategy's name in OTP and in topology files.
func (s Strategy) String() string { return supervision.Strategy(s).String() }

// Restart says when a child that ended is restarted.
type Restart uint8

// The restart types, as in OTP.
const (
	// DefaultRestart is Permanent below a [Spec], Transient below a [Dynamic].
	DefaultRestart Restart = iota
	// Permanent children are always restarted.
	Permanent
	// Transient children are restarted after a crash, but not after the
	// reasons genserver.Normal and genserver.Shutdown.
	Transient
	// Temporary children are never restarted, not even when a sibling's crash
	// is what stopped them.
	Temporary
)

// String is the restart type's name in OTP and in topology files. That of
// DefaultRestart is permanent, which it is in a tree.
func (r Restart) String() string { return r.core(Permanent).String() }

// core is the decision core's, with a default for none.
func (r Restart) core(byDefault Restart) supervision.Restart {
	if r == DefaultRestart {
		r = byDefault
	}
	return supervision.Restart(r - Permanent)
}

// MarshalText is the restart type's name.
func (r Restart) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the restart type's name.
func (r *Restart) UnmarshalText(text []byte) error {
	for _, known := range []Restart{Permanent, Transient, Temporary} {
		if string(text) == known.String() {
			*r = known
			return nil
		}
	}
	return fmt.Errorf("restart: %q is none of permanent, transient, temporary", text)
}

// Backoff is the wait before a restart; the zero value does not wait, as in
// OTP. A child's attempts are forgotten once it has run for the restart window,
// or twice its last wait if that is longer.
type Backoff struct {
	// Growth is how the wait grows with the attempts of one child.
	Growth Growth
	// Base is the wait before the first of them.
	Base time.Duration
	// Max caps the wait, jitter included. Default no cap.
	Max time.Duration
	// Jitter lengthens each wait by a random part of it, up to this one: 0 to
	// 0.25. It keeps servers that crashed together from coming back together.
	Jitter float64
}

// Growth is how a [Backoff] grows.
type Growth uint8

// The growths.
const (
	// NoBackoff restarts at once.
	NoBackoff = Growth(supervision.NoBackoff)
	// Constant always waits Base.
	Constant = Growth(supervision.Constant)
	// Linear waits n times Base before the n-th attempt.
	Linear = Growth(supervision.Linear)
	// Exponential waits Base, doubled with each attempt after the first.
	Exponential = Growth(supervision.Exponential)
)

// String is the growth's name in topology files.
func (g Growth) String() string { return supervision.Growth(g).String() }

// GenServer makes a Spec a genserver.Runnable.
func (s Spec) GenServer() genserver.Spec { return serverType.With(config{Spec: s}) }

// core is what the decision core must know of the Spec, defaults filled in.
func (s Spec) core() supervision.Spec {
	core := supervision.Spec{
		Strategy:    supervision.Strategy(s.Strategy),
		MaxRestarts: s.MaxRestarts,
		Window:      s.RestartWindow,
		Backoff: supervision.Backoff{
			Growth: supervision.Growth(s.Backoff.Growth),
			Base:   s.Backoff.Base,
			Max:    s.Backoff.Max,
			Jitter: s.Backoff.Jitter,
		},
		Rand:         rand.Float64,
		StopWithin:   s.StopWithin,
		AutoShutdown: supervision.AutoShutdown(s.AutoShutdown),
	}
	switch s.MaxRestarts {
	case 0:
		core.MaxRestarts = DefaultMaxRestarts
	case NoRestarts:
		core.MaxRestarts = 0
	}
	if core.Window == 0 {
		core.Window = DefaultRestartWindow
	}
	for _, c := range s.Children {
		core.Children = append(core.Children, kept{Child: c, restart: c.Restart.core(Permanent)}.core())
	}
	return core
}

func (c Child) isSupervisor() bool { return c.Run.GenServer().TypeName() == TypeName }

func (c Child) shutdown() supervision.Shutdown {
	switch {
	case c.Shutdown == BrutalKill:
		return supervision.Brutal
	case c.Shutdown == Infinity, c.Shutdown == 0 && c.isSupervisor():
		return supervision.Infinite
	case c.Shutdown == 0:
		return supervision.Shutdown(DefaultShutdown)
	default:
		return supervision.Shutdown(c.Shutdown)
	}
}
