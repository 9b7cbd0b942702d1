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
// detailed form, from this node or another.
func (e *Error) Is(target error) bool {
	var t *Error
	return errors.As(target, &t) && t.Code == e.Code
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
	// ErrNoProcess: no server has this name. Undelivered.
	ErrNoProcess = &Error{Code: "no_process"}
	// ErrExit: the server ended before it answered; Reason says why. A
	// message still queued then is undelivered, the one being handled is not.
	ErrExit = &Error{Code: "exit"}
	// ErrNodeDown: the server's node died. The outcome is unknown.
	ErrNodeDown = &Error{Code: "node_down"}
	// ErrOverloaded: the server's mailbox was full. Undelivered.
	ErrOverloaded = &Error{Code: "overloaded"}
	// ErrTimeout: no answer in time. Undelivered if the message was certainly
	// still queued and now never runs; else the outcome is unknown.
	ErrTimeout = &Error{Code: "timeout"}
	// ErrUnknownOp: the server has no handler for the message. Undelivered.
	ErrUnknownOp = &Error{Code: "unknown_op"}
	// ErrCallCycle: the call would wait for its own caller. Undelivered.
	ErrCallCycle = &Error{Code: "call_cycle"}
	// ErrBadPayload: a request that does not decode (undelivered), or a reply
	// that does not (the handler ran).
	ErrBadPayload = &Error{Code: "bad_payload"}
	// ErrMoved: the server is no longer where the message went. Undelivered.
	ErrMoved = &Error{Code: "moved"}
	// ErrDraining: the node takes no new work. Undelivered.
	ErrDraining = &Error{Code: "draining"}
	// ErrUnavailable: NATS or its records cannot be reached. Undelivered
	// where NotDelivered says so, else unknown.
	ErrUnavailable = &Error{Code: "unavailable"}
	// ErrFenced: the caller itself belongs to a generation that was killed or
	// superseded; it may act no more. Undelivered.
	ErrFenced = &Error{Code: "fenced"}
	// ErrHandler: the handler returned an error that has no code of its own.
	// The handler ran.
	ErrHandler = &Error{Code: "handler_error"}
	// ErrNameTaken: a start was refused because the name has a holder.
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
	// ErrPanic is the code of the reason of a server whose handler panicked;
	// the stack goes to the log, not over the wire.
	ErrPanic = &Error{Code: "panic"}
)

// codeText is what Error says for the runtime's codes.
var codeText = map[string]string{
	"no_process": "no such process",
	"exit": "server exited",
	"node_down": "node is down",
	"overloaded": "mailbox is full",
	"timeout": "no reply in time",
	"unknown_op": "unknown op",
	"call_cycle": "call cycle",
	"bad_payload": "bad payload",
	"moved": "server has moved",
	"draining": "node is draining",
	"unavailable": "unavailable",
	"fenced": "sender is fenced",
	"name_taken": "name is taken",
	"normal": "normal",
	"shutdown": "shutdown",
	"killed": "killed",
	"panic": "panic",
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
