package genserver_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/civitas-go/civitas/genserver"
)

func TestErrorText(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err  *genserver.Error
		want string
	}{
		{genserver.ErrOverloaded, "mailbox is full"},
		{&genserver.Error{Code: "overloaded", Server: "limiter", Text: "1000 messages wait"}, "limiter: mailbox is full: 1000 messages wait"},
		{&genserver.Error{Code: "exit", Server: "p", Reason: &genserver.Error{Code: "panic", Text: "boom"}}, "p: server exited: panic: boom"},
		{&genserver.Error{Code: "booking.no_seat", Server: "p", Text: "no seat left"}, "p: no seat left"},
		{&genserver.Error{Code: "booking.no_seat", Server: "p"}, "p: booking.no_seat"},
		{&genserver.Error{Code: "handler_error", Server: "p", Text: "it broke"}, "p: it broke"},
		{&genserver.Error{Code: "exit", Reason: &genserver.Error{Code: "exit", Server: "q", Reason: genserver.Killed}}, "server exited: q: server exited: killed"},
	} {
		if got := tc.err.Error(); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

func TestErrorIsAndAs(t *testing.T) {
	t.Parallel()
	exit := fmt.Errorf("outer: %w", &genserver.Error{Code: "exit", Server: "p", Reason: &genserver.Error{Code: "booking.no_seat"}})
	for _, tc := range []struct {
		target error
		want   bool
	}{
		{genserver.ErrExit, true},
		{errNoSeat, true}, // the reason
		{genserver.ErrTimeout, false},
		{genserver.Normal, false},
		{context.Canceled, false},
	} {
		if got := errors.Is(exit, tc.target); got != tc.want {
			t.Errorf("got errors.Is(%v, %v) = %v, want %v", exit, tc.target, got, tc.want)
		}
	}
	var e *genserver.Error
	if !errors.As(exit, &e) || e.Server != "p" || e.Reason == nil {
		t.Errorf("got %#v, want the exit with its server and reason", e)
	}
	for _, err := range []error{nil, errBroken, genserver.ErrTimeout, &genserver.Error{Code: "exit", Reason: &genserver.Error{Undelivered: true}}} {
		if genserver.NotDelivered(err) {
			t.Errorf("got NotDelivered(%v) = true, want false", err)
		}
	}
	if err := fmt.Errorf("book: %w", &genserver.Error{Code: "overloaded", Undelivered: true}); !genserver.NotDelivered(err) {
		t.Errorf("got NotDelivered(%v) = false, want true", err)
	}
}

func TestUserCodes(t *testing.T) {
	t.Parallel()
	for code, ok := range map[string]bool{
		"booking.no_seat": true, "a.b.c": true, "a.1": true,
		"": false, "noseat": false, ".x": false, "x.": false, "Booking.x": false, "a b.c": false, "a.b\n": false,
	} {
		func() {
			defer func() {
				if got := recover() == nil; got != ok {
					t.Errorf("code %q: got accepted = %v, want %v", code, got, ok)
				}
			}()
			genserver.NewError(code, "text")
		}()
	}
	if got := errors.Is(genserver.Stop(errNoSeat), errNoSeat); !got {
		t.Error("got a Stop that hides its reason, want it found")
	}
}
