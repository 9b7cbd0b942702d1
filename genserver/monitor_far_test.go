package genserver_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/civitas-go/civitas/genserver"
)

// farEnd is a Router's side of monitors.
type farEnd struct {
	asked     []string
	downs     []func(genserver.Down)
	cancelled int
}

func (f *farEnd) monitor(name, node string, down func(genserver.Down)) (cancel func()) {
	f.asked, f.downs = append(f.asked, node+"/"+name), append(f.downs, down)
	return func() { f.cancelled++ }
}

// Names without a process here are the Router's to monitor, but for those of
// this node; its Down comes like a near one, and a second one does not come.
func TestMonitorOfAnotherNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		far := &farEnd{}
		s := newSystem(t, genserver.Config{Node: "n1", Router: &fakeRouter{monitor: far.monitor}})
		_, downs := startObserver(t, s, "o")
		inside(t, s, "o", func(c *genserver.Context) {
			for _, ref := range []genserver.Ref{c.Ref("p"), c.Ref("p").On("n2"), c.Ref("p").On("n1")} {
				_, err := c.Monitor(ref)
				noErr(t, "monitor "+ref.String(), err)
			}
		})
		if d := <-downs; !errors.Is(d.Reason, genserver.ErrNoProcess) || d.Node != "n1" {
			t.Errorf("got %+v of a name of this node, want no process", d)
		}
		if len(far.asked) != 2 || far.asked[0] != "/p" || far.asked[1] != "n2/p" {
			t.Fatalf("got monitors of %q asked for, want p's wherever it is and n2's", far.asked)
		}
		end := genserver.Down{Server: "p", Node: "n3", Generation: 7, Reason: genserver.Shutdown}
		far.downs[0](end)
		far.downs[0](end)
		d := <-downs
		if d.Monitor == nil || d.Monitor.Cancel() {
			t.Errorf("got the monitor %v, want one that has told", d.Monitor)
		}
		if d.Monitor = nil; d != end {
			t.Errorf("got %+v, want %+v", d, end)
		}
		synctest.Wait()
		if len(downs) != 0 {
			t.Errorf("got %d more downs, want none", len(downs))
		}
	})
}

// A monitor of another node's server is taken back when it's cancelled, and
// when the server that monitors ends.
func TestMonitorOfAnotherNodeIsTakenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		far := &farEnd{}
		s := newSystem(t, genserver.Config{Node: "n1", Router: &fakeRouter{monitor: far.monitor}})
		o, downs := startObserver(t, s, "o")
		first, second := monitor(t, s, "o", "p"), monitor(t, s, "o", "q")
		if !first.Cancel() || first.Cancel() || far.cancelled != 1 {
			t.Errorf("got %d taken back after a Cancel, want 1", far.cancelled)
		}
		far.downs[0](genserver.Down{Reason: genserver.Normal})
		o.Kill()
		if far.cancelled != 2 || second.Cancel() {
			t.Errorf("got %d taken back after the end, want 2", far.cancelled)
		}
		far.downs[1](genserver.Down{Reason: genserver.Normal})
		synctest.Wait()
		if len(downs) != 0 {
			t.Errorf("got %d downs, want none", len(downs))
		}
	})
}

// A Router watches on behalf of other nodes.
func TestWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{Node: "n1"})
		if _, _, err := s.Watch("p", nil); !errors.Is(err, genserver.ErrNoProcess) {
			t.Errorf("watch nobody: got %v, want no process", err)
		}
		p := start(t, s, "p", Puppet.With(hooks{}))
		var got []genserver.Down
		watched, _, err := s.Watch("p", func(d genserver.Down) { got = append(got, d) })
		noErr(t, "watch", err)
		_, cancel, err := s.Watch("p", func(genserver.Down) { t.Error("got a Down after cancel") })
		noErr(t, "watch", err)
		cancel()
		p.Kill()
		if len(got) != 1 || got[0].Generation != p.Generation() || watched != p || !errors.Is(got[0].Reason, genserver.Killed) || got[0].Node != "n1" {
			t.Errorf("got %+v, want one Down of generation %d", got, p.Generation())
		}
	})
}
