package supervisor_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

func TestStrategies(t *testing.T) {
	for _, tt := range []struct {
		strategy supervisor.Strategy
		notes    []string
		again    map[string]bool // who begins a second life
	}{
		{
			supervisor.OneForOne,
			[]string{"b: panic: oops", "b: init"},
			map[string]bool{"b": true},
		},
		{
			supervisor.OneForAll,
			[]string{"b: panic: oops", "c: shutdown", "a: shutdown", "a: init", "b: init", "c: init"},
			map[string]bool{"a": true, "b": true, "c": true},
		},
		{
			supervisor.RestForOne,
			[]string{"b: panic: oops", "c: shutdown", "b: init", "c: init"},
			map[string]bool{"b": true, "c": true},
		},
	} {
		t.Run(tt.strategy.String(), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				names := []string{"a", "b", "c"}
				root := w.start(supervisor.Spec{Strategy: tt.strategy, Children: w.children(names...)})
				w.wantNotes("a: init", "b: init", "c: init")
				for _, name := range names {
					w.wantCount(name, 1, 1)
				}
				if err := w.crash("b", "oops"); !errors.Is(err, genserver.ErrExit) || !errors.Is(err, genserver.ErrPanic) {
					t.Errorf("call that crashes b: got %v, want ErrExit for ErrPanic", err)
				}
				w.wantNotes(tt.notes...)
				for _, name := range names {
					if tt.again[name] {
						w.wantCount(name, 2, 1) // from nothing
					} else {
						w.wantCount(name, 1, 2) // its state is kept
					}
				}
				w.stop(root)
				w.wantNotes("c: shutdown", "b: shutdown", "a: shutdown")
				w.wantGone("a", "b", "c", "root")
				w.wantReason(root, genserver.Shutdown)
			})
		})
	}
}

func TestRestartTypes(t *testing.T) {
	for _, restart := range []supervisor.Restart{supervisor.Permanent, supervisor.Transient, supervisor.Temporary} {
		for how, isCrash := range map[string]bool{"normal": false, "shutdown": false, "error": true, "panic": true, "goexit": true} {
			t.Run(fmt.Sprintf("%v/%s", restart, how), func(t *testing.T) {
				inWorld(t, func(t *testing.T, w *world) {
					a := w.child("a")
					a.Restart = restart
					root := w.start(supervisor.Spec{Children: []supervisor.Child{a, w.child("b")}})
					if err := w.crash("a", how); !errors.Is(err, genserver.ErrExit) {
						t.Errorf("call that ends a: got %v, want ErrExit", err)
					}
					if restart == supervisor.Permanent || restart == supervisor.Transient && isCrash {
						w.wantCount("a", 2, 1)
					} else {
						w.wantGone("a")
					}
					w.wantCount("b", 1, 1)
					w.stop(root)
				})
			})
		}
	}
}

func TestRestartAfterKill(t *testing.T) {
	for _, restart := range []supervisor.Restart{supervisor.Permanent, supervisor.Transient, supervisor.Temporary} {
		t.Run(restart.String(), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				a := w.child("a")
				a.Restart = restart
				root := w.start(supervisor.Spec{Children: []supervisor.Child{a}})
				w.process("a").Kill()
				if restart == supervisor.Temporary {
					w.wantNotes("a: init")
				} else {
					w.wantNotes("a: init", "a: init")
				}
				w.stop(root)
			})
		})
	}
}

// What a round sweeps up, and what it does not bring back.
func TestRoundOfAllRestartTypes(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		done, temporary := w.child("done"), w.child("temporary")
		done.Restart, temporary.Restart = supervisor.Transient, supervisor.Temporary
		root := w.start(supervisor.Spec{
			Strategy: supervisor.OneForAll,
			Children: []supervisor.Child{done, temporary, w.child("a")},
		})
		_ = w.crash("done", "normal")
		w.forget()
		_ = w.crash("a", "oops")
		w.wantNotes("a: panic: oops", "temporary: shutdown", "done: init", "a: init")
		w.wantGone("temporary")
		w.stop(root)
	})
}

// Nothing that another server does is mistaken for the child's own end.
func TestReasonOfAnotherServer(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		a := w.child("a")
		a.Restart = supervisor.Transient
		root := w.start(supervisor.Spec{Children: []supervisor.Child{a, w.child("b")}})
		a1 := w.process("a")
		a1.RequestStop(&genserver.Error{Code: genserver.ErrExit.Code, Server: "b", Reason: genserver.Normal})
		w.wantReason(a1, genserver.Normal)
		w.wantNotes("a: init", "b: init", "a: b: server exited: normal", "a: init")
		w.stop(root)
	})
}
