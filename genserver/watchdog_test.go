package genserver_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

var (
	Watched = genserver.Define("test.Watched", newPuppet, puppetHandlers(genserver.Watchdog[puppet](time.Second, 3*time.Second))...)
	Warned  = genserver.Define("test.Warned", newPuppet, puppetHandlers(genserver.Watchdog[puppet](time.Second, 0), genserver.NonBlocking[puppet]())...)
	Doomed  = genserver.Define("test.Doomed", newPuppet, puppetHandlers(genserver.Watchdog[puppet](0, 3*time.Second))...)
)

//go:noinline
func dwell(d time.Duration) { pass(d) }

func TestWatchdogReportsOncePerMessage(t *testing.T) {
	t.Parallel()
	for _, typ := range []*genserver.TypeOf[hooks]{Watched, Warned} {
		t.Run(typ.Name(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				book := &logBook{}
				s := newSystem(t, genserver.Config{Logger: book.logger()})
				long := hooks{
					init:      func(*genserver.Context) error { pass(time.Minute); return nil },
					terminate: func(*genserver.Context, error) { pass(time.Minute) },
				}
				p := start(t, s, "p", typ.With(long))
				dwellFor := func(d time.Duration) {
					inside(t, s, "p", func(*genserver.Context) { dwell(d) })
				}
				for range 20 { // short ones, which add up to more than the limit
					dwellFor(300 * time.Millisecond)
				}
				pass(time.Hour)
				dwellFor(time.Second - 1)
				if got := s.Stats().Overruns; got != 0 || book.String() != "" {
					t.Fatalf("got %d overruns and log %q, want none yet", got, book)
				}
				dwellFor(2 * time.Second)
				dwellFor(1500 * time.Millisecond)
				noErr(t, "stop", p.Stop(t.Context(), nil))
				if got := s.Stats().Overruns; got != 2 {
					t.Errorf("got %d overruns, want 2", got)
				}
				for text, want := range map[string]int{"handler runs long": 2, "for=1s": 2, "dwell": 2, "handling=\"call": 2} {
					if got := book.counts(text)[0]; got < want {
						t.Errorf("got %q %d times, want %d: %s", text, got, want, book)
					}
				}
			})
		})
	}
}

func TestWatchdogKillsTheStuck(t *testing.T) {
	t.Parallel()
	for _, typ := range []*genserver.TypeOf[hooks]{Watched, Doomed} {
		t.Run(typ.Name(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				book, w := &logBook{}, newWatcher()
				s := newSystem(t, genserver.Config{Logger: book.logger()})
				p, err := s.Start(t.Context(), "p", typ.With(hooks{terminate: func(*genserver.Context, error) {
					t.Error("got a terminate of a stuck server")
				}}), genserver.SpawnOptions{Watcher: w})
				noErr(t, "start", err)
				leave, began := make(chan struct{}), time.Now()
				err = <-callAsync(t.Context(), p.Ref(), Do{Fn: func(*genserver.Context) (Done, error) { hangHere(leave); return Done{}, nil }})
				wantErr(t, "call", err, genserver.ErrStuck, false)
				if got := time.Since(began); got != 3*time.Second {
					t.Errorf("got the caller told after %v, want 3s", got)
				}
				if got := <-w.exited; !errors.Is(got, genserver.ErrStuck) {
					t.Errorf("got reason %v, want stuck", got)
				}
				for text, want := range map[string]int{"server crashed": 1, "zombie:": 1} {
					if got := book.counts(text)[0]; got != want {
						t.Errorf("got %q %d times, want %d", text, got, want)
					}
				}
				if got := book.counts("hangHere")[0]; got < 2 {
					t.Errorf("got the stack %d times, want it in the crash's report and the zombie's", got)
				}
				close(leave)
			})
		})
	}
}

func TestSpecsHaveWatchdogsOfTheirOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMeter()
		s := newSystem(t, genserver.Config{Logger: (&logBook{}).logger(), MeterProvider: m})
		stuckFor := func(name string) error {
			_, err := genserver.Call(t.Context(), s.Ref(name), Do{Fn: func(*genserver.Context) (Done, error) {
				dwell(4 * time.Second)
				return Done{}, nil
			}})
			return err
		}
		spec := Doomed.With(hooks{})
		start(t, s, "types", spec)
		start(t, s, "longer", spec.Watchdog(0, 5*time.Second))
		start(t, s, "none", spec.Watchdog(0, 0))
		start(t, s, "reported", spec.Watchdog(0, 0).Watchdog(time.Second, -1))
		wantMetrics(t, m, "civitas.genserver.processes", map[string]string{"processes test.Doomed": "4"})
		for name, want := range map[string]error{"types": genserver.ErrStuck, "longer": nil, "none": nil, "reported": nil} {
			if err := stuckFor(name); !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", name, err, want)
			}
		}
		pass(4 * time.Second) // until the killed one's handler has returned
		if got := s.Stats().Overruns; got != 1 {
			t.Errorf("got %d overruns, want the one of \"reported\"", got)
		}
	})
}
