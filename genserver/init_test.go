package genserver_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

func TestInitFailures(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		init func(*genserver.Context) error
		is   error
		text string
	}{
		{"error", func(*genserver.Context) error { return errBroken }, errBroken, "start p: it broke"},
		{"panic", func(*genserver.Context) error { panic("boom") }, genserver.ErrPanic, "start p: panic: boom"},
		{"Goexit", func(*genserver.Context) error { runtime.Goexit(); return nil }, genserver.ErrPanic, "start p: panic: handler called runtime.Goexit"},
		{"Stop", func(*genserver.Context) error { return genserver.Stop(nil) }, genserver.Normal, "start p: normal"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t, genserver.Config{})
				w := newWatcher()
				ready := make(chan struct{})
				var derived context.Context
				p, err := s.Spawn("p", Puppet.With(hooks{
					init: func(c *genserver.Context) error {
						var cancel context.CancelFunc
						derived, cancel = context.WithCancel(c)
						t.Cleanup(cancel)
						c.SendAfter(0, Note{Fn: func(*genserver.Context) error { t.Error("got a timer of a failed start"); return nil }})
						<-ready
						return tc.init(c)
					},
					terminate: func(*genserver.Context, error) { t.Error("got a terminate of a failed start") },
				}), genserver.SpawnOptions{Watcher: w})
				noErr(t, "spawn", err)
				waiting := callAsync(t.Context(), p.Ref(), Do{})
				synctest.Wait()
				close(ready)
				wantErr(t, "waiting call", <-waiting, genserver.ErrExit, true)
				<-p.Exited()
				synctest.Wait()
				if got := p.Reason(); !errors.Is(got, tc.is) {
					t.Errorf("got reason %v, want %v", got, tc.is)
				}
				if got := w.seen(); len(got) != 1 {
					t.Errorf("got notices %v, want the exit alone", got)
				}
				if derived.Err() == nil {
					t.Error("got a context of init that lives on, want it cancelled")
				}
				_, err = s.Start(t.Context(), "p", Puppet.With(hooks{init: tc.init}), genserver.SpawnOptions{})
				if !errors.Is(err, tc.is) || err.Error() != tc.text {
					t.Errorf("start: got %v, want %q", err, tc.text)
				}
			})
		})
	}
}

func TestInitWithNeitherStateNorError(t *testing.T) {
	t.Parallel()
	typ := genserver.Define("test.Nothing", func(*genserver.Context, struct{}) (*puppet, error) { return nil, nil })
	_, err := newSystem(t, genserver.Config{}).Start(t.Context(), "p", typ.With(struct{}{}), genserver.SpawnOptions{})
	if want := "start p: init of test.Nothing returned neither state nor error"; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %q", err, want)
	}
}

// What arrives while init runs waits for it, in order.
func TestSlowInit(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
		synctest.Test(t, func(t *testing.T) {
			s := newSystem(t, genserver.Config{})
			var got []string
			p, err := s.Spawn("p", typ.With(hooks{init: func(*genserver.Context) error {
				pass(3 * time.Second)
				got = append(got, "init")
				return nil
			}}), genserver.SpawnOptions{})
			noErr(t, "spawn", err)
			noErr(t, "cast", p.Ref().Cast(t.Context(), Tell{Fn: func(*genserver.Context) error { got = append(got, "cast"); return nil }}))
			_, err = genserver.Call(t.Context(), p.Ref(), Do{Fn: func(*genserver.Context) (Done, error) { got = append(got, "call"); return Done{}, nil }})
			noErr(t, "call", err)
			if want := "[init cast call]"; fmt.Sprint(got) != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	})
}

