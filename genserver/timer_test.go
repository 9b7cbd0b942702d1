package genserver_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

// inside runs code in a handler of a server and waits for it.
func inside(t testing.TB, s *genserver.System, name string, fn func(*genserver.Context)) {
	t.Helper()
	_, err := genserver.Call(t.Context(), s.Ref(name), Do{Fn: func(c *genserver.Context) (Done, error) { fn(c); return Done{}, nil }})
	noErr(t, "call "+name, err)
}

func TestTimerFiresOnce(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
		synctest.Test(t, func(t *testing.T) {
			s := newSystem(t, genserver.Config{})
			start(t, s, "p", typ.With(hooks{}))
			began := time.Now()
			var fired []time.Duration
			inside(t, s, "p", func(c *genserver.Context) {
				for _, d := range []time.Duration{3 * time.Second, 0, time.Second, -time.Second, time.Hour} {
					c.SendAfter(d, Note{Fn: func(*genserver.Context) error { fired = append(fired, time.Since(began)); return nil }})
				}
			})
			pass(2 * time.Hour)
			synctest.Wait()
			if want := []time.Duration{0, 0, time.Second, 3 * time.Second, time.Hour}; !slices.Equal(fired, want) {
				t.Errorf("got timers at %v, want %v", fired, want)
			}
		})
	})
}

func TestTimersAreHandledInTheOrderTheyAreDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		start(t, s, "p", Puppet.With(hooks{}))
		var got, want []int
		add := func(c *genserver.Context, d time.Duration, i int) {
			c.SendAfter(d, Note{Fn: func(*genserver.Context) error { got = append(got, i); return nil }})
		}
		inside(t, s, "p", func(c *genserver.Context) {
			for i := range 20 {
				add(c, 2*time.Second, 40+i)
				add(c, time.Second, 20+i)
				add(c, 0, i)
			}
		})
		for i := range 60 {
			want = append(want, i)
		}
		pass(time.Minute)
		synctest.Wait()
		if !slices.Equal(got, want) {
			t.Errorf("got order %v, want 0 to 59", got)
		}
	})
}

func TestTimerTick(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		ticks := 0
		var tick Note
		tick.Fn = func(c *genserver.Context) error { ticks++; c.SendAfter(time.Second, tick); return nil }
		start(t, s, "p", Puppet.With(hooks{init: func(c *genserver.Context) error { c.SendAfter(time.Second, tick); return nil }}))
		pass(60*time.Second + time.Millisecond)
		flush(t, s, "p")
		if ticks != 60 {
			t.Errorf("got %d ticks in a minute, want 60", ticks)
		}
	})
}

func TestTimerCancel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		start(t, s, "p", Puppet.With(hooks{}))
		var early, queued, late, other *genserver.Timer
		fired := map[string]int{}
		set := func(c *genserver.Context, d time.Duration, name string) *genserver.Timer {
			return c.SendAfter(d, Note{Fn: func(*genserver.Context) error { fired[name]++; return nil }})
		}
		inside(t, s, "p", func(c *genserver.Context) {
			early = set(c, time.Second, "early")
			other = set(c, time.Second, "other")
			queued = set(c, 2*time.Second, "queued")
			late = set(c, time.Second, "late")
		})
		if got, want := early.Left(), time.Second; got != want {
			t.Errorf("got %v left, want %v", got, want)
		}
		if !early.Cancel() {
			t.Error("early: got Cancel = false, want true")
		}
		if early.Cancel() {
			t.Error("early, again: got Cancel = true, want false")
		}
		if got := early.Left(); got != 0 {
			t.Errorf("cancelled: got %v left, want 0", got)
		}
		pass(time.Second)
		synctest.Wait()
		if late.Cancel() {
			t.Error("late: got Cancel = true, want false: it was handled")
		}
		if got, want := queued.Left(), time.Second; got != want {
			t.Errorf("queued: got %v left, want %v", got, want)
		}
		release := hold(t, s, "p")
		pass(time.Second) // it's in the mailbox now
		synctest.Wait()
		if got := queued.Left(); got != 0 {
			t.Errorf("queued: got %v left, want 0: it's due", got)
		}
		if !queued.Cancel() {
			t.Error("queued: got Cancel = false, want true")
		}
		release()
		flush(t, s, "p")
		if got, want := fmt.Sprint(fired), "map[late:1 other:1]"; got != want {
			t.Errorf("got %v fired, want %v", got, want)
		}
		_ = other
	})
}

func TestTimerCancelledByItsOwnHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		start(t, s, "p", Puppet.With(hooks{}))
		var timer *genserver.Timer
		var got bool
		inside(t, s, "p", func(c *genserver.Context) {
			timer = c.SendAfter(time.Second, Note{Fn: func(*genserver.Context) error { got = timer.Cancel(); return nil }})
		})
		pass(2 * time.Second)
		flush(t, s, "p")
		if got {
			t.Error("got Cancel = true in the timer's own handler, want false")
		}
	})
}

