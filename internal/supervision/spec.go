package supervision

import (
	"fmt"
	"time"
)

// Spec says what a supervisor supervises and how. Its numbers are explicit:
// defaults belong to the packages that users meet, so that a MaxRestarts of 0
// can mean what it says.
type Spec struct {
	// Strategy says who is restarted with a child that crashed.
	Strategy Strategy
	// MaxRestarts is how many restarts may fall into one Window; one more ends
	// the supervisor (see [Escalate]). With 0 the first crash does. OTP calls
	// it intensity.
	MaxRestarts int
	// Window is the length of the sliding window MaxRestarts counts in. OTP
	// calls it period.
	Window time.Duration
	// Backoff is the wait before a restart; the zero value waits never.
	Backoff Backoff
	// Rand gives the jitter's random numbers, in [0, 1). It is needed only
	// where Backoff has a Jitter.
	Rand func() float64
	// Children in the order they are started.
	Children []Child
	// Dynamic is a supervisor all of whose children are added: they are
	// OneForOne, forgotten once they end for good, and stopped all at once.
	// OTP's simple_one_for_one.
	Dynamic bool
	// MaxChildren is how many children there may be at a time; 0 for no limit.
	MaxChildren int
	// MaxSpawns is how many children may ever be added, whatever became of
	// them; 0 for no limit. Restarts are not counted.
	MaxSpawns int
	// StopWithin is how long the whole end may take, whatever its cause, before
	// all children that are left are killed at once; 0 for no limit.
	StopWithin time.Duration
	// AutoShutdown says whether the end of significant children ends the
	// supervisor.
	AutoShutdown AutoShutdown
}

// Child is what the core must know of a child to decide about it.
type Child struct {
	// ID names the child among its siblings.
	ID string
	// Restart says which of its ends the child is restarted after.
	Restart Restart
	// Shutdown says how the child is stopped.
	Shutdown Shutdown
	// Significant is a child that AutoShutdown looks at. It is not Permanent.
	Significant bool
	// Alone is a child whose restarts count for itself: past MaxRestarts of them
	// in one Window it is given up, and the supervisor goes on. It needs
	// [OneForOne].
	Alone bool
	// Told is a child whose end for good is an [Ended].
	Told bool
}

// AutoShutdown says when a supervisor ends because significant children ended
// by themselves and are not restarted: not because they were told to, be it
// for a sibling's crash. As in OTP 24.
type AutoShutdown uint8

const (
	// NeverShutdown has no significant children.
	NeverShutdown AutoShutdown = iota
	// AnySignificant ends with the first of them.
	AnySignificant
	// AllSignificant ends with the last of them that is not down for good.
	AllSignificant
)

// String is the name in OTP.
func (a AutoShutdown) String() string {
	return word(a, "never", "any_significant", "all_significant")
}

// Strategy says which children a crash concerns.
type Strategy uint8

const (
	// OneForOne restarts only the child that crashed, independently of any
	// other restart.
	OneForOne Strategy = iota
	// OneForAll stops all other children in reverse order, then starts all in
	// order.
	OneForAll
	// RestForOne does the same with the child that crashed and those started
	// after it; the ones before it run on.
	RestForOne
)

// String is the strategy's name in OTP.
func (s Strategy) String() string {
	return word(s, "one_for_one", "one_for_all", "rest_for_one")
}

// Restart says when a child that ended by itself is restarted.
type Restart uint8

const (
	// Permanent children are always restarted.
	Permanent Restart = iota
	// Transient children are restarted after an [ClassAbnormal] exit. One that
	// ended otherwise stays listed, and a round of a sibling's restart starts
	// it again, as in OTP.
	Transient
	// Temporary children are never restarted, not even when a sibling's crash
	// is what stopped them, and are forgotten once they end.
	Temporary
)

// String is the restart type's name in OTP.
func (r Restart) String() string {
	return word(r, "permanent", "transient", "temporary")
}

// Shutdown is how long a child may take to stop before it is killed. The core
// only hands it on, in [StopChild].
type Shutdown time.Duration

