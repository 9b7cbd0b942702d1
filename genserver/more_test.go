package genserver_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

func TestContinueComesNext(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
		synctest.Test(t, func(t *testing.T) {
			s := newSystem(t, genserver.Config{})
			var got []string
			note := func(name string, then ...Note) Note {
				return Note{Fn: func(c *genserver.Context) error {
					got = append(got, name)
					for _, m := range then {
						c.Continue(m)
					}
					return nil
				}}
			}
			p, err := s.Spawn("p", typ.With(hooks{init: func(c *genserver.Context) error {
				c.Continue(note("init's"))
				pass(time.Second)
				return nil
			}}), genserver.SpawnOptions{})
			noErr(t, "spawn", err)
			first := callAsync(t.Context(), p.Ref(), Do{Fn: func(*genserver.Context) (Done, error) { got = append(got, "call"); return Done{}, nil }})
			noErr(t, "call", <-first)
			synctest.Wait()

			inside(t, s, "p", func(c *genserver.Context) {
				noErr(t, "cast", c.Self().Cast(c, Tell{Fn: func(*genserver.Context) error { got = append(got, "cast"); return nil }}))
				p.Signal(note("signal"))
				c.SendAfter(0, note("timer"))
				c.Continue(note("a", note("a's")))
				c.Continue(note("b"))
				got = append(got, "handler")
			})
			synctest.Wait()
			if want := []string{"init's", "call", "handler", "a", "b", "a's", "signal", "cast", "timer"}; !slices.Equal(got, want) {
				t.Errorf("got order %v, want %v", got, want)
			}
		})
	})
}

func TestContinueAndTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		never := Note{Fn: func(*genserver.Context) error { t.Error("got a continue after the end"); return nil }}
		p := start(t, s, "p", Puppet.With(hooks{terminate: func(c *genserver.Context, _ error) { c.Continue(never); c.IdleTimeout(0, never) }}))
		inside(t, s, "p", func(c *genserver.Context) { c.Continue(never); c.Stop(nil) })
		<-p.Exited()
		if got, want := s.Stats().Dropped, uint64(1); got != want {
			t.Errorf("got %d dropped, want %d: the continue", got, want)
		}
		p = start(t, s, "p", Puppet.With(hooks{}))
		inside(t, s, "p", func(c *genserver.Context) { c.Continue(Note{Fn: func(*genserver.Context) error { return errBroken }}) })
		<-p.Exited()
		if got := p.Reason(); !errors.Is(got, errBroken) {
			t.Errorf("got reason %v, want the continue's error", got)
		}
	})
}

func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
		synctest.Test(t, func(t *testing.T) {
			s := newSystem(t, genserver.Config{})
			began := time.Now()
			var got []string
			idle := func(name string) Note {
				return Note{Fn: func(*genserver.Context) error {
					got = append(got, fmt.Sprint(name, " ", time.Since(began)))
					return nil
				}}
			}
			p := start(t, s, "p", typ.With(hooks{init: func(c *genserver.Context) error { c.IdleTimeout(time.Second, idle("init")); return nil }}))
			pass(3 * time.Second) // over at 1s, once

			// The clock starts when the handler has returned.
			inside(t, s, "p", func(c *genserver.Context) {
				c.IdleTimeout(time.Hour, idle("replaced"))
				c.IdleTimeout(time.Second, idle("long"))
				pass(4 * time.Second)
			})
			pass(2 * time.Second) // over at 8s; it's 9s now

			for _, end := range []func(c *genserver.Context){ // each ends the one before
				func(*genserver.Context) {},
				func(c *genserver.Context) { c.SendAfter(500*time.Millisecond, Note{}) },
				func(c *genserver.Context) { c.Continue(Note{}) },
			} {
				inside(t, s, "p", func(c *genserver.Context) { c.IdleTimeout(time.Second, idle("ended")); end(c) })
				pass(time.Second - 1)
				flush(t, s, "p")
				pass(2 * time.Second)
			}

			inside(t, s, "p", func(c *genserver.Context) {
				c.IdleTimeout(0, idle("ended at once"))
				noErr(t, "cast", c.Self().Cast(c, Tell{}))
			})
			synctest.Wait()
			if got, want := fmt.Sprint(got), "[init 1s long 8s]"; got != want {
				t.Errorf("got idle timeouts %v, want %v", got, want)
			}

			// One that is over while a message waits comes to nothing; the next counts.
			got, began = nil, time.Now()
			inside(t, s, "p", func(c *genserver.Context) { c.IdleTimeout(time.Second, idle("overtaken")) })
			pass(time.Second - 1)
			inside(t, s, "p", func(c *genserver.Context) { pass(1); c.IdleTimeout(time.Second, idle("next")) })
			pass(time.Minute)
			inside(t, s, "p", func(c *genserver.Context) { c.IdleTimeout(0, idle("at once")) })
			synctest.Wait()
			if got, want := fmt.Sprint(got), "[next 2s at once 1m1s]"; got != want {
				t.Errorf("got idle timeouts %v, want %v", got, want)
			}
			noErr(t, "stop", p.Stop(t.Context(), nil))
		})
	})
}

