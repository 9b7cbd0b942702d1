package supervision

import (
	"fmt"
	"time"
)

// Class is all the core needs to know of why a child ended; the caller derives
// it from the reason.
type Class uint8

const (
	// ClassAbnormal is a crash: every reason that is none of the others.
	ClassAbnormal Class = iota
	// ClassNormal is the end of a child whose work is done.
	ClassNormal
	// ClassShutdown is an orderly end by request; OTP's shutdown and {shutdown, Term}.
	// For restarts it counts as ClassNormal does.
	ClassShutdown
	// ClassFenced is the end of a child that its node may not run any more, since
	// its name is another node's. It is no crash: whatever its restart type, the
	// child is not restarted, costs nothing, and its siblings go on.
	ClassFenced
)

// String is the class in lower case.
func (c Class) String() string {
	return word(c, "abnormal", "normal", "shutdown", "fenced")
}

// Exhausted is the error of a supervisor that broke its restart limit. A
// nested supervisor exits with it, abnormally, so that the Reason of an outer
// one can be an Exhausted again: the chain that errors.As and errors.Is follow
// leads to the crash that began it.
type Exhausted struct {
	// Child is whose crash was one too many.
	Child string
	// Restarts is how many there were within Window, that one included.
	Restarts int
	// MaxRestarts is how many were allowed.
	MaxRestarts int
	// Window is the restart window.
	Window time.Duration
	// Reason is why Child ended the last time.
	Reason error
}

// Error tells the numbers, then the last reason.
func (e *Exhausted) Error() string {
	return fmt.Sprintf("restart limit broken by %s: %d in %v, %d allowed: %v",
		e.Child, e.Restarts, e.Window, e.MaxRestarts, e.Reason)
}

// Unwrap is the last reason.
func (e *Exhausted) Unwrap() error { return e.Reason }
