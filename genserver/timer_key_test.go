package genserver_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

func TestKeyedTimers(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
		synctest.Test(t, func(t *testing.T) {
			s := newSystem(t, genserver.Config{})
			start(t, s, "p", typ.With(hooks{}))
			began := time.Now()
			var fired []string
			set := func(c *genserver.Context, key any, d time.Duration, name string) *genserver.Timer {
				return c.SetTimer(key, d, Note{Fn: func(c *genserver.Context) error {
					fired = append(fired, fmt.Sprint(name, " ", time.Since(began)))
					if c.CancelTimer(key) {
						t.Errorf("%s: got a timer to cancel while it is handled, want none", name)
					}
					return nil
				}})
			}
			inside(t, s, "p", func(c *genserver.Context) {
				first := set(c, "a", time.Second, "a1")
				set(c, "a", 3*time.Second, "a2")
				if first.Left() != 0 || first.Cancel() {
					t.Errorf("got %v left of a replaced timer, want it dead", first.Left())
				}
				set(c, 7, time.Second, "b")
				set(c, struct{ n int }{7}, 0, "c1")
				set(c, struct{ n int }{7}, 0, "c2") // c1 is in the mailbox
				set(c, "gone", time.Second, "gone")
				if !c.CancelTimer("gone") || c.CancelTimer("gone") || c.CancelTimer("never") {
					t.Error("got the wrong timers cancelled, want gone, once")
				}
				set(c, "by hand", time.Second, "by hand").Cancel()
				set(c, "by hand", 2*time.Second, "again")
				c.SendAfter(time.Second, Note{}) // has no key
			})
			pass(time.Minute)
			synctest.Wait()
			if got, want := fmt.Sprint(fired), "[c2 0s b 1s again 2s a2 3s]"; got != want {
				t.Errorf("got timers %v, want %v", got, want)
			}
		})
	})
}

func TestKeyedTimersDieWithTheirGeneration(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		for _, end := range []func(*genserver.Process){(*genserver.Process).Kill, func(p *genserver.Process) { _ = p.Stop(t.Context(), nil) }} {
			p := start(t, s, "p", Puppet.With(hooks{terminate: func(c *genserver.Context, _ error) {
				if c.CancelTimer("k") || c.SetTimer("k", 0, Note{}).Left() != 0 {
					t.Error("got a timer in terminate, want none")
				}
			}}))
			var old *genserver.Timer
			inside(t, s, "p", func(c *genserver.Context) {
				old = c.SetTimer("k", time.Second, Note{Fn: func(*genserver.Context) error { t.Error("got a dead generation's timer"); return nil }})
			})
			end(p)
			next := start(t, s, "p", Puppet.With(hooks{}))
			inside(t, s, "p", func(c *genserver.Context) {
				if c.CancelTimer("k") || old.Cancel() {
					t.Error("got the old generation's timer cancelled by its successor, want it dead")
				}
			})
			pass(time.Minute)
			noErr(t, "stop", next.Stop(t.Context(), nil))
		}
	})
}
