package supervisor_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

// stuck calls a probe whose handler does not return until the gate opens. The
// call's error arrives on the channel.
func (w *world) stuck(name string) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := genserver.Call(context.Background(), w.sys.Ref(name), stick{}, genserver.WithTimeout(0))
		done <- err
	}()
	synctest.Wait()
	return done
}

// A handler that hangs for ever is fenced when its time to stop is over, and
// only then a successor starts, which hears nothing from the old generation.
func TestStuckHandlerIsFenced(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		b := w.child("b")
		b.Shutdown = 2 * time.Second
		w.onInit["b"] = func(*genserver.Context, int) error { w.note("%v: b begins", w.now()); return nil }
		root := w.start(supervisor.Spec{Strategy: supervisor.OneForAll, Children: []supervisor.Child{w.child("a"), b}})
		answer := w.stuck("b")
		if err := w.sys.Ref("b").Cast(context.Background(), hint{Text: "queued cast"}); err != nil {
			t.Errorf("cast: got %v, want nil", err)
		}
		_ = w.crash("a", "oops")
		w.wantNotes("a: init", "0s: b begins", "b: init", "a: panic: oops")
		select {
		case err := <-answer:
			t.Errorf("the call got %v while its handler may still answer, want it to wait", err)
		default:
		}

		<-time.After(2 * time.Second)
		w.wantNotes("a: init", "2s: b begins", "b: init")
		if err := <-answer; !errors.Is(err, genserver.ErrExit) || !errors.Is(err, genserver.Killed) || genserver.NotDelivered(err) {
			t.Errorf("the call got %v, want a delivered ErrExit for Killed", err)
		}
		w.wantCount("b", 2, 1)

		w.open() // the old handler goes on, sends, sets timers and answers
		<-time.After(time.Hour)
		w.wantNotes()
		w.wantCount("b", 2, 2)
		if got := w.sys.Stats().LateReplies; got != 1 {
			t.Errorf("late replies: got %d, want 1", got)
		}
		w.stop(root)
	})
}

// A terminate that hangs is no different.
func TestStuckTerminate(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.onTerminate["b"] = func() { <-w.gate }
		root := w.start(supervisor.Spec{Children: w.children("a", "b")})
		if got, want := w.stop(root), supervisor.DefaultShutdown; got != want {
			t.Errorf("the stop took: got %v, want %v", got, want)
		}
		w.wantNotes("a: init", "b: init", "a: shutdown")
	})
}

func TestShutdowns(t *testing.T) {
	const infinity = time.Hour // or at least longer than all others
	for _, tt := range []struct {
		name     string
		shutdown time.Duration
		nested   bool
		took     time.Duration
		notes    []string
	}{
		{"default", 0, false, 5 * time.Second, nil},
		{"time", time.Minute, false, time.Minute, nil},
		{"infinity", supervisor.Infinity, false, infinity, []string{"b: shutdown"}},
		{"brutal kill", supervisor.BrutalKill, false, 0, nil},
		{"default of a supervisor", 0, true, infinity, []string{"b: shutdown"}},
		{"time of a supervisor", time.Minute, true, time.Minute, nil},
		{"brutal kill of a supervisor", supervisor.BrutalKill, true, 0, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				slow := make(chan struct{})
				w.onTerminate["b"] = func() { <-slow }
				b := w.child("b")
				b.Shutdown = tt.shutdown
				if tt.nested {
					b.Shutdown = supervisor.Infinity
					b = supervisor.Child{Name: "sub", Run: supervisor.Spec{Children: []supervisor.Child{b}}, Shutdown: tt.shutdown}
				}
				root := w.start(supervisor.Spec{Children: []supervisor.Child{w.child("a"), b, w.child("c")}})
				w.forget()
				open := time.AfterFunc(infinity, func() { close(slow) })
				if got := w.stop(root); got != tt.took {
					t.Errorf("the stop took: got %v, want %v", got, tt.took)
				}
				w.wantNotes(append(append([]string{"c: shutdown"}, tt.notes...), "a: shutdown")...)
				if open.Stop() {
					close(slow)
				}
			})
		})
	}
}

