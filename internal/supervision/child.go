package supervision

import (
	"math"
	"time"
)

// ChildState is what [Core.Children] tells of a child; OTP's which_children.
type ChildState struct {
	ID         string
	Status     Status
	Generation uint64
	// Restarts is how often the child was started again, for its own crash or
	// a sibling's.
	Restarts uint64
	// LastReason is why the last generation that ended did, or why its start
	// failed; nil if there is none.
	LastReason error
}

// Status is where a child stands.
type Status uint8

const (
	// StatusStopped is not yet started, or ended and not to be restarted.
	StatusStopped Status = iota
	// StatusStarting is ordered to start, not answered yet.
	StatusStarting
	// StatusRunning is up.
	StatusRunning
	// StatusStopping is ordered to stop, not answered yet.
	StatusStopping
	// StatusRestarting is down, and its start is to come: after a wait, or when
	// its turn in a round has come.
	StatusRestarting
)

// String is the status in lower case.
func (s Status) String() string {
	return word(s, "stopped", "starting", "running", "stopping", "restarting")
}

// child is a Child and its life so far.
type child struct {
	Child
	status     Status
	generation uint64
	restarts   uint64
	lastReason error

	prev, next *child // in start order

	came      bool     // it has been up, in some generation
	held      bool     // a StartChild was emitted and no Release since
	launched  bool     // a StartChild was ever emitted
	fresh     bool     // added, and not up yet: it's forgotten if it does not start
	requested bool     // its start is asked for: if that fails, that is no crash
	dismissed bool     // its end is asked for: it's not restarted
	starters  []uint64 // the tokens of those who wait for its start
	enders    []uint64 // and for its end

	inRound bool // it waits for its start in the round, or for its stop before

	intensity *intensity // of one that is alone and has crashed

	upSince  time.Duration // never, if this generation has not come up
	attempts int           // restarts since it was last healthy
	lastWait time.Duration // before the last of them
	timer    uint64        // the token of its own wait; 0 for none
}

const never time.Duration = math.MaxInt64

// live is true while a generation of the child may be running.
func (ch *child) live() bool {
	return ch.status == StatusStarting || ch.status == StatusRunning || ch.status == StatusStopping
}

// wants is true if the child is to be restarted after an exit of this class.
func (ch *child) wants(class Class) bool {
	return ch.Restart == Permanent || ch.Restart == Transient && class == ClassAbnormal
}

// up notes that the child's generation has come up.
func (c *Core) up(ch *child) {
	c.set(ch, StatusRunning)
	ch.upSince = c.now
	ch.came = true
	ch.inRound, ch.fresh = false, false
	c.answer(ch, nil)
}

// rested forgets the attempts of a child that has run for a healthy period
// when it ends.
func (ch *child) rested(now, window time.Duration) {
	if now-ch.upSince >= healthy(window, ch.lastWait) {
		ch.attempts = 0
	}
}

func (ch *child) state() ChildState {
	return ChildState{
		ID: ch.ID, Status: ch.status, Generation: ch.generation,
		Restarts: ch.restarts, LastReason: ch.lastReason,
	}
}
