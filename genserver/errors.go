package genserver

import (
	"errors"
	"fmt"
	"strings"
)

// Error is the error of every call, cast and start that the runtime refuses or
// fails. It looks the same whether the server is in this process or on another
// node, so that moving a server changes nothing for its callers.
//
// Match the runtime's own with errors.Is and the Err… sentinels, users' own
// with the value [NewError] gave, and ask [NotDelivered] before sending again.
type Error struct {
	// Code is one of the runtime's closed set, such as "overloaded", or a
	// user's, which has a dot in it, such as "booking.no_seat".
	Code string
	// Server names who was called; empty where no server is concerned.
	Server string
	// Text says what happened, lower case, without Code and Server.
	Text string
	// Undelivered is true where the message certainly did not reach a
	// handler; see [NotDelivered].
	Undelivered bool
	// Reason is why the server ended, for ErrExit.
	Reason *Error

	// cause is the caller's own context's error; it never crosses the wire.
	cause error
}

// Error is "server: code: text", as far as these are known.
func (e *Error) Error() string {
	parts := make([]string, 0, 4)
	if e.Server != "" {
		parts = append(parts, e.Server)
	}
	if text := codeText[e.Code]; text != "" {
		parts = append(parts, text)
	} else if e.Text == "" {
		parts = append(parts, e.Code)
	}
	if e.Text != "" {
		parts = append(parts, e.Text)
	}
	if e.Reason != nil {
		parts = append(parts, e.Reason.Error())
	}
	return strings.Join(parts, ": ")
}

// Is matches any *Error of the same code, so that a sentinel matches its
// detailed form, from this node or another. An ErrTimeout of a context that
// ended matches the context's error too.
func (e *Error) Is(target error) bool {
	if t, ok := target.(*Error); ok {
		return t.Code == e.Code
	}
	return e.cause != nil && errors.Is(e.cause, target)
}

// Unwrap is the reason a server ended, so that errors.Is finds it in an ErrExit.
func (e *Error) Unwrap() error {
	if e.Reason == nil {
		return nil
	}
	return e.Reason
}

// The runtime's errors. Each comment says what the caller may conclude; those
// called undelivered always satisfy [NotDelivered].
var (
	// ErrNoProcess means that no server has this name. Undelivered.
	ErrNoProcess = &Error{Code: "no_process"}
	// ErrExit means that the server ended before it answered; Reason says why. A
	// message still queued then is undelivered, the one being handled is not.
	ErrExit = &Error{Code: "exit"}
	// ErrNodeDown means that the server's node died. The outcome is unknown.
	ErrNodeDown = &Error{Code: "node_down"}
	// ErrOverloaded means that the server's mailbox was full. Undelivered.
	ErrOverloaded = &Error{Code: "overloaded"}
	// ErrTimeout means that no answer came in time. Undelivered if the message was
	// certainly still queued and now never runs; else the outcome is unknown.
	ErrTimeout = &Error{Code: "timeout"}
	// ErrUnknownOp means that the server has no handler for the message. Undelivered.
	ErrUnknownOp = &Error{Code: "unknown_op"}
	// ErrCallCycle means that the call would wait for its own caller. Undelivered.
	ErrCallCycle = &Error{Code: "call_cycle"}
	// ErrBadPayload means that a request did not decode (undelivered), or that a
	// reply did not (the handler ran).
	ErrBadPayload = &Error{Code: "bad_payload"}
	// ErrMoved means that the server is not, or no longer, where the message went. Undelivered.
	ErrMoved = &Error{Code: "moved"}
	// ErrDraining means that the node takes no new work. Undelivered.
	ErrDraining = &Error{Code: "draining"}
	// ErrUnavailable means that NATS or its records cannot be reached; to a sender that is a
	// cluster-wide server, also that its own [Gate] is closed. Undelivered where
	// NotDelivered says so, else unknown.
	ErrUnavailable = &Error{Code: "unavailable"}
	// ErrFenced means that the caller itself belongs to a generation that was killed or
	// superseded; it may act no more. Undelivered. As a reason: the server's name is another
	// node's, or its node was declared dead; that is no crash.
	ErrFenced = &Error{Code: "fenced"}
	// ErrHandler means that the handler returned an error that has no code of its own.
	// The handler ran.
	ErrHandler = &Error{Code: "handler_error"}
	// ErrNameTaken means that a start was refused because the name has a holder.
	ErrNameTaken = &Error{Code: "name_taken"}
)

// Reasons for which servers end, besides errors of their own.
var (
	// Normal is the reason of a server that ended because its work is done.
	Normal = &Error{Code: "normal"}
	// Shutdown is the reason of a server its supervisor stopped.
	Shutdown = &Error{Code: "shutdown"}
	// Killed is the reason of a server that was ended without terminate.
	Killed = &Error{Code: "killed"}
	// ErrStuck is the reason of a server that was killed by its Type's [Watchdog].
	ErrStuck = &Error{Code: "stuck"}
	// ErrPanic is the code of the reason of a server whose handler panicked;
	// the stack goes to the log, not over the wire.
	ErrPanic = &Error{Code: "panic"}
)

