package supervisor_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

func TestBackoff(t *testing.T) {
	for _, tt := range []struct {
		backoff supervisor.Backoff
		begins  []int // seconds after the crash
	}{
		{supervisor.Backoff{}, []int{0, 0, 0, 0, 0, 0}},
		{supervisor.Backoff{Growth: supervisor.Constant, Base: 2 * time.Second}, []int{2, 4, 6, 8, 10, 12}},
		{supervisor.Backoff{Growth: supervisor.Linear, Base: time.Second}, []int{1, 3, 6, 10, 15, 21}},
		{supervisor.Backoff{Growth: supervisor.Linear, Base: time.Second, Max: 3 * time.Second}, []int{1, 3, 6, 9, 12, 15}},
		{supervisor.Backoff{Growth: supervisor.Exponential, Base: time.Second}, []int{1, 3, 7, 15, 31, 63}},
		{supervisor.Backoff{Growth: supervisor.Exponential, Base: time.Second, Max: 5 * time.Second}, []int{1, 3, 7, 12, 17, 22}},
	} {
		t.Run(fmt.Sprintf("%v up to %v", tt.backoff.Growth, tt.backoff.Max), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				var want []string
				for _, s := range tt.begins {
					want = append(want, (time.Duration(s) * time.Second).String())
				}
				last := 1 + len(tt.begins)
				w.onInit["a"] = func(_ *genserver.Context, life int) error {
					if life == 1 {
						return nil
					}
					w.note("%v", w.now())
					if life < last {
						return errBroken
					}
					return nil
				}
				root := w.start(supervisor.Spec{MaxRestarts: 100, Backoff: tt.backoff, Children: w.children("a")})
				_ = w.crash("a", "oops")
				<-time.After(time.Hour)
				notes := []string{"a: init", "a: panic: oops"}
				for i, at := range want {
					notes = append(notes, at)
					if i < len(want)-1 {
						notes = append(notes, "a: init failed")
					}
				}
				w.wantNotes(append(notes, "a: init")...)
				w.stop(root)
			})
		})
	}
}

// Jitter lengthens a wait by up to its part, and the cap still holds.
func TestBackoffJitter(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		const least, most = 10 * time.Second, 12 * time.Second
		up := make(chan time.Duration, 1)
		w.onInit["a"] = func(*genserver.Context, int) error { up <- w.now(); return nil }
		root := w.start(supervisor.Spec{
			MaxRestarts: 100, Children: w.children("a"),
			Backoff: supervisor.Backoff{Growth: supervisor.Constant, Base: least, Max: most, Jitter: 0.25},
		})
		waits := map[time.Duration]bool{}
		<-up
		for range 20 {
			crashed := w.now()
			_ = w.crash("a", "oops")
			waits[<-up-crashed] = true
		}
		if len(waits) < 2 {
			t.Errorf("waits: got %v, want different ones", waits)
		}
		for wait := range waits {
			if wait < least || wait > most {
				t.Errorf("wait: got %v, want %v to %v", wait, least, most)
			}
		}
		w.stop(root)
	})
}

// After a healthy time, the window or twice the last wait, waits begin anew.
func TestBackoffResets(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		up := make(chan time.Duration, 1)
		w.onInit["a"] = func(*genserver.Context, int) error { up <- w.now(); return nil }
		root := w.start(supervisor.Spec{
			MaxRestarts: 100, RestartWindow: 5 * time.Second, Children: w.children("a"),
			Backoff: supervisor.Backoff{Growth: supervisor.Exponential, Base: time.Second},
		})
		<-up
		for _, life := range []struct{ ran, wait time.Duration }{
			{0, time.Second},
			{0, 2 * time.Second},
			{4999 * time.Millisecond, 4 * time.Second}, // less than the window
			{7999 * time.Millisecond, 8 * time.Second}, // less than twice the wait
			{16 * time.Second, time.Second},            // just enough
			{5 * time.Second, time.Second},
		} {
			<-time.After(life.ran)
			crashed := w.now()
			_ = w.crash("a", "oops")
			if got := <-up - crashed; got != life.wait {
				t.Errorf("wait after a life of %v: got %v, want %v", life.ran, got, life.wait)
			}
		}
		w.stop(root)
	})
}