const (
	// Brutal kills at once; OTP's brutal_kill.
	Brutal Shutdown = 0
	// Infinite waits as long as it takes, for children that are supervisors.
	Infinite Shutdown = -1
)

// String is brutal, infinite, or the time.
func (s Shutdown) String() string {
	switch s {
	case Brutal:
		return "brutal"
	case Infinite:
		return "infinite"
	default:
		return time.Duration(s).String()
	}
}

// CanEscalate is false where the waits between its restarts keep a child that
// crashes at once, again and again, under the restart limit for ever. Such a
// spec is legal, and worth a warning.
func (s Spec) CanEscalate() bool {
	if s.Backoff.Growth == NoBackoff {
		return true
	}
	// Waits never shrink: if the first one repeated leaves the window, so do all.
	first := s.Backoff.delay(1, nil)
	if first > 0 && int64(s.MaxRestarts) > int64(s.Window/first) {
		return false
	}
	var span time.Duration // of the first MaxRestarts + 1 crashes
	for n := 1; n <= min(s.MaxRestarts, mostCounted); n++ {
		span += s.Backoff.delay(n, nil)
		if span > s.Window {
			return false
		}
	}
	return true
}

// mostCounted keeps waits of nanoseconds from being added up for minutes.
const mostCounted = 1_000_000

func (s Spec) validate() error {
	switch {
	case s.Strategy > RestForOne:
		return fmt.Errorf("strategy: %d is none", s.Strategy)
	case s.MaxRestarts < 0:
		return fmt.Errorf("max restarts: %d is negative", s.MaxRestarts)
	case s.Window <= 0 && (s.MaxRestarts > 0 || s.Window < 0):
		return fmt.Errorf("window: %v is not positive", s.Window)
	case s.Dynamic && (s.Strategy != OneForOne || len(s.Children) > 0):
		return fmt.Errorf("dynamic: with a strategy or children")
	case s.StopWithin < 0:
		return fmt.Errorf("stop within: %v is negative", s.StopWithin)
	case s.AutoShutdown > AllSignificant:
		return fmt.Errorf("auto shutdown: %d is none", s.AutoShutdown)
	case s.MaxChildren < 0:
		return fmt.Errorf("max children: %d is negative", s.MaxChildren)
	case s.MaxSpawns < 0:
		return fmt.Errorf("max spawns: %d is negative", s.MaxSpawns)
	case s.Backoff.Jitter > 0 && s.Rand == nil:
		return fmt.Errorf("rand: a backoff with jitter needs one")
	}
	if err := s.Backoff.validate(); err != nil {
		return fmt.Errorf("backoff: %w", err)
	}
	seen := make(map[string]int, len(s.Children))
	for i, ch := range s.Children {
		first, twice := seen[ch.ID]
		if twice {
			return fmt.Errorf("children[%d]: id %q is that of children[%d] too", i, ch.ID, first)
		}
		if err := ch.validate(s); err != nil {
			return fmt.Errorf("children[%d]%w", i, err)
		}
		seen[ch.ID] = i
	}
	return nil
}

func (ch Child) validate(s Spec) error {
	switch {
	case ch.ID == "":
		return fmt.Errorf(": id is empty")
	case ch.Restart > Temporary:
		return fmt.Errorf(" %q: restart: %d is none", ch.ID, ch.Restart)
	case ch.Significant && ch.Restart == Permanent:
		return fmt.Errorf(" %q: significant: but permanent", ch.ID)
	case ch.Significant && s.AutoShutdown == NeverShutdown:
		return fmt.Errorf(" %q: significant: but auto shutdown is never", ch.ID)
	case ch.Alone && s.Strategy != OneForOne:
		return fmt.Errorf(" %q: alone: but the strategy is %v", ch.ID, s.Strategy)
	case ch.Shutdown < Infinite:
		return fmt.Errorf(" %q: shutdown: %v is negative", ch.ID, ch.Shutdown)
	}
	return nil
}

// word is the name of a small enumeration's value.
func word[T ~uint8](v T, names ...string) string {
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("unknown(%d)", uint8(v))
}
