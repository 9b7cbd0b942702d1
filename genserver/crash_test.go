package genserver_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

var errBroken = errors.New("it broke")

// crashes are all ways in which a message's handler can take its server down.
var crashes = []struct {
	name string
	fn   func(*genserver.Context) error
	is   error  // the reason
	text string // the reason's
	call bool   // takes the server down as a call's handler too
}{
	{"error", func(*genserver.Context) error { return errBroken }, errBroken, "it broke", false},
	{"panic", func(*genserver.Context) error { panic("boom") }, genserver.ErrPanic, "panic: boom", true},
	{"panic with an error", func(*genserver.Context) error { panic(errBroken) }, genserver.ErrPanic, "panic: it broke", true},
	{
		"panic(nil)", func(*genserver.Context) error { panic(nil) }, genserver.ErrPanic,
		"panic: panic called with nil argument", true,
	},
	{"Goexit", func(*genserver.Context) error { runtime.Goexit(); return nil }, genserver.ErrPanic, "panic: handler called runtime.Goexit", true},
	{
		"nil map", func(*genserver.Context) error { var m map[string]int; m["x"] = 1; return nil }, genserver.ErrPanic, //nolint:staticcheck // it must panic
		"panic: assignment to entry in nil map", true,
	},
	{"Stop(error)", func(*genserver.Context) error { return genserver.Stop(errBroken) }, errBroken, "it broke", true},
	{"Stop(nil)", func(*genserver.Context) error { return genserver.Stop(nil) }, genserver.Normal, "normal", true},
	{"Stop(Shutdown)", func(*genserver.Context) error { return genserver.Stop(genserver.Shutdown) }, genserver.Shutdown, "shutdown", true},
	{"wrapped Stop", func(*genserver.Context) error { return fmt.Errorf("done: %w", genserver.Stop(nil)) }, genserver.Normal, "normal", true},
}

func TestCrashes(t *testing.T) {
	t.Parallel()
	for _, tc := range crashes {
		for _, kind := range []string{"call", "inline call", "cast", "info", "timer", "signal"} {
			isCall := kind == "call" || kind == "inline call"
			if isCall && !tc.call {
				continue
			}
			t.Run(tc.name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newSystem(t, genserver.Config{})
					typ := Puppet
					if kind == "inline call" {
						typ = FastPuppet
					}
					var ends []error
					w := newWatcher()
					p, err := s.Start(t.Context(), "p", typ.With(hooks{terminate: func(_ *genserver.Context, reason error) {
						ends = append(ends, reason)
					}}), genserver.SpawnOptions{Watcher: w})
					noErr(t, "start", err)

					callErr := make(chan error, 1)
					call := func(m Do) {
						callErr <- errors.New("the caller's goroutine ended")
						_, err := genserver.Call(t.Context(), s.Ref("p"), m, genserver.WithTimeout(10*time.Minute))
						<-callErr
						callErr <- err
					}
					began := time.Now()
					switch kind {
					case "call", "inline call":
						go call(Do{Fn: func(c *genserver.Context) (Done, error) { return Done{}, tc.fn(c) }})
					case "cast":
						noErr(t, "cast", s.Ref("p").Cast(t.Context(), Tell{Fn: tc.fn}))
					case "info":
						noErr(t, "send", s.Ref("p").Send(t.Context(), Note{Fn: tc.fn}))
					case "signal":
						p.Signal(Note{Fn: tc.fn})
					case "timer":
						_, err := genserver.Call(t.Context(), s.Ref("p"), Do{Fn: func(c *genserver.Context) (Done, error) {
							c.SendAfter(0, Note{Fn: tc.fn})
							return Done{}, nil
						}})
						noErr(t, "call", err)
					}
					<-p.Exited()
					synctest.Wait()
					if got := time.Since(began); got != 0 {
						t.Errorf("got the end after %v, want at once", got)
					}
					if got := p.Reason(); !errors.Is(got, tc.is) || got.Error() != tc.text {
						t.Errorf("got reason %v, want %q", got, tc.text)
					}
					if len(ends) != 1 || !errors.Is(ends[0], tc.is) {
						t.Errorf("got terminate with %v, want once, with %v", ends, tc.is)
					}
					if got, want := fmt.Sprint(w.seen()), fmt.Sprint([]string{"started", "exited: " + tc.text}); got != want {
						t.Errorf("got notices %v, want %v", got, want)
					}
					start(t, s, "p", typ.With(hooks{})) // the name is free
					switch {
					case !isCall:
					case kind == "inline call" && tc.name == "Goexit":
						// Nothing can keep runtime.Goexit from ending the goroutine it's called in.
						if got, want := (<-callErr).Error(), "the caller's goroutine ended"; got != want {
							t.Errorf("got %v, want %v", got, want)
						}
					default:
						err := <-callErr
						wantErr(t, "call", err, genserver.ErrExit, false)
						var e *genserver.Error
						if !errors.As(err, &e) || e.Reason == nil {
							t.Fatalf("got %v, want an exit with a reason", err)
						}
						if got, want := err.Error(), "p: server exited: "+tc.text; got != want {
							t.Errorf("got %q, want %q", got, want)
						}
					}
				})
			})
		}
	}
}

