package genserver_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

func TestKillOfAStuckHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		w := newWatcher()
		p, err := s.Start(t.Context(), "p", Puppet.With(hooks{terminate: func(*genserver.Context, error) {
			t.Error("got a terminate after a kill")
		}}), genserver.SpawnOptions{Watcher: w})
		noErr(t, "start", err)
		otherCast := 0
		other := start(t, s, "other", Puppet.With(hooks{}))

		leave, results := make(chan struct{}), map[string]error{}
		var cause error
		var timer *genserver.Timer
		running := callAsync(t.Context(), p.Ref(), Do{Fn: func(c *genserver.Context) (Done, error) {
			derived := context.WithValue(c, "key", "value") //nolint:staticcheck // any key will do
			<-leave
			cause = context.Cause(c)
			_, results["call"] = genserver.Call(c, other.Ref(), Do{Fn: func(*genserver.Context) (Done, error) { otherCast++; return Done{}, nil }})
			_, results["derived call"] = genserver.Call(derived, other.Ref(), Do{})
			_, results["detached call"] = genserver.Call(context.WithoutCancel(c), other.Ref(), Do{})
			_, results["untyped call"] = genserver.Call(c, other.Ref(), genserver.Map{"type": "do"})
			_, results["call to an unknown name"] = genserver.Call(c, c.Ref("nobody"), Do{})
			results["cast"] = other.Ref().Cast(c, Tell{Fn: func(*genserver.Context) error { otherCast++; return nil }})
			results["info"] = other.Ref().Send(c, Note{})
			timer = c.SendAfter(0, Note{Fn: func(*genserver.Context) error { t.Error("got a zombie's timer"); return nil }})
			return Done{99}, nil
		}}, genserver.WithTimeout(10*time.Minute))
		synctest.Wait()
		queued := callAsync(t.Context(), p.Ref(), Do{Fn: func(*genserver.Context) (Done, error) {
			t.Error("got a queued message of a killed generation handled")
			return Done{}, nil
		}}, genserver.WithTimeout(10*time.Minute))
		synctest.Wait()

		began := time.Now()
		p.Kill()
		next := start(t, s, "p", Puppet.With(hooks{})) // the name is free when Kill returns
		wantErr(t, "running call", <-running, genserver.ErrExit, false)
		wantErr(t, "queued call", <-queued, genserver.Killed, true)
		if got := time.Since(began); got != 0 {
			t.Errorf("got the callers told after %v, want at once", got)
		}
		if got := p.Reason(); got != genserver.Killed {
			t.Errorf("got reason %v, want killed", got)
		}
		if next.Generation() <= p.Generation() {
			t.Errorf("got generation %d after %d, want a higher one", next.Generation(), p.Generation())
		}
		close(leave)
		synctest.Wait()
		if cause != genserver.ErrFenced {
			t.Errorf("got the zombie's cause %v, want fenced", cause)
		}
		for what, err := range results {
			wantErr(t, "zombie's "+what, err, genserver.ErrFenced, true)
		}
		if len(results) != 7 || otherCast != 0 || timer.Cancel() {
			t.Errorf("got %d results, %d messages at the other server, timer alive %v; want 7, 0, false", len(results), otherCast, timer.Cancel())
		}
		if got, want := s.Stats().LateReplies, uint64(1); got != want {
			t.Errorf("got %d late replies, want %d", got, want)
		}
		pass(time.Hour)
		if got, want := fmt.Sprint(w.seen()), "[started exited: killed]"; got != want {
			t.Errorf("got notices %v, want %v", got, want)
		}
	})
}

func TestKillInline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		p := start(t, s, "p", FastPuppet.With(hooks{}))
		leave := make(chan struct{})
		done := callAsync(t.Context(), p.Ref(), Do{Fn: func(*genserver.Context) (Done, error) { <-leave; return Done{1}, nil }})
		synctest.Wait()
		p.Kill()
		start(t, s, "p", FastPuppet.With(hooks{}))
		close(leave) // an inline caller can't leave earlier
		wantErr(t, "call", <-done, genserver.ErrExit, false)
		flush(t, s, "p")
	})
}

