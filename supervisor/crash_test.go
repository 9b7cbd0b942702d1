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

// A thousand callers wait behind a handler that panics: all know at once, and
// the restarted server knows nothing of them.
func TestCallersBehindPanic(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		root := w.start(supervisor.Spec{Children: []supervisor.Child{{Name: "a", Run: dyingType.With(w.gate)}}})
		ref := w.sys.Ref("a")
		running := make(chan error, 1)
		go func() {
			_, err := genserver.Call(context.Background(), ref, end{How: "oops"}, genserver.WithTimeout(time.Hour))
			running <- err
		}()
		synctest.Wait()
		const callers = genserver.DefaultMailbox
		queued := make(chan error, callers)
		for range callers {
			go func() {
				_, err := genserver.Call(context.Background(), ref, incr{}, genserver.WithTimeout(time.Hour))
				queued <- err
			}()
		}
		synctest.Wait()
		if _, err := genserver.Call(context.Background(), ref, incr{}); !errors.Is(err, genserver.ErrOverloaded) {
			t.Errorf("one call more: got %v, want ErrOverloaded", err)
		}
		<-time.After(time.Second)
		w.open()
		if err := <-running; !errors.Is(err, genserver.ErrExit) || !errors.Is(err, genserver.ErrPanic) || genserver.NotDelivered(err) {
			t.Errorf("the call that panics: got %v, want a delivered ErrExit for ErrPanic", err)
		}
		for range callers {
			err := <-queued
			if !errors.Is(err, genserver.ErrExit) || !errors.Is(err, genserver.ErrPanic) || !genserver.NotDelivered(err) {
				t.Fatalf("a queued call: got %v, want an undelivered ErrExit for ErrPanic", err)
			}
		}
		if got, want := w.now(), time.Second; got != want {
			t.Errorf("the callers knew at: got %v, want %v", got, want)
		}
		synctest.Wait()
		w.wantCount("a", 0, 1)
		w.stop(root)
	})
}

// dying counts calls until it is told to die, for which it waits on its gate.
type dying struct {
	gate chan struct{}
	n    int
}

var dyingType = genserver.Define("test.Dying",
	func(_ *genserver.Context, gate chan struct{}) (*dying, error) { return &dying{gate: gate}, nil },
	genserver.HandleCall(func(d *dying, _ *genserver.Context, e end) (struct{}, error) { <-d.gate; panic(e.How) }),
	genserver.HandleCall(func(d *dying, _ *genserver.Context, _ incr) (count, error) { d.n++; return count{N: d.n}, nil }))

// Timers and messages of a life that crashed die with it.
func TestNothingOutlivesACrash(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.onInit["a"] = func(ctx *genserver.Context, life int) error {
			if life == 1 {
				ctx.SendAfter(time.Minute, tick{Text: "timer of the first life"})
			}
			return nil
		}
		w.onTerminate["a"] = func() { <-time.After(time.Second) }
		root := w.start(supervisor.Spec{Children: w.children("a")})
		err := w.crash("a", "oops")
		if !errors.Is(err, genserver.ErrExit) || w.now() != 0 {
			t.Errorf("call: got %v at %v, want ErrExit at once, before terminate has run", err, w.now())
		}
		// Terminate is under way: the name takes nothing any more.
		if err := w.sys.Ref("a").Cast(context.Background(), hint{Text: "cast between two lives"}, genserver.Strict()); !isNoProcess(err) {
			t.Errorf("cast: got %v, want ErrNoProcess", err)
		}
		<-time.After(time.Hour)
		w.wantNotes("a: init", "a: panic: oops", "a: init")
		w.wantCount("a", 2, 1)
		w.stop(root)
	})
}
