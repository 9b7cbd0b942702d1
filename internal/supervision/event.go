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
	// Class is ClassFenced or any other, which makes no difference.
	Class  Class
	Reason error
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

// AddChild asks for a child more, at the end of the order, and for its start.
// It is answered once the child is up; where its start fails, it is forgotten
// and the supervisor goes on. OTP's start_child.
type AddChild struct {
	Token uint64 // names the request; see [Reply]
	Child Child
}

// TerminateChild asks for the end of a child that is not to be restarted for
// it. It is answered once the child is down. The child stays listed, but for
// one that is not kept, until [RestartChild] or a sibling's round starts it
// again, or [DeleteChild] ends that. OTP's terminate_child: "The child process
// can later be restarted by the supervisor."
type TerminateChild struct {
	Token uint64
	ID    string
}

// RestartChild asks for the start of a child that is down for good. It is
// answered once the child is up, or its start has failed. OTP's restart_child.
type RestartChild struct {
	Token uint64
	ID    string
}

// DeleteChild asks to forget a child that is down for good. OTP's delete_child.
type DeleteChild struct {
	Token uint64
	ID    string
}

func (Start) event()          {}
func (Stop) event()           {}
func (ChildStarted) event()   {}
func (StartFailed) event()    {}
func (ChildExited) event()    {}
func (ChildrenLost) event()   {}
func (TimerFired) event()     {}
func (AddChild) event()       {}
func (TerminateChild) event() {}
func (RestartChild) event()   {}
func (DeleteChild) event()    {}

func (Start) String() string          { return "start" }
func (e Stop) String() string         { return fmt.Sprintf("stop: %v", e.Reason) }
func (e ChildStarted) String() string { return fmt.Sprintf("%s#%d started", e.ID, e.Generation) }
func (e StartFailed) String() string {
	return fmt.Sprintf("%s#%d failed to start: %v", e.ID, e.Generation, e.Reason)
}

func (e ChildExited) String() string {
	return fmt.Sprintf("%s#%d exited (%v): %v", e.ID, e.Generation, e.Class, e.Reason)
}
func (e ChildrenLost) String() string   { return fmt.Sprintf("lost together: %v", e.Exits) }
func (e TimerFired) String() string     { return fmt.Sprintf("timer %d fired", e.Token) }
func (e AddChild) String() string       { return fmt.Sprintf("%d: add %s", e.Token, e.Child.ID) }
func (e TerminateChild) String() string { return fmt.Sprintf("%d: terminate %s", e.Token, e.ID) }
func (e RestartChild) String() string   { return fmt.Sprintf("%d: restart %s", e.Token, e.ID) }
func (e DeleteChild) String() string    { return fmt.Sprintf("%d: delete %s", e.Token, e.ID) }