func TestDetach(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*genserver.Process){
		"kill": (*genserver.Process).Kill,
		"stop": func(p *genserver.Process) { p.RequestStop(nil); <-p.Exited() },
		"crash": func(p *genserver.Process) {
			_ = p.Ref().Cast(context.Background(), Tell{Fn: func(*genserver.Context) error { return errBroken }})
			<-p.Exited()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t, genserver.Config{})
				inTerminate := make(chan struct{})
				var work context.Context
				p := start(t, s, "p", Puppet.With(hooks{terminate: func(*genserver.Context, error) { <-work.Done(); close(inTerminate) }}))
				start(t, s, "other", Puppet.With(hooks{}))
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := genserver.Call(ctx, p.Ref(), Do{Fn: func(c *genserver.Context) (Done, error) { work = c.Detach(); return Done{}, nil }})
				noErr(t, "call", err)
				pass(time.Minute)
				if _, has := work.Deadline(); has || work.Err() != nil {
					t.Errorf("got deadline %v and error %v after the handler, want none", has, work.Err())
				}
				derived := context.WithValue(work, "k", "v") //nolint:staticcheck // any key will do
				for _, ctx := range []context.Context{work, derived} {
					_, err = genserver.Call(ctx, s.Ref("other"), Do{Fn: func(c *genserver.Context) (Done, error) {
						if got := c.From().Name(); got != "p" {
							t.Errorf("got a sender %q, want p", got)
						}
						_, err := genserver.Call(c, c.Ref("p"), Do{}) // nobody of p waits
						return Done{}, err
					}})
					noErr(t, "detached call", err)
					_, err = genserver.Call(ctx, s.Ref("p"), Do{})
					noErr(t, "detached call of the server itself", err)
					noErr(t, "detached cast", s.Ref("other").Cast(ctx, Tell{}))
				}
				end(p)
				if work.Err() == nil || derived.Err() == nil {
					t.Error("got a detached context that outlives its generation, want it cancelled")
				}
				if got := errors.Is(context.Cause(work), genserver.ErrFenced); got != (name == "kill") {
					t.Errorf("got cause %v", context.Cause(work))
				}
				start(t, s, "p", Puppet.With(hooks{}))
				_, err = genserver.Call(work, s.Ref("other"), Do{})
				wantErr(t, "call after the end", err, genserver.ErrFenced, true)
				wantErr(t, "cast after the end", s.Ref("other").Cast(context.WithoutCancel(work), Tell{}), genserver.ErrFenced, true)
				if name != "kill" {
					wait(t, "terminate", inTerminate)
				}
			})
		})
	}
}
