package supervisor_test

import (
	"errors"
	"testing"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

func TestWindowSlides(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		root := w.start(supervisor.Spec{MaxRestarts: 2, RestartWindow: 10 * time.Second, Children: w.children("a", "b")})
		at := func(s time.Duration, name string) {
			<-time.After(s*time.Second - w.now())
			_ = w.crash(name, "error")
		}
		// Never three in ten seconds, until the last.
		at(0, "a")
		at(6, "b")
		at(11, "a")
		at(17, "a")
		if err := root.Reason(); err != nil {
			t.Fatalf("reason of root before the limit: got %v, want nil", err)
		}
		at(20, "b")
		w.wantReason(root, supervisor.ErrRestartLimit)
		const want = "restart limit reached: 3 in 10s, 2 allowed, the last was b: lost: it is broken"
		if got := root.Reason().Error(); got != want {
			t.Errorf("reason of root: got %q, want %q", got, want)
		}
		w.wantGone("root", "a", "b")
	})
}

func TestDefaultLimit(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		root := w.start(supervisor.Spec{Children: w.children("a")})
		for range supervisor.DefaultMaxRestarts {
			_ = w.crash("a", "oops")
		}
		w.wantCount("a", 4, 1)
		_ = w.crash("a", "oops")
		w.wantReason(root, supervisor.ErrRestartLimit)
	})
}

// A round of many siblings costs one restart.
func TestRoundCostsOne(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		root := w.start(supervisor.Spec{
			Strategy: supervisor.OneForAll, MaxRestarts: 1, Children: w.children("a", "b", "c", "d"),
		})
		_ = w.crash("b", "oops")
		w.wantCount("d", 2, 1)
		_ = w.crash("c", "oops")
		w.wantReason(root, supervisor.ErrRestartLimit)
	})
}

func TestNoRestarts(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		root := w.start(supervisor.Spec{MaxRestarts: supervisor.NoRestarts, Children: w.children("a", "b")})
		_ = w.crash("a", "oops")
		w.wantReason(root, supervisor.ErrRestartLimit)
		w.wantNotes("a: init", "b: init", "a: panic: oops", "b: shutdown")
	})
}

// What an inner supervisor can't mend becomes the crash of that supervisor, and
// so on up to the root; the reason tells the whole story.
func TestEscalation(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		inner := supervisor.Spec{MaxRestarts: 1, Children: w.children("b", "c")}
		mid := supervisor.Spec{MaxRestarts: supervisor.NoRestarts, Children: []supervisor.Child{{Name: "inner", Run: inner}, w.child("d")}}
		root := w.start(supervisor.Spec{
			MaxRestarts: 1,
			Children:    []supervisor.Child{w.child("a"), {Name: "mid", Run: mid}},
		})
		w.wantNotes("a: init", "b: init", "c: init", "d: init")
		_ = w.crash("b", "error")
		w.wantNotes("b: lost: it is broken", "b: init") // mended by inner
		_ = w.crash("b", "error")                       // by root, which starts mid anew
		w.wantNotes("b: lost: it is broken", "c: shutdown", "d: shutdown", "b: init", "c: init", "d: init")
		w.wantCount("a", 1, 1)

		_ = w.crash("c", "error")
		w.forget()
		_ = w.crash("c", "error")
		w.wantNotes("c: lost: it is broken", "b: shutdown", "d: shutdown", "a: shutdown")
		w.wantReason(root, supervisor.ErrRestartLimit)
		w.wantReason(root, errBroken)
		const want = "restart limit reached: 2 in 5s, 1 allowed, the last was mid: " +
			"restart limit reached: 1 in 5s, 0 allowed, the last was inner: " +
			"restart limit reached: 2 in 5s, 1 allowed, the last was c: " +
			"lost: it is broken"
		if got := root.Reason().Error(); got != want {
			t.Errorf("reason of root:\ngot  %s\nwant %s", got, want)
		}
		levels := 0
		for err := root.Reason(); err != nil; err = errors.Unwrap(err) {
			if e, ok := err.(*genserver.Error); ok && e.Code == supervisor.ErrRestartLimit.Code { //nolint:errorlint // level by level
				levels++
			}
		}
		if levels != 3 {
			t.Errorf("levels in the reason: got %d, want 3", levels)
		}
		w.wantGone("root", "a", "mid", "inner", "b", "c", "d")
	})
}

// A transient supervisor that gave up is started again, unlike OTP's.
func TestTransientSupervisor(t *testing.T) {
	inWorld(t, func(_ *testing.T, w *world) {
		root := w.start(supervisor.Spec{Children: []supervisor.Child{{
			Name: "sub", Restart: supervisor.Transient,
			Run: supervisor.Spec{MaxRestarts: supervisor.NoRestarts, Children: w.children("a")},
		}}})
		_ = w.crash("a", "oops")
		w.wantCount("a", 2, 1)
		w.stop(root)
	})
}

// A restart that fails costs one of the budget and is tried again.
func TestRestartFails(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.onInit["b"] = func(_ *genserver.Context, life int) error {
			if life > 1 && life < 4 {
				return errBroken
			}
			return nil
		}
		root := w.start(supervisor.Spec{Children: w.children("a", "b")})
		_ = w.crash("b", "oops")
		w.wantNotes("a: init", "b: init", "b: panic: oops", "b: init failed", "b: init failed", "b: init")
		_ = w.crash("b", "oops")
		w.wantReason(root, supervisor.ErrRestartLimit)
		w.wantReason(root, genserver.ErrPanic)
	})
}