func TestStopDuringInit(t *testing.T) {
	t.Parallel()
	for name, heeds := range map[string]bool{"init gives up": true, "init goes on": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t, genserver.Config{})
				w := newWatcher()
				terminated := 0
				p, err := s.Spawn("p", Puppet.With(hooks{
					init: func(c *genserver.Context) error {
						<-c.Done()
						if got := context.Cause(c); got != genserver.Shutdown {
							t.Errorf("got cause %v, want shutdown", got)
						}
						if heeds {
							return c.Err()
						}
						return nil
					},
					terminate: func(*genserver.Context, error) { terminated++ },
				}), genserver.SpawnOptions{Watcher: w})
				noErr(t, "spawn", err)
				synctest.Wait()
				waiting := callAsync(t.Context(), p.Ref(), Do{})
				synctest.Wait()
				noErr(t, "stop", p.Stop(t.Context(), genserver.Shutdown))
				if got := <-w.exited; got != genserver.Shutdown {
					t.Errorf("got reason %v, want shutdown", got)
				}
				wantErr(t, "waiting call", <-waiting, genserver.ErrExit, true)
				if got, want := terminated == 1, !heeds; got != want {
					t.Errorf("got terminate = %v, want %v", got, want)
				}
			})
		})
	}
}

func TestStartGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var cause error
		_, err := s.Start(ctx, "p", Puppet.With(hooks{init: func(c *genserver.Context) error {
			<-c.Done()
			cause = context.Cause(c)
			return nil
		}}), genserver.SpawnOptions{})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("start: got %v, want a deadline exceeded", err)
		}
		synctest.Wait()
		if cause != genserver.ErrFenced {
			t.Errorf("got init's cause %v, want fenced", cause)
		}
		start(t, s, "p", Puppet.With(hooks{}))
	})
}

// A process that is killed before its init runs nothing at all.
func TestKillBeforeInit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		entered := make(chan struct{})
		router := &fakeRouter{claim: func(ctx context.Context, _ string) (genserver.Claim, error) {
			close(entered)
			<-ctx.Done()
			return &fakeClaim{epoch: 1}, nil
		}}
		s := newSystem(t, genserver.Config{Router: router})
		p, err := s.Spawn("p", Puppet.With(hooks{init: func(*genserver.Context) error {
			t.Error("got an init that ran, want none")
			return nil
		}}), genserver.SpawnOptions{Scope: genserver.Cluster})
		noErr(t, "spawn", err)
		<-entered
		p.Kill()
		synctest.Wait()
		if got := p.Reason(); got != genserver.Killed {
			t.Errorf("got reason %v, want killed", got)
		}
	})
}

func TestSpawnRefuses(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{})
	p := start(t, s, "taken", Puppet.With(hooks{}))
	_, err := s.Spawn("taken", Puppet.With(hooks{}), genserver.SpawnOptions{})
	wantErr(t, "spawn", err, genserver.ErrNameTaken, true)
	if want := "taken: name is taken: taken#1 has it"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	for name, tc := range map[string]struct {
		server string
		run    genserver.Runnable
		text   string
	}{
		"bad name":   {"a b", Puppet.With(hooks{}), `start a server: name "a b": byte ' ' at 1 is not allowed; a name is one or more tokens of [A-Za-z0-9_-] joined by dots, at most 200 bytes, not beginning with '_'`},
		"nil":        {"x", nil, "start x: nothing to run: Runnable is nil"},
		"zero Spec":  {"x", genserver.Spec{}, "start x: nothing to run: the zero Spec; use a Type's With"},
		"empty name": {"", Puppet.With(hooks{}), `start a server: name "": empty; a name is one or more tokens of [A-Za-z0-9_-] joined by dots, at most 200 bytes, not beginning with '_'`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Spawn(tc.server, tc.run, genserver.SpawnOptions{})
			if fmt.Sprint(err) != tc.text {
				t.Errorf("got %v, want %q", err, tc.text)
			}
		})
	}
	if got, want := p.String(), "taken#1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	start(t, s, "_runtime.own", Puppet.With(hooks{}))
}

// A start and a stop make what is counted here, and no more: the process and its
// context, two channels, and what says why it ended.
func TestStartAllocations(t *testing.T) {
	s := newSystem(t, genserver.Config{Logger: slog.New(slog.DiscardHandler)})
	ctx := context.Background()
	spec := Cell.With(struct{}{})
	const most = 10
	got := allocations(func() {
		p, err := s.Start(ctx, "cell", spec, genserver.SpawnOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Stop(ctx, genserver.Normal); err != nil {
			t.Fatal(err)
		}
	})
	if !raceEnabled && got > most {
		t.Errorf("got %v allocations for a start and a stop, want at most %d", got, most)
	}
}