// A generation's timers die with it, even those that are due already.
func TestTimersDieWithTheirGeneration(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*testing.T, *genserver.Process){
		"stop": func(t *testing.T, p *genserver.Process) { p.RequestStop(nil) },
		"kill": func(t *testing.T, p *genserver.Process) { p.Kill() },
		"crash": func(t *testing.T, p *genserver.Process) {
			p.Signal(Note{Fn: func(*genserver.Context) error { return errBroken }})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t, genserver.Config{})
				p := start(t, s, "p", Puppet.With(hooks{}))
				var waiting, due *genserver.Timer
				stray := Note{Fn: func(*genserver.Context) error { t.Error("got a timer of a dead generation"); return nil }}
				inside(t, s, "p", func(c *genserver.Context) {
					waiting = c.SendAfter(time.Hour, stray)
					due = c.SendAfter(time.Second, stray)
				})
				release := hold(t, s, "p")
				pass(2 * time.Second)
				end(t, p)
				release()
				<-p.Exited()
				start(t, s, "p", Puppet.With(hooks{}))
				for name, timer := range map[string]*genserver.Timer{"waiting": waiting, "due": due} {
					if got := timer.Left(); got != 0 {
						t.Errorf("%s: got %v left, want 0", name, got)
					}
					if timer.Cancel() {
						t.Errorf("%s: got Cancel = true, want false: it's dead", name)
					}
				}
				pass(2 * time.Hour)
				flush(t, s, "p")
			})
		})
	}
}

func TestTimersPassAFullMailbox(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		start(t, s, "p", TinyPuppet.With(hooks{}))
		fired := 0
		inside(t, s, "p", func(c *genserver.Context) {
			for range 100 {
				c.SendAfter(time.Second, Note{Fn: func(*genserver.Context) error { fired++; return nil }})
			}
		})
		release := hold(t, s, "p")
		for range 3 {
			noErr(t, "cast", s.Ref("p").Cast(t.Context(), Tell{}, genserver.Strict()))
		}
		wantErr(t, "cast", s.Ref("p").Cast(t.Context(), Tell{}, genserver.Strict()), genserver.ErrOverloaded, true)
		pass(2 * time.Second)
		release()
		synctest.Wait()
		flush(t, s, "p")
		if fired != 100 {
			t.Errorf("got %d timers, want 100", fired)
		}
	})
}

func TestSendAfterInTerminateIsDead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		var timer *genserver.Timer
		p := start(t, s, "p", Puppet.With(hooks{terminate: func(c *genserver.Context, _ error) {
			timer = c.SendAfter(time.Second, Note{Fn: func(*genserver.Context) error { t.Error("got a timer set by terminate"); return nil }})
		}}))
		noErr(t, "stop", p.Stop(t.Context(), nil))
		if timer.Cancel() || timer.Left() != 0 {
			t.Error("got a living timer, want a dead one")
		}
		start(t, s, "p", Puppet.With(hooks{}))
		pass(time.Hour)
	})
}

// A timer without a message is its handler's mistake, and crashes that server
// alone.
func TestSendAfterOfNil(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{})
	p := start(t, s, "p", Puppet.With(hooks{}))
	noErr(t, "cast", s.Ref("p").Cast(t.Context(), Tell{Fn: func(c *genserver.Context) error { c.SendAfter(0, nil); return nil }}))
	wait(t, "the end", p.Exited())
	wantErr(t, "reason", p.Reason(), genserver.ErrPanic, false)
}

// Cancel, the timer and the server's end race; each timer is handled or
// cancelled, never both.
func TestTimerRaces(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{})
	for round := range 50 {
		p := start(t, s, "p", Puppet.With(hooks{}))
		var fired, cancelled atomic.Int32
		timers := make([]*genserver.Timer, 40)
		inside(t, s, "p", func(c *genserver.Context) {
			for i := range timers {
				timers[i] = c.SendAfter(time.Duration(i%8)*10*time.Microsecond, Note{Fn: func(*genserver.Context) error { fired.Add(1); return nil }})
			}
		})
		var wg sync.WaitGroup
		for part := range 2 {
			wg.Go(func() {
				for i := part; i < len(timers); i += 2 {
					if timers[i].Cancel() {
						cancelled.Add(1)
					}
					_ = timers[i].Left()
				}
			})
		}
		if round%2 == 0 {
			p.Kill()
		}
		wg.Wait()
		if round%2 == 1 {
			noErr(t, "stop", p.Stop(t.Context(), nil))
			if got := fired.Load() + cancelled.Load(); got > int32(len(timers)) {
				t.Fatalf("got %d fired and %d cancelled of %d timers", fired.Load(), cancelled.Load(), len(timers))
			}
		}
	}
}
