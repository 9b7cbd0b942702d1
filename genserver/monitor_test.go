package genserver_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

// observer is a puppet that keeps the Downs it is told.
type observer struct{ downs chan genserver.Down }

func (o *observer) down(_ *genserver.Context, d genserver.Down) error { o.downs <- d; return nil }

func (*observer) do(c *genserver.Context, m Do) (Done, error) {
	if m.Fn == nil {
		return Done{}, nil
	}
	return m.Fn(c)
}

func (*observer) tell(c *genserver.Context, m Tell) error { return m.Fn(c) }

var Observer = genserver.Define("test.Observer",
	func(_ *genserver.Context, downs chan genserver.Down) (*observer, error) { return &observer{downs}, nil },
	genserver.HandleCall((*observer).do), genserver.HandleCast((*observer).tell),
	genserver.HandleInfo((*observer).down), genserver.Mailbox[observer](2))

func startObserver(t *testing.T, s *genserver.System, name string) (*genserver.Process, chan genserver.Down) {
	t.Helper()
	downs := make(chan genserver.Down, 100)
	return start(t, s, name, Observer.With(downs)), downs
}

func monitor(t *testing.T, s *genserver.System, by, name string) (m *genserver.Monitor) {
	t.Helper()
	inside(t, s, by, func(c *genserver.Context) {
		var err error
		m, err = c.Monitor(c.Ref(name))
		noErr(t, "monitor "+name, err)
	})
	return m
}

func TestMonitorTellsOnce(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		end  func(*genserver.Process)
		want error
	}{
		"stop":     {func(p *genserver.Process) { p.RequestStop(nil) }, genserver.Normal},
		"shutdown": {func(p *genserver.Process) { p.RequestStop(genserver.Shutdown) }, genserver.Shutdown},
		"kill":     {(*genserver.Process).Kill, genserver.Killed},
		"panic": {func(p *genserver.Process) {
			_ = p.Ref().Cast(context.Background(), Tell{Fn: func(*genserver.Context) error { panic("boom") }})
		}, genserver.ErrPanic},
		"error": {func(p *genserver.Process) {
			_ = p.Ref().Cast(context.Background(), Tell{Fn: func(*genserver.Context) error { return errNoSeat }})
		}, errNoSeat},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t, genserver.Config{Node: "n1"})
				_, downs := startObserver(t, s, "o")
				p := start(t, s, "p", Puppet.With(hooks{}))
				byName := monitor(t, s, "o", "p")
				var byGeneration *genserver.Monitor
				inside(t, s, "o", func(c *genserver.Context) { byGeneration = c.MonitorProcess(p) })
				pass(time.Hour)
				if len(downs) != 0 {
					t.Fatalf("got %d downs of the living, want none", len(downs))
				}
				tc.end(p)
				<-p.Exited()
				next := start(t, s, "p", Puppet.With(hooks{}))
				noErr(t, "stop of the successor", next.Stop(t.Context(), nil))
				synctest.Wait()
				if len(downs) != 2 {
					t.Fatalf("got %d downs, want one for each monitor", len(downs))
				}
				seen := map[*genserver.Monitor]bool{}
				for range 2 {
					d := <-downs
					seen[d.Monitor] = true
					if d.Server != "p" || d.Node != "n1" || d.Generation != p.Generation() || !errors.Is(d.Reason, tc.want) {
						t.Errorf("got %+v, want p's end with %v", d, tc.want)
					}
				}
				if !seen[byName] || !seen[byGeneration] || byName.Cancel() {
					t.Errorf("got downs of %v, want one of each monitor", seen)
				}
			})
		})
	}
}

func TestMonitorOfNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{Node: "n1"})
		_, downs := startObserver(t, s, "o")
		monitor(t, s, "o", "nobody")
		d := <-downs
		if d.Server != "nobody" || d.Generation != 0 || !errors.Is(d.Reason, genserver.ErrNoProcess) {
			t.Errorf("got %+v, want no process", d)
		}
		p := start(t, s, "p", Puppet.With(hooks{}))
		p.Kill()
		inside(t, s, "o", func(c *genserver.Context) {
			c.MonitorProcess(p)
			_, err := c.Monitor(genserver.Ref{})
			wantErr(t, "monitor of the zero Ref", err, genserver.ErrNoProcess, true)
		})
		if d := <-downs; d.Generation != p.Generation() || !errors.Is(d.Reason, genserver.Killed) {
			t.Errorf("got %+v, want the dead process's reason", d)
		}
		synctest.Wait()
		if len(downs) != 0 {
			t.Errorf("got %d more downs, want none", len(downs))
		}
	})
}

// However full the mailbox is, a Down comes; and after what the server has sent.
func TestMonitorIsNotLostAndKeepsOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		_, downs := startObserver(t, s, "o")
		const servers = 10
		for i := range servers {
			start(t, s, fmt.Sprint("p", i), Puppet.With(hooks{}))
			monitor(t, s, "o", fmt.Sprint("p", i))
		}
		release := hold(t, s, "o")
		early := 0
		inside(t, s, "p0", func(c *genserver.Context) {
			for range 2 { // as many as the mailbox holds
				noErr(t, "cast", c.Ref("o").Cast(c, Tell{Fn: func(*genserver.Context) error { early += len(downs); return nil }}, genserver.Strict()))
			}
		})
		for i := range servers {
			noErr(t, "stop", s.Ref(fmt.Sprint("p", i)).Stop(t.Context(), nil))
		}
		release()
		synctest.Wait()
		if len(downs) != servers || early != 0 {
			t.Errorf("got %d downs, %d of them before earlier messages, want %d and 0", len(downs), early, servers)
		}
	})
}

func TestMonitorCancel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		_, downs := startObserver(t, s, "o")
		p := start(t, s, "p", Puppet.With(hooks{}))
		early, queued := monitor(t, s, "o", "p"), monitor(t, s, "o", "p")
		if !early.Cancel() || early.Cancel() {
			t.Error("got the first Cancel false or the second true")
		}
		release := hold(t, s, "o")
		p.Kill()
		synctest.Wait()
		if !queued.Cancel() {
			t.Error("got Cancel of a queued Down = false, want true")
		}
		release()
		synctest.Wait()
		if len(downs) != 0 {
			t.Errorf("got %d downs of cancelled monitors, want none", len(downs))
		}
	})
}

func TestMonitorsDieWithTheirGeneration(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		p := start(t, s, "p", Puppet.With(hooks{}))
		for _, end := range []func(*genserver.Process){(*genserver.Process).Kill, func(o *genserver.Process) { noErr(t, "stop", o.Stop(t.Context(), nil)) }} {
			o, _ := startObserver(t, s, "o")
			m := monitor(t, s, "o", "p")
			if got := genserver.Monitors(p); got != 1 {
				t.Errorf("got %d monitors, want 1", got)
			}
			end(o)
			if got := genserver.Monitors(p); got != 0 || m.Cancel() {
				t.Errorf("got %d monitors after their owner's end, want none", got)
			}
		}
		_, downs := startObserver(t, s, "o")
		p.Kill()
		synctest.Wait()
		if len(downs) != 0 {
			t.Errorf("got %d downs of another generation's monitor, want none", len(downs))
		}
	})
}
