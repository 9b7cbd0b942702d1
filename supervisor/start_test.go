package supervisor_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

// slowly makes a probe's init take a second, and note when it begins.
func (w *world) slowly(names ...string) {
	for _, name := range names {
		w.onInit[name] = func(*genserver.Context, int) error {
			w.note("%v: %s begins", w.now(), name)
			<-time.After(time.Second)
			return nil
		}
	}
}

func TestStartInOrder(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.slowly("a", "b", "c")
		root := w.start(supervisor.Spec{Children: []supervisor.Child{
			w.child("a"),
			{Name: "sub", Run: supervisor.Spec{Children: w.children("b")}},
			w.child("c"),
		}})
		if got, want := w.now(), 3*time.Second; got != want {
			t.Errorf("the start took: got %v, want %v", got, want)
		}
		w.wantNotes("0s: a begins", "a: init", "1s: b begins", "b: init", "2s: c begins", "c: init")
		w.stop(root)
		w.wantNotes("c: shutdown", "b: shutdown", "a: shutdown")
	})
}

// Calls to a child that is starting wait for it.
func TestCallWhileStarting(t *testing.T) {
	inWorld(t, func(_ *testing.T, w *world) {
		w.slowly("a")
		root, err := w.sys.Spawn("root", supervisor.Spec{Children: w.children("a")}, genserver.SpawnOptions{})
		if err != nil {
			w.t.Fatal(err)
		}
		synctest.Wait()
		w.wantCount("a", 1, 1)
		w.stop(root)
	})
}

func TestStartFails(t *testing.T) {
	for _, tt := range []struct {
		name string
		init func(*genserver.Context, int) error
		want string
		is   error
	}{
		{
			"error", func(*genserver.Context, int) error { return errBroken },
			"start root: child sub: child c: it is broken", errBroken,
		},
		{
			"panic", func(*genserver.Context, int) error { panic("oops") },
			"start root: child sub: child c: panic: oops", genserver.ErrPanic,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.onInit["c"] = tt.init
				_, err := w.sys.Start(context.Background(), "root", supervisor.Spec{Children: []supervisor.Child{
					w.child("a"),
					{Name: "sub", Run: supervisor.Spec{Children: w.children("b", "c", "d")}},
					w.child("e"),
				}}, genserver.SpawnOptions{})
				if err == nil || err.Error() != tt.want {
					t.Errorf("start: got %v, want %s", err, tt.want)
				}
				if !errors.Is(err, supervisor.ErrStartFailed) || !errors.Is(err, tt.is) {
					t.Errorf("start: got %v, want ErrStartFailed and %v in it", err, tt.is)
				}
				notes := []string{"a: init", "b: init", "c: init failed", "b: shutdown", "a: shutdown"}
				if tt.name == "panic" {
					notes = []string{"a: init", "b: init", "b: shutdown", "a: shutdown"}
				}
				w.wantNotes(notes...)
				w.wantGone("root", "a", "b", "c")
			})
		})
	}
}

// A start whose caller gives up is killed with all that it has started.
func TestStartGivenUp(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.onInit["b"] = func(*genserver.Context, int) error { <-w.gate; return nil }
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := w.sys.Start(ctx, "root", supervisor.Spec{Children: w.children("a", "b", "c")}, genserver.SpawnOptions{})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("start: got %v, want DeadlineExceeded", err)
		}
		w.wantGone("root", "a", "b", "c")
		w.open()
		w.wantNotes("a: init", "b: init")
		w.wantGone("root", "a", "b", "c")
	})
}

// A stop during the start has the child that is starting give up, or kills it.
func TestStopWhileStarting(t *testing.T) {
	for _, tt := range []struct {
		name string
		init func(w *world, ctx *genserver.Context) error
		took time.Duration
	}{
		{"polite", func(_ *world, ctx *genserver.Context) error { <-ctx.Done(); return context.Cause(ctx) }, 0},
		{"rude", func(w *world, _ *genserver.Context) error { <-w.gate; return nil }, 2 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.onInit["b"] = func(ctx *genserver.Context, _ int) error { return tt.init(w, ctx) }
				b := w.child("b")
				b.Shutdown = 2 * time.Second
				root, err := w.sys.Spawn("root", supervisor.Spec{Children: []supervisor.Child{
					w.child("a"),
					{Name: "sub", Run: supervisor.Spec{Children: []supervisor.Child{b}}},
					w.child("c"),
				}}, genserver.SpawnOptions{})
				if err != nil {
					t.Fatal(err)
				}
				w.wantNotes("a: init")
				if got := w.stop(root); got != tt.took {
					t.Errorf("the stop took: got %v, want %v", got, tt.took)
				}
				w.wantReason(root, genserver.Shutdown)
				w.wantGone("root", "a", "sub", "b", "c")
				w.open()
				if tt.name == "rude" {
					w.wantNotes("a: shutdown", "b: init")
				} else {
					w.wantNotes("b: init failed", "a: shutdown")
				}
			})
		})
	}
}

func TestNameTakenAtStart(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		squatter, err := w.sys.Start(context.Background(), "b", probeType.With(w), genserver.SpawnOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.sys.Start(context.Background(), "root", supervisor.Spec{Children: w.children("a", "b")}, genserver.SpawnOptions{})
		const want = "start root: child b: b: name is taken: b#1 has it"
		if err == nil || err.Error() != want {
			t.Errorf("start: got %v, want %s", err, want)
		}
		if !errors.Is(err, genserver.ErrNameTaken) {
			t.Errorf("start: got %v, want ErrNameTaken", err)
		}
		w.wantNotes("b: init", "a: init", "a: shutdown")
		w.wantCount("b", 1, 1) // the squatter's own life goes on
		w.stop(squatter)
	})
}

func TestNameTakenAtRestart(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		root := w.start(supervisor.Spec{
			Backoff:  supervisor.Backoff{Growth: supervisor.Constant, Base: time.Second},
			Children: w.children("a", "b"),
		})
		_ = w.crash("b", "oops")
		squatter, err := w.sys.Start(context.Background(), "b", probeType.With(w), genserver.SpawnOptions{})
		if err != nil {
			t.Fatal(err)
		}
		// Two attempts fail; before the third the name is free.
		<-time.After(2500 * time.Millisecond)
		w.stop(squatter)
		<-time.After(time.Second)
		w.wantCount("b", 3, 1)
		<-time.After(time.Minute)
		w.forget()

		_ = w.crash("b", "oops")
		squatter, err = w.sys.Start(context.Background(), "b", probeType.With(w), genserver.SpawnOptions{})
		if err != nil {
			t.Fatal(err)
		}
		w.wantReason(root, supervisor.ErrRestartLimit)
		w.wantReason(root, genserver.ErrNameTaken)
		w.wantNotes("b: panic: oops", "b: init", "a: shutdown")
		w.wantCount("b", 4, 1)
		w.stop(squatter)
	})
}