func TestCrashWithAThousandCallersWaiting(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{})
	p := start(t, s, "p", Puppet.With(hooks{}))
	entered, leave := make(chan struct{}), make(chan struct{})
	running := callAsync(t.Context(), s.Ref("p"), Do{Fn: func(*genserver.Context) (Done, error) {
		close(entered)
		<-leave
		panic("boom")
	}}, genserver.WithTimeout(10*time.Minute))
	wait(t, "the handler", entered)
	errs := make(chan error, 1000)
	var queued sync.WaitGroup
	for range 1000 {
		queued.Go(func() {
			_, err := genserver.Call(t.Context(), s.Ref("p"), Do{}, genserver.WithTimeout(10*time.Minute))
			errs <- err
		})
	}
	for p.Waiting() < 1000 {
		runtime.Gosched()
	}
	began := time.Now()
	close(leave)
	queued.Wait()
	if got := time.Since(began); got > 10*time.Second { // of the ten minutes; a busy machine has others to serve
		t.Errorf("got the last caller told after %v, want within 500ms", got)
	}
	wantErr(t, "running call", <-running, genserver.ErrExit, false)
	for range 1000 {
		err := <-errs
		wantErr(t, "queued call", err, genserver.ErrExit, true)
		wantErr(t, "queued call", err, genserver.ErrPanic, true)
		if t.Failed() {
			return
		}
	}
}

func TestContextStopAnswersFirst(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
		for _, tc := range []struct {
			reason, want error
		}{{nil, genserver.Normal}, {genserver.Shutdown, genserver.Shutdown}, {errBroken, errBroken}} {
			s := newSystem(t, genserver.Config{})
			p := start(t, s, "p", typ.With(hooks{}))
			rep, err := genserver.Call(t.Context(), s.Ref("p"), Do{Fn: func(c *genserver.Context) (Done, error) {
				c.Stop(tc.reason)
				return Done{7}, nil
			}})
			if err != nil || rep.N != 7 {
				t.Errorf("call: got %v, %v, want 7, nil", rep, err)
			}
			wait(t, "the end", p.Exited())
			if got := p.Reason(); got != tc.want {
				t.Errorf("got reason %v, want %v", got, tc.want)
			}
		}
	})
}

func TestContextStopWithAHandlersError(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{})
	p := start(t, s, "p", Puppet.With(hooks{}))
	_, err := genserver.Call(t.Context(), s.Ref("p"), Do{Fn: func(c *genserver.Context) (Done, error) {
		c.Stop(nil)
		return Done{}, errNoSeat
	}})
	wantErr(t, "call", err, errNoSeat, false)
	wait(t, "the end", p.Exited())
	if got := p.Reason(); got != genserver.Normal {
		t.Errorf("got reason %v, want normal", got)
	}
}

func TestContextStopInInit(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{})
	w := newWatcher()
	p, err := s.Start(t.Context(), "p", Puppet.With(hooks{init: func(c *genserver.Context) error {
		c.Stop(nil)
		return nil
	}}), genserver.SpawnOptions{Watcher: w})
	noErr(t, "start", err)
	wait(t, "the end", p.Exited())
	if got := <-w.exited; got != genserver.Normal {
		t.Errorf("got reason %v, want normal", got)
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		var reasons []error
		p := start(t, s, "p", Puppet.With(hooks{terminate: func(_ *genserver.Context, r error) { reasons = append(reasons, r) }}))
		release := hold(t, s, "p")
		queued := callAsync(t.Context(), s.Ref("p"), Do{})
		synctest.Wait()

		// Stop waits for the handler no longer than its context.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		wantErr(t, "stop", p.Stop(ctx, genserver.Shutdown), genserver.ErrTimeout, false)
		if got := time.Since(began); got != time.Second {
			t.Errorf("got stop's end after %v, want 1s", got)
		}
		p.RequestStop(errBroken) // too late: the first reason holds
		release()
		noErr(t, "second stop", s.Ref("p").Stop(t.Context(), nil))
		wantErr(t, "queued call", <-queued, genserver.ErrExit, true)
		if got := p.Reason(); got != genserver.Shutdown {
			t.Errorf("got reason %v, want shutdown", got)
		}
		if len(reasons) != 1 || reasons[0] != genserver.Shutdown {
			t.Errorf("got terminate with %v, want [shutdown]", reasons)
		}
		noErr(t, "stop of the dead", p.Stop(t.Context(), nil))
		wantErr(t, "stop of a free name", s.Ref("p").Stop(t.Context(), nil), genserver.ErrNoProcess, true)
	})
}

