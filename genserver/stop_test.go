package genserver_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

// A stop ends a server after the message in hand, or after all that waits; what
// is left, and what comes later, was certainly not handled.
func TestStopDrains(t *testing.T) {
	for name, tc := range map[string]struct {
		opts []genserver.Option
		want []string
	}{
		"current": {nil, []string{"first"}},
		"all":     {[]genserver.Option{genserver.DrainAll()}, []string{"first", "cast", "call", "due timer"}},
	} {
		t.Run(name, func(t *testing.T) {
			onGated(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
				s := newSystem(t, genserver.Config{})
				var got []string
				note := func(what string) func(*genserver.Context) error {
					return func(*genserver.Context) error { got = append(got, what); return nil }
				}
				p := start(t, s, "p", typ.With(hooks{terminate: func(_ *genserver.Context, reason error) { got = append(got, "end: "+reason.Error()) }}))
				inside(t, s, "p", func(c *genserver.Context) {
					c.SendAfter(time.Second, Note{Fn: note("due timer")})
					c.SendAfter(time.Hour, Note{Fn: note("later timer")})
				})
				entered, leave := make(chan struct{}), make(chan struct{})
				noErr(t, "cast", s.Ref("p").Cast(t.Context(), Tell{Fn: func(c *genserver.Context) error {
					close(entered)
					<-leave
					return note("first")(c)
				}}))
				<-entered
				noErr(t, "cast", s.Ref("p").Cast(t.Context(), Tell{Fn: note("cast")}))
				queued := callAsync(t.Context(), s.Ref("p"), Do{Fn: func(c *genserver.Context) (Done, error) { return Done{}, note("call")(c) }})
				pass(2 * time.Second)
				stopped := make(chan error, 1)
				go func() { stopped <- s.Ref("p").Stop(t.Context(), errNoSeat, tc.opts...) }()
				synctest.Wait()
				var late <-chan error
				if name == "all" {
					late = callAsync(t.Context(), s.Ref("p"), Do{Fn: func(c *genserver.Context) (Done, error) { return Done{}, note("late")(c) }})
					wantErr(t, "call after the stop", <-late, genserver.ErrNoProcess, true)
				}
				close(leave)
				noErr(t, "stop", <-stopped)
				if want := append(slices.Clone(tc.want), "end: "+errNoSeat.Error()); !slices.Equal(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
				if !errors.Is(p.Reason(), errNoSeat) {
					t.Errorf("got the end %v, want the reason given", p.Reason())
				}
				if err := <-queued; name == "all" {
					noErr(t, "queued call", err)
				} else {
					wantErr(t, "queued call", err, genserver.ErrExit, true)
				}
			})
		})
	}
}

// A stop that can't wait overtakes one that drains.
func TestStopOvertakesADrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		p := start(t, s, "p", Puppet.With(hooks{}))
		release := hold(t, s, "p")
		queued := callAsync(t.Context(), s.Ref("p"), Do{})
		synctest.Wait()
		p.RequestStop(nil, genserver.DrainAll())
		p.RequestStop(genserver.Shutdown)
		release()
		<-p.Exited()
		wantErr(t, "queued call", <-queued, genserver.ErrExit, true)
		if !errors.Is(p.Reason(), genserver.Shutdown) {
			t.Errorf("got the end %v, want shutdown", p.Reason())
		}
	})
}

// Messages to a cluster-wide name that come while its server drains are for the
// next life; a sender that waits for room is not lost.
func TestDrainOfAClusterWideName(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		p := startCluster(t, s, "p", Puppet.With(hooks{}))
		release := hold(t, s, "p")
		p.RequestStop(nil, genserver.DrainAll())
		late := callAsync(t.Context(), s.Ref("p"), Do{}, genserver.WithTimeout(time.Hour))
		synctest.Wait()
		release()
		<-p.Exited()
		pass(time.Minute)
		startCluster(t, s, "p", Puppet.With(hooks{}))
		noErr(t, "call of the next life", <-late)
	})
}

func TestCallNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		calls := map[string]int{}
		s := newSystem(t, genserver.Config{Node: "n1", Router: &fakeRouter{
			request: func(ctx context.Context, m *genserver.Outgoing) (genserver.Body, error) {
				mu.Lock()
				calls[m.Node]++
				mu.Unlock()
				switch m.Node {
				case "n2":
					return jsonBody(`{"n":2}`), nil
				case "n3", "n4":
					<-ctx.Done()
					return nil, &genserver.Error{Code: "timeout", Server: m.To}
				default:
					return nil, &genserver.Error{Code: "no_process", Server: m.To, Undelivered: true}
				}
			},
		}})
		start(t, s, "p", Puppet.With(hooks{}))
		began := time.Now()
		replies, failed := genserver.CallNodes(t.Context(), s.Ref("p"), []string{"n1", "n2", "n3", "n4", "n2", "n9"}, Do{}, genserver.WithTimeout(time.Second))
		if took := time.Since(began); took != time.Second {
			t.Errorf("got the answers after %v, want them at the one deadline", took)
		}
		if len(replies) != 2 || replies["n1"].N != 0 || replies["n2"].N != 2 {
			t.Errorf("got replies %v, want n1's and n2's", replies)
		}
		if len(failed) != 3 || calls["n2"] != 1 {
			t.Errorf("got failures %v and %d calls of n2, want n3's, n4's and n9's, and 1", failed, calls["n2"])
		}
		wantErr(t, "n3", failed["n3"], genserver.ErrTimeout, false)
		wantErr(t, "n9", failed["n9"], genserver.ErrNoProcess, true)
		replies, failed = genserver.CallNodes(t.Context(), s.Ref("p"), nil, Do{})
		if len(replies)+len(failed) != 0 {
			t.Errorf("got %v, %v for no nodes, want nothing", replies, failed)
		}
	})
}
