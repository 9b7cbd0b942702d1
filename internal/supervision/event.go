package supervision

import "fmt"

// Event is what a [Core] is told.
type Event interface {
	fmt.Stringer
	event()
}

// Start asks for the initial start. Only the first one counts.
type Start struct{}

// Stop asks for the end of the supervisor, in any phase; the answer is
// [Stopped], unless the supervisor was already ending for another cause.
type Stop struct {
	// Reason is handed on to Stopped.
	Reason error
}

// ChildStarted tells that a child's start succeeded: its init has returned.
type ChildStarted struct {
	ID         string
	Generation uint64
}

// StartFailed tells that a child's start failed, and that nothing of that
// generation runs.
type StartFailed struct {
	ID         string
	Generation uint64
	Reason     error
}

// ChildExited tells that a child ended, by itself or because it was told to.
// For a child that was starting it implies a ChildStarted that got lost.
type ChildExited struct {
	ID         string
	Generation uint64
	Class      Class
	Reason     error
}

// ChildrenLost tells that one cause ended several children, such as the loss
// of their node. Whatever their number, it counts as one restart.
type ChildrenLost struct {
	Exits []ChildExited
}

// TimerFired tells that the time of a [StartTimer] is over.
type TimerFired struct {
	Token uint64
}

func (Start) event()        {}
func (Stop) event()         {}
func (ChildStarted) event() {}
func (StartFailed) event()  {}
func (ChildExited) event()  {}
func (ChildrenLost) event() {}
func (TimerFired) event()   {}

func (Start) String() string          { return "start" }
func (e Stop) String() string         { return fmt.Sprintf("stop: %v", e.Reason) }
func (e ChildStarted) String() string { return fmt.Sprintf("%s#%d started", e.ID, e.Generation) }
func (e StartFailed) String() string {
	return fmt.Sprintf("%s#%d failed to start: %v", e.ID, e.Generation, e.Reason)
}

func (e ChildExited) String() string {
	return fmt.Sprintf("%s#%d exited (%v): %v", e.ID, e.Generation, e.Class, e.Reason)
}
func (e ChildrenLost) String() string { return fmt.Sprintf("lost together: %v", e.Exits) }
func (e TimerFired) String() string   { return fmt.Sprintf("timer %d fired", e.Token) }