func TestReasonOfAnExitThatWrapsAnothers(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*genserver.Process){
		"killed": (*genserver.Process).Kill,
		"normal": func(p *genserver.Process) { p.RequestStop(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			book := &logBook{}
			s := newSystem(t, genserver.Config{Logger: book.logger()})
			start(t, s, "a", Puppet.With(hooks{}))
			b := start(t, s, "b", Puppet.With(hooks{}))
			a := start(t, s, "c", Puppet.With(hooks{}))
			err := a.Ref().Cast(t.Context(), Tell{Fn: func(c *genserver.Context) error {
				_, err := genserver.Call(c, c.Ref("b"), Do{Fn: func(*genserver.Context) (Done, error) {
					end(b)
					return Done{}, genserver.Stop(nil)
				}})
				return err
			}})
			noErr(t, "cast", err)
			wait(t, "the end", a.Exited())
			if got := book.String(); strings.Count(got, "server crashed") != 1 || strings.Count(got, "server=c ") != 1 {
				t.Errorf("got log %q, want one crash, of c: that b ended as it was told is no reason for c to end", got)
			}
		})
	}
}

func TestTerminatesOwnFailureIsTheReason(t *testing.T) {
	t.Parallel()
	for name, fn := range map[string]func(*genserver.Context, error){
		"panic":  func(*genserver.Context, error) { panic("at the end") },
		"Goexit": func(*genserver.Context, error) { runtime.Goexit() },
	} {
		bothPaths(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := newSystem(t, genserver.Config{})
				var derived context.Context
				w := newWatcher()
				p, err := s.Start(t.Context(), "p", typ.With(hooks{terminate: func(c *genserver.Context, r error) {
					var cancel context.CancelFunc
					derived, cancel = context.WithCancel(c)
					t.Cleanup(cancel)
					fn(c, r)
				}}), genserver.SpawnOptions{Watcher: w})
				noErr(t, "start", err)
				_, err = genserver.Call(t.Context(), s.Ref("p"), Do{Fn: func(*genserver.Context) (Done, error) {
					return Done{}, genserver.Stop(nil)
				}})
				wantErr(t, "call", err, genserver.ErrExit, false)
				wait(t, "the end", p.Exited())
				if got := p.Reason(); !errors.Is(got, genserver.ErrPanic) {
					t.Errorf("got reason %v, want a panic", got)
				}
				if got := <-w.exited; !errors.Is(got, genserver.ErrPanic) {
					t.Errorf("got notice %v, want a panic", got)
				}
				if derived.Err() == nil {
					t.Error("got a context of terminate that lives on, want it cancelled")
				}
			})
		})
	}
}

// Terminate is the server's own: an inline caller neither waits for it nor
// runs it.
func TestInlineCallerDoesNotWaitForTerminate(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{})
	leave := make(chan struct{})
	p := start(t, s, "p", FastPuppet.With(hooks{terminate: func(*genserver.Context, error) { <-leave }}))
	done := callAsync(t.Context(), s.Ref("p"), Do{Fn: func(*genserver.Context) (Done, error) { panic("boom") }})
	select {
	case err := <-done:
		wantErr(t, "call", err, genserver.ErrExit, false)
	case <-time.After(5 * time.Second):
		t.Error("got no answer while terminate runs, want one at once")
	}
	close(leave)
	wait(t, "the end", p.Exited())
}

func TestTerminateMayCallOthers(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{})
	start(t, s, "other", Puppet.With(hooks{}))
	var got error
	p := start(t, s, "p", Puppet.With(hooks{terminate: func(c *genserver.Context, _ error) {
		_, got = genserver.Call(c, c.Ref("other"), Do{})
	}}))
	noErr(t, "stop", p.Stop(t.Context(), nil))
	noErr(t, "terminate's call", got)
}

func TestCrashReport(t *testing.T) {
	t.Parallel()
	book := &logBook{}
	s := newSystem(t, genserver.Config{Logger: book.logger()})
	p := start(t, s, "p", Puppet.With(hooks{}))
	_, _ = genserver.Call(t.Context(), s.Ref("p"), Do{Fn: func(*genserver.Context) (Done, error) { panic("boom") }})
	wait(t, "the end", p.Exited()) // the report comes first
	for _, want := range []string{"server crashed", "server=p", "type=test.Puppet", "generation=", `handling="call \"do\""`, "boom", "crash_test.go"} {
		if strings.Count(book.String(), want) == 0 {
			t.Errorf("got report %q, want %q in it", book, want)
		}
	}
	if got := strings.Count(book.String(), "server crashed"); got != 1 {
		t.Errorf("got %d reports, want 1", got)
	}
}

// Whoever waits for a server learns of its crash before terminate has run.
func TestCallersOfACrashDoNotWaitForTerminate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		leave := make(chan struct{})
		start(t, s, "p", Puppet.With(hooks{terminate: func(*genserver.Context, error) { <-leave }}))
		crash := make(chan struct{})
		running := genserver.CallAsync(t.Context(), s.Ref("p"), Do{Fn: func(*genserver.Context) (Done, error) {
			<-crash
			panic("boom")
		}})
		queued := genserver.CallAsync(t.Context(), s.Ref("p"), Do{})
		close(crash)
		began := time.Now()
		_, err := running.Await(t.Context())
		wantErr(t, "running", err, genserver.ErrExit, false)
		_, err = queued.Await(t.Context())
		wantErr(t, "queued", err, genserver.ErrExit, true)
		if took := time.Since(began); took > 0 {
			t.Errorf("got the errors after %v, want them at once", took)
		}
		close(leave)
	})
}
