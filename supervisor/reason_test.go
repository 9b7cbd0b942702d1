package supervisor_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

// Whatever a child ended with, the supervisor's reason says it, once, and keeps
// the codes in it.
func TestReasonOfEscalation(t *testing.T) {
	exit := &genserver.Error{Code: genserver.ErrExit.Code, Server: "db", Reason: errBroken}
	for _, tt := range []struct {
		reason error
		want   string
		is     []error
	}{
		{errors.New("plain"), "plain", []error{genserver.ErrHandler}},
		{errBroken, "it is broken", []error{errBroken}},
		{fmt.Errorf("load: %w", errBroken), "load: it is broken", []error{errBroken}},
		{exit, "db: server exited: it is broken", []error{genserver.ErrExit, errBroken}},
		{genserver.Killed, "killed", []error{genserver.Killed}},
	} {
		t.Run(tt.want, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				root := w.start(supervisor.Spec{MaxRestarts: supervisor.NoRestarts, Children: w.children("a")})
				w.process("a").RequestStop(tt.reason)
				for _, is := range append(tt.is, supervisor.ErrRestartLimit) {
					w.wantReason(root, is)
				}
				if got, want := root.Reason().Error(), "restart limit reached: 1 in 5s, 0 allowed, the last was a: "+tt.want; got != want {
					t.Errorf("reason: got %q, want %q", got, want)
				}
			})
		})
	}
}

// A reason that wraps one with a reason of its own says nothing twice.
func TestReasonThatWraps(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		exit := &genserver.Error{Code: genserver.ErrExit.Code, Server: "db", Reason: errBroken}
		root := w.start(supervisor.Spec{MaxRestarts: supervisor.NoRestarts, Children: w.children("a")})
		w.process("a").RequestStop(fmt.Errorf("load: %w", exit))
		for _, is := range []error{supervisor.ErrRestartLimit, genserver.ErrExit, errBroken} {
			w.wantReason(root, is)
		}
		const want = "restart limit reached: 1 in 5s, 0 allowed, the last was a: " +
			"server exited: load: db: server exited: it is broken"
		if got := root.Reason().Error(); got != want {
			t.Errorf("reason: got %q, want %q", got, want)
		}
	})
}
