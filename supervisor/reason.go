package supervisor

import (
	"errors"
	"fmt"
	"strings"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/supervision"
)

var (
	// ErrRestartLimit is the code of the reason a supervisor ends with when its
	// children crashed more often than it may restart them. Its text says how
	// often, and which child was the last; its Reason is how that one ended. In
	// a chain of nested supervisors errors.Is finds the innermost reason too,
	// if that is a *genserver.Error.
	ErrRestartLimit = &genserver.Error{Code: "restart_limit"}

	// ErrStartFailed is the code of the error of a supervisor that did not
	// start, because one of its children didn't. Its text names the child, its
	// Reason is the child's.
	ErrStartFailed = &genserver.Error{Code: "start_failed"}
)

func exhausted(e *supervision.Exhausted) error {
	return &genserver.Error{
		Code:   ErrRestartLimit.Code,
		Text:   fmt.Sprintf("%d in %v, %d allowed, the last was %s", e.Restarts, e.Window, e.MaxRestarts, e.Child),
		Reason: reasonOf(e.Reason),
	}
}

// ended is why a child is down for good.
func ended(reason error) error {
	var e *supervision.Exhausted
	if errors.As(reason, &e) {
		return exhausted(e)
	}
	return reason
}

func startFailed(f supervision.Failed) error {
	return &genserver.Error{Code: ErrStartFailed.Code, Text: "child " + f.ID, Reason: reasonOf(f.Reason)}
}

// reasonOf makes a link of the chain, which can cross the wire, of any error.
func reasonOf(err error) *genserver.Error {
	if err == nil {
		return nil
	}
	var e *genserver.Error
	if !errors.As(err, &e) {
		return &genserver.Error{Code: genserver.ErrHandler.Code, Text: err.Error()}
	}
	if err == error(e) { //nolint:errorlint // unwrapped is meant
		return e
	}
	text := err.Error()
	if e.Reason != nil {
		text = strings.TrimSuffix(text, ": "+e.Reason.Error())
	}
	return &genserver.Error{Code: e.Code, Text: text, Reason: e.Reason}
}

// classOf sorts a child's reason. The outermost error decides: a server that
// crashed because another one ended normally did not end normally.
func classOf(reason error) supervision.Class {
	var e *genserver.Error
	if errors.As(reason, &e) {
		switch e.Code {
		case genserver.Normal.Code:
			return supervision.ClassNormal
		case genserver.Shutdown.Code:
			return supervision.ClassShutdown
		case genserver.ErrFenced.Code:
			return supervision.ClassFenced
		}
	}
	return supervision.ClassAbnormal
}