// codeText is what Error says for the runtime's codes.
var codeText = map[string]string{
	"no_process":    "no such process",
	"exit":          "server exited",
	"node_down":     "node is down",
	"overloaded":    "mailbox is full",
	"timeout":       "no reply in time",
	"unknown_op":    "unknown op",
	"call_cycle":    "call cycle",
	"bad_payload":   "bad payload",
	"moved":         "server has moved",
	"draining":      "node is draining",
	"unavailable":   "unavailable",
	"fenced":        "fenced",
	"name_taken":    "name is taken",
	"normal":        "normal",
	"shutdown":      "shutdown",
	"killed":        "killed",
	"panic":         "panic",
	"stuck":         "server was stuck",
	"restart_limit": "restart limit reached",
}

// NewError makes an error that handlers can return and callers can match with
// errors.Is on any node. The code must have a dot in it, as in
// "booking.no_seat"; NewError panics otherwise, as it is meant for package
// variables.
//
//	var ErrNoSeat = genserver.NewError("booking.no_seat", "no seat left")
func NewError(code, text string) *Error {
	if !userCode(code) {
		panic(fmt.Sprintf("genserver.NewError: code %q: a user's code is lower-case tokens joined by dots, as in booking.no_seat", code))
	}
	return &Error{Code: code, Text: text}
}

func userCode(code string) bool {
	dot := strings.IndexByte(code, '.')
	return dot > 0 && dot < len(code)-1 && strings.ToLower(code) == code && !strings.ContainsAny(code, " \t\r\n")
}

// NotDelivered reports that the message certainly reached no handler, so that
// it is safe to send again even if handling it twice would not be. False means
// that it ran, or may have, or may yet.
func NotDelivered(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Undelivered
}

// about is a copy of the error that names the server it concerns.
func (e *Error) about(server string) *Error {
	c := *e
	c.Server = server
	return &c
}

// undelivered is a new error of a sentinel's code, for a message that reached
// no handler.
func undelivered(kind *Error, server, format string, args ...any) *Error {
	return &Error{Code: kind.Code, Server: server, Text: fmt.Sprintf(format, args...), Undelivered: true}
}

// handlerError is what a caller gets of an error that a handler returned.
// Codes of the runtime's own belong to some other call, one that the handler
// made, so they don't pass: the caller must not mistake a timeout or a
// refusal further down for its own.
func handlerError(server string, err error) *Error {
	var e *Error
	if errors.As(err, &e) && userCode(e.Code) {
		if e.Server == "" && err == error(e) { //nolint:errorlint // unwrapped is meant
			return &Error{Code: e.Code, Server: server, Text: e.Text}
		}
		return &Error{Code: e.Code, Server: server, Text: err.Error()}
	}
	return &Error{Code: ErrHandler.Code, Server: server, Text: err.Error()}
}

// reasonError is a server's end as its callers see it. Unlike handlerError it
// keeps the runtime's codes.
func reasonError(reason error) *Error {
	var e *Error
	if errors.As(reason, &e) {
		if err, ok := reason.(*Error); ok { //nolint:errorlint // unwrapped is meant
			return err
		}
		return &Error{Code: e.Code, Text: reason.Error()}
	}
	return &Error{Code: ErrHandler.Code, Text: reason.Error()}
}

// exitError is what callers get of a server that ended.
func exitError(server string, reason error, undelivered bool) *Error {
	return &Error{Code: ErrExit.Code, Server: server, Reason: reasonError(reason), Undelivered: undelivered}
}

// stopError is what Stop returns to the runtime.
type stopError struct{ reason error }

func (e *stopError) Error() string { return "stop: " + e.reason.Error() }
func (e *stopError) Unwrap() error { return e.reason }

// Stop is returned by a handler or an init function to end the server with a
// reason: [Normal] for nil, [Shutdown], or an error, which is a crash. A
// call's handler that returns it leaves the call unanswered: the caller gets
// ErrExit. See Context.Stop for an answer first.
func Stop(reason error) error {
	if reason == nil {
		reason = Normal
	}
	return &stopError{reason}
}

// ended reports whether a reason is an end by intent rather than a crash. The
// outermost error decides: who crashed because another server ended normally
// did not end normally.
func ended(reason error) bool { return reasonIs(reason, Normal) || reasonIs(reason, Shutdown) }

func reasonIs(reason error, kind *Error) bool {
	// Most are one, and errors.As would have the stack of a new goroutine grow.
	if e, ok := reason.(*Error); ok { //nolint:errorlint // what is wrapped is looked for below
		return e.Code == kind.Code
	}
	var e *Error
	return errors.As(reason, &e) && e.Code == kind.Code
}
