package supervision

import (
	"fmt"
	"strings"
	"time"
)

// Action is what a [Core] wants done, or reports. Perform them in order,
// without waiting for their answers.
type Action interface {
	fmt.Stringer
	action()
}

// StartChild orders a new generation of a child. No other generation of it
// lives, as far as the events told. A generation's number is one more than the
// last one's; the first is 1, or where children were forgotten before, more than
// any of theirs, so that no late answer is taken for another child's.
type StartChild struct {
	ID         string
	Generation uint64
	// Restarts is how often the child was started before.
	Restarts uint64
}

// StopChild orders a child to stop, also one whose start is not answered yet. A
// [Brutal] one may follow one that is not answered.
// The child ended only when the answer says so, a killed one too.
type StopChild struct {
	ID         string
	Generation uint64
	Shutdown   Shutdown
}

// StartTimer asks for a TimerFired after Delay. Tokens are never used twice.
type StartTimer struct {
	Token uint64
	Delay time.Duration
}

// CancelTimer says that a timer is void. One that fires nevertheless is ignored.
type CancelTimer struct {
	Token uint64
}

// Release says that a child is gone and no restart is under way: it ended for
// good, or its supervisor ends. What was taken for it, such as a cluster-wide
// name, can be given back. Should a sibling's round start a transient child
// again, a StartChild begins anew what Release ended.
type Release struct {
	ID string
}

// Forget says that a child is listed no longer: it was deleted, or it ended and
// is of a kind that is not kept. A later AddChild may use its ID again.
type Forget struct {
	ID string
	// Reason is why its last generation ended, or did not start; nil if there
	// was none.
	Reason error
}

// Ended says of a child that is Told that it is down for good, or did not start
// when that was asked for; nothing of that is said while the supervisor ends. What
// is to be released of it comes after.
type Ended struct {
	ID string
	// Reason is why its last generation ended or did not start; an [*Exhausted]
	// if it was given up.
	Reason error
}

// Reply answers the request of that token: an [AddChild], [TerminateChild],
// [RestartChild] or [DeleteChild]. Each is answered once.
type Reply struct {
	Token uint64
	// Err is nil, one of this package's errors, or a [*StartError].
	Err error
}

// Overdue reports that the time for the end is over, and which children are
// still there, in start order. Orders to kill them follow.
type Overdue struct {
	IDs []string
}

// Started reports that the initial start is complete. It comes at most once,
// and before it there may come a final report instead.
type Started struct{}

// Failed is the final report of an initial start that failed: which child's,
// and why. The earlier ones are stopped. OTP's failed_to_start_child.
type Failed struct {
	ID     string
	Reason error
}

// Stopped is the final report of a supervisor that was told to stop.
type Stopped struct {
	// Reason is the Stop's.
	Reason error
}

// AutoStopped is the final report of a supervisor that ended with its
// significant children; ID is the last one's. To the supervisor above it is an
// exit of [ClassShutdown].
type AutoStopped struct {
	ID string
}

// Escalate is the final report of a supervisor that broke its restart limit.
// To the supervisor above it is an abnormal exit; in OTP it is a shutdown,
// which a transient supervisor would not be restarted after.
type Escalate struct {
	Reason *Exhausted
}

func (StartChild) action()  {}
func (StopChild) action()   {}
func (StartTimer) action()  {}
func (CancelTimer) action() {}
func (Release) action()     {}
func (Forget) action()      {}
func (Ended) action()       {}
func (Reply) action()       {}
func (Overdue) action()     {}
func (Started) action()     {}
func (Failed) action()      {}
func (Stopped) action()     {}
func (AutoStopped) action() {}
func (Escalate) action()    {}

func (a StartChild) String() string { return fmt.Sprintf("start %s#%d", a.ID, a.Generation) }

func (a StopChild) String() string {
	switch a.Shutdown {
	case Brutal:
		return fmt.Sprintf("kill %s#%d", a.ID, a.Generation)
	case Infinite:
		return fmt.Sprintf("stop %s#%d, take your time", a.ID, a.Generation)
	default:
		return fmt.Sprintf("stop %s#%d within %v", a.ID, a.Generation, a.Shutdown)
	}
}
func (a StartTimer) String() string  { return fmt.Sprintf("timer %d in %v", a.Token, a.Delay) }
func (a CancelTimer) String() string { return fmt.Sprintf("cancel timer %d", a.Token) }
func (a Release) String() string     { return "release " + a.ID }
func (a Forget) String() string      { return "forget " + a.ID }
func (a Ended) String() string       { return fmt.Sprintf("ENDED %s: %v", a.ID, a.Reason) }
func (a Reply) String() string {
	if a.Err != nil {
		return fmt.Sprintf("answer %d: %v", a.Token, a.Err)
	}
	return fmt.Sprintf("answer %d: ok", a.Token)
}

func (a Overdue) String() string     { return fmt.Sprintf("OVERDUE: %s", strings.Join(a.IDs, ", ")) }
func (Started) String() string       { return "STARTED" }
func (a Failed) String() string      { return fmt.Sprintf("FAILED to start %s: %v", a.ID, a.Reason) }
func (a AutoStopped) String() string { return "STOPPED: significant " + a.ID + " has ended" }
func (a Stopped) String() string     { return fmt.Sprintf("STOPPED: %v", a.Reason) }
func (a Escalate) String() string    { return fmt.Sprintf("ESCALATE: %v", a.Reason) }