// A supervisor that is killed takes all below with it before Kill returns.
func TestKillTakesChildren(t *testing.T) {
	for _, when := range []string{"running", "starting", "stopping", "in backoff"} {
		t.Run(when, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				if when == "starting" {
					w.onInit["c"] = func(*genserver.Context, int) error { <-w.gate; return nil }
				}
				if when == "stopping" {
					w.onTerminate["c"] = func() { <-w.gate }
				}
				c := w.child("c")
				c.Shutdown = supervisor.Infinity
				root, err := w.sys.Spawn("root", supervisor.Spec{Children: []supervisor.Child{
					w.child("a"),
					{Name: "sub", Run: supervisor.Spec{
						Backoff:  supervisor.Backoff{Growth: supervisor.Constant, Base: time.Second},
						Children: []supervisor.Child{w.child("b"), c},
					}},
				}}, genserver.SpawnOptions{})
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				switch when {
				case "stopping":
					root.RequestStop(genserver.Shutdown)
				case "in backoff":
					_ = w.crash("b", "oops")
				}
				w.forget()
				root.Kill()
				w.wantReason(root, genserver.Killed)
				w.wantGone("root", "a", "sub", "b", "c")
				w.wantNotes()
				<-time.After(time.Hour)
				w.open()
				synctest.Wait()
				w.wantGone("root", "a", "sub", "b", "c")
			})
		})
	}
}

// onRestart is a log that acts when it is told of a restart, which is just
// before the child is spawned.
type onRestart struct {
	slog.Handler
	act func()
}

func (h onRestart) Enabled(context.Context, slog.Level) bool { return true }

func (h onRestart) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "restarting" {
		h.act()
	}
	return nil
}

// A supervisor that is killed in the midst of its turn starts nothing any more.
func TestKillInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var root *genserver.Process
		log := onRestart{slog.DiscardHandler, func() { root.Kill() }}
		w := newWorld(t, genserver.Config{Logger: slog.New(log)})
		root = w.start(supervisor.Spec{Children: w.children("a", "b")})
		_ = w.crash("b", "oops")
		w.wantNotes("a: init", "b: init", "b: panic: oops")
		w.wantReason(root, genserver.Killed)
		w.wantGone("root", "a", "b")
		w.close()
	})
}

// A nested supervisor that is killed comes back with all its children.
func TestKilledSupervisorIsRestarted(t *testing.T) {
	inWorld(t, func(_ *testing.T, w *world) {
		root := w.start(supervisor.Spec{Strategy: supervisor.RestForOne, Children: []supervisor.Child{
			w.child("a"),
			{Name: "sub", Shutdown: supervisor.BrutalKill, Run: supervisor.Spec{Children: w.children("b", "c")}},
		}})
		w.stuck("b")
		_ = w.crash("a", "oops")
		w.wantNotes("a: init", "b: init", "c: init", "a: panic: oops", "a: init", "b: init", "c: init")
		w.wantCount("b", 2, 1)
		w.stop(root)
		w.open()
		w.wantNotes("a: shutdown")
	})
}

func TestStopDuringBackoff(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		root := w.start(supervisor.Spec{
			Backoff:  supervisor.Backoff{Growth: supervisor.Constant, Base: time.Minute},
			Children: w.children("a", "b"),
		})
		_ = w.crash("b", "oops")
		w.wantGone("b")
		if got := w.stop(root); got != 0 {
			t.Errorf("the stop took: got %v, want 0s", got)
		}
		<-time.After(time.Hour)
		w.wantNotes("a: init", "b: init", "b: panic: oops", "a: shutdown")
	})
}

// A supervisor is one of its System's servers, and can be stopped by name, from
// inside one of its children too.
func TestStopByName(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		root := w.start(supervisor.Spec{Children: w.children("a")})
		if err := w.sys.Ref("root").Stop(context.Background(), errBroken); err != nil {
			t.Errorf("stop: got %v, want nil", err)
		}
		w.wantReason(root, errBroken)
		w.wantNotes("a: init", "a: shutdown")
	})
}