func TestKillTwiceAndOfTheDead(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{})
	w := newWatcher()
	p, err := s.Start(t.Context(), "p", Puppet.With(hooks{}), genserver.SpawnOptions{Watcher: w})
	noErr(t, "start", err)
	noErr(t, "stop", p.Stop(t.Context(), nil))
	<-w.exited
	p.Kill()
	p.Kill()
	if got := p.Reason(); got != genserver.Normal {
		t.Errorf("got reason %v, want normal", got)
	}
	if got, want := fmt.Sprint(w.seen()), "[started exited: normal]"; got != want {
		t.Errorf("got notices %v, want %v", got, want)
	}
}

// However many kill and stop a process at once, its name is free for each of
// them when they return, and its end is told once.
func TestNameIsFreeAfterEveryKillAndStop(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{})
	for round := range 300 {
		w := newWatcher()
		p, err := s.Spawn("p", Puppet.With(hooks{}), genserver.SpawnOptions{Watcher: w})
		if err != nil {
			t.Fatalf("round %d: got %v, want the name free", round, err)
		}
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				switch i {
				case 0, 1:
					p.Kill()
				case 2:
					noErr(t, "stop", p.Stop(context.Background(), nil))
				case 3:
					_ = p.Ref().Cast(context.Background(), Tell{Fn: func(*genserver.Context) error { return errBroken }})
					<-p.Exited()
				}
				if p.Reason() == nil {
					t.Error("got no reason after the end, want one")
				}
				if q, err := s.Spawn("p", Puppet.With(hooks{}), genserver.SpawnOptions{}); err == nil {
					q.Kill()
				} else if want := fmt.Sprintf("%s has it", p); strings.Count(err.Error(), want) > 0 {
					t.Errorf("got %v after the end", err)
				}
			})
		}
		wg.Wait()
		<-w.exited
		if got := w.seen(); len(got) > 2 || got[len(got)-1][:6] != "exited" {
			t.Fatalf("got notices %v, want at most a start, then one exit", got)
		}
	}
}

// blockingWatcher lets a process be killed while its start is being told.
type blockingWatcher struct {
	*watcher
	telling, told chan struct{}
}

func (w *blockingWatcher) ProcessStarted(p *genserver.Process) {
	close(w.telling)
	<-w.told
	w.watcher.ProcessStarted(p)
}

func TestExitIsToldAfterTheStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		w := &blockingWatcher{newWatcher(), make(chan struct{}), make(chan struct{})}
		p, err := s.Spawn("p", Puppet.With(hooks{}), genserver.SpawnOptions{Watcher: w})
		noErr(t, "spawn", err)
		<-w.telling
		p.Kill()
		close(w.told)
		<-w.exited
		synctest.Wait()
		if got, want := fmt.Sprint(w.seen()), "[started exited: killed]"; got != want {
			t.Errorf("got notices %v, want %v", got, want)
		}
	})
}

func TestOnKill(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{})
	p := start(t, s, "p", Puppet.With(hooks{}))
	called := 0
	p.OnKill(func() {
		called++
		if _, err := s.Spawn("p", Puppet.With(hooks{}), genserver.SpawnOptions{}); !errors.Is(err, genserver.ErrNameTaken) {
			t.Errorf("got %v, want the name still taken: children go first", err)
		}
		_, err := genserver.Call(context.Background(), p.Ref(), Do{})
		wantErr(t, "call", err, genserver.ErrNoProcess, true)
	})
	p.Kill()
	p.Kill()
	p.OnKill(func() { called++ })
	if called != 2 {
		t.Errorf("got OnKill called %d times, want 2: by the kill, and at once after it", called)
	}
	start(t, s, "p", Puppet.With(hooks{}))
	q := start(t, s, "q", Puppet.With(hooks{}))
	q.OnKill(func() { t.Error("got OnKill after a stop") })
	noErr(t, "stop", q.Stop(t.Context(), nil))
}

// While a killed process's children are killed it neither comes back to life
// nor frees its name, whatever its own goroutine does meanwhile.
func TestOnKillWhileTheProcessIsBusy(t *testing.T) {
	t.Parallel()
	for _, typ := range []*genserver.TypeOf[hooks]{Puppet, FastPuppet} {
		for name, message := range map[string]func(*genserver.Context) error{
			"handler": func(*genserver.Context) error { return nil },
			"crash":   func(*genserver.Context) error { return errBroken },
			"panic":   func(*genserver.Context) error { panic("boom") },
			"init":    nil,
		} {
			t.Run(typ.Name()+"/"+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newSystem(t, genserver.Config{})
					leave, w := make(chan struct{}), newWatcher()
					h := hooks{terminate: func(*genserver.Context, error) { t.Error("got a terminate after a kill") }}
					if message == nil {
						h.init = func(*genserver.Context) error { <-leave; return nil }
					}
					p, err := s.Spawn("p", typ.With(h), genserver.SpawnOptions{Watcher: w})
					noErr(t, "spawn", err)
					if message != nil {
						go func() {
							_, err := genserver.Call(t.Context(), p.Ref(), Do{Fn: func(c *genserver.Context) (Done, error) {
								<-leave
								if err := message(c); err != nil {
									return Done{}, genserver.Stop(err)
								}
								return Done{}, nil
							}})
							wantErr(t, "call", err, genserver.Killed, false)
						}()
					}
					synctest.Wait()
					p.OnKill(func() {
						close(leave)
						synctest.Wait() // the process's goroutine does what it can
						_, err := genserver.Call(t.Context(), p.Ref(), Do{})
						wantErr(t, "call", err, genserver.ErrNoProcess, true)
						_, err = s.Spawn("p", Puppet.With(hooks{}), genserver.SpawnOptions{})
						wantErr(t, "spawn", err, genserver.ErrNameTaken, true)
						if got := p.Reason(); got != nil {
							t.Errorf("got reason %v before the end, want none", got)
						}
					})
					p.Kill()
					if got := p.Reason(); got != genserver.Killed {
						t.Errorf("got reason %v, want killed", got)
					}
					if got := <-w.exited; got != genserver.Killed {
						t.Errorf("got notice %v, want killed", got)
					}
				})
			})
		}
	}
}

// Nothing that an old generation does reaches the new one.
func TestGenerationsDoNotMix(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
		s := newSystem(t, genserver.Config{})
		var zombies sync.WaitGroup
		for range 100 {
			p := start(t, s, "p", typ.With(hooks{}))
			begun, leave := make(chan struct{}), make(chan struct{})
			zombies.Go(func() {
				_, err := genserver.Call(context.Background(), p.Ref(), Do{Fn: func(c *genserver.Context) (Done, error) {
					close(begun)
					<-leave
					wantErr(t, "zombie's cast", c.Self().Cast(c, Tell{Fn: func(*genserver.Context) error {
						t.Error("got a message of the old generation")
						return nil
					}}), genserver.ErrFenced, true)
					c.Stop(errBroken)
					return Done{1}, nil
				}})
				wantErr(t, "call", err, genserver.Killed, false)
			})
			<-begun
			p.Kill()
			next := start(t, s, "p", typ.With(hooks{}))
			go close(leave)
			flush(t, s, "p")
			noErr(t, "stop", next.Stop(t.Context(), nil))
			if got := next.Reason(); got != genserver.Normal {
				t.Fatalf("got reason %v, want normal", got)
			}
		}
		zombies.Wait()
	})
}

func TestKillByName(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{Node: "n1"})
	p := start(t, s, "p", Puppet.With(hooks{terminate: func(*genserver.Context, error) {
		t.Error("got a terminate after a kill")
	}}))
	noErr(t, "kill", s.Ref("p").On("n1").Kill())
	if got := p.Reason(); got != genserver.Killed {
		t.Errorf("got reason %v, want Killed", got)
	}
	wantErr(t, "kill of the dead", s.Ref("p").Kill(), genserver.ErrNoProcess, true)
	wantErr(t, "kill on another node", s.Ref("p").On("n2").Kill(), genserver.ErrNoProcess, true)
	wantErr(t, "kill of the zero Ref", genserver.Ref{}.Kill(), genserver.ErrNoProcess, true)
}
