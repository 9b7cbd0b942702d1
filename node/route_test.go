package node_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/supervisor"
	"github.com/civitas-go/civitas/transport"
)

// A caller that has missed how a name changed owners finds the new one by reading,
// whatever tells it that its route is wrong.
func TestRoutesAreRepaired(t *testing.T) {
	transient := func(name string) supervisor.Child {
		c := public(name, hooks{})
		c.Restart = supervisor.Transient
		return c
	}
	// freed ends box, and waits until its supervisor has given the name back.
	freed := func(t *testing.T, n *node.Node) {
		t.Helper()
		noErr(t, "stop", n.Ref("box").Stop(t.Context(), nil))
		_, err := genserver.Call(t.Context(), n.Ref("box"), Get{}, genserver.WithTimeout(time.Minute))
		wantErr(t, "call of nobody", err, genserver.ErrNoProcess, true)
		synctest.Wait()
	}
	claimed := func(t *testing.T, n *node.Node) {
		t.Helper()
		_, err := n.System().Start(t.Context(), "box", Box.With(hooks{}), genserver.SpawnOptions{Scope: genserver.Cluster})
		noErr(t, "claim", err)
	}
	for _, c := range []struct {
		name string
		// move has box change owners, unseen by the caller.
		move func(t *testing.T, m *node.Memory, n2, n3 *node.Node)
		// lost says that the first call after it comes to nothing.
		lost error
	}{
		{"by a 503", func(t *testing.T, _ *node.Memory, n2, n3 *node.Node) {
			stop(t, n2)
			claimed(t, n3)
		}, nil},
		{"by an answer that it has no such server", func(t *testing.T, _ *node.Memory, n2, n3 *node.Node) {
			freed(t, n2)
			claimed(t, n3)
		}, nil},
		{"by an answer that it has moved", func(t *testing.T, _ *node.Memory, n2, _ *node.Node) {
			freed(t, n2)
			claimed(t, n2) // by another epoch
		}, nil},
		{"by a timeout", func(t *testing.T, m *node.Memory, n2, n3 *node.Node) {
			freed(t, n2)
			claimed(t, n3)
			m.Hub().Cut("n1", "n2")
		}, genserver.ErrTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := node.NewMemory()
				cut := &storeCut{Connector: m}
				n1 := start(t, config("n1", cut))
				n2, n3 := start(t, config("n2", m, transient("box"))), start(t, config("n3", m))
				get(t, n1.Ref("box"))
				cut.deaf.Store(true)
				c.move(t, m, n2, n3)
				want := get(t, n3.Ref("box"))
				ask := func() error {
					got, err := genserver.Call(context.Background(), n1.Ref("box"), Get{}, genserver.WithTimeout(2*time.Second))
					if err == nil && got != want {
						t.Errorf("got an answer of %+v, want one of %+v", got, want)
					}
					return err
				}
				if c.lost != nil {
					wantErr(t, "the first call", ask(), c.lost, false)
					<-time.After(time.Millisecond) // for the read
				}
				noErr(t, "call", ask())
			})
		})
	}
}

// Without the records, a name that is not known yet can't be told from one that does not
// exist: its callers wait. What is known goes on, but for what turns out to be wrong.
func TestCallsWithoutTheRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		cut := &storeCut{Connector: m}
		n1 := start(t, config("n1", cut))
		start(t, config("n2", m, public("box", hooks{}), public("other", hooks{}), local("own", hooks{})))
		get(t, n1.Ref("box"))
		get(t, n1.Ref("own").On("n2"))
		cut.cut.Store(true)
		for _, ref := range []genserver.Ref{n1.Ref("other"), n1.Ref("nobody"), n1.Ref("own").On("n9")} {
			const timeout = 3 * time.Second
			began := time.Now()
			_, err := genserver.Call(t.Context(), ref, Get{}, genserver.WithTimeout(timeout))
			wantErr(t, "call "+ref.String(), err, genserver.ErrUnavailable, true)
			if took := time.Since(began); took != timeout {
				t.Errorf("call %s: got an answer after %v, want it at the deadline, %v", ref, took, timeout)
			}
		}
		// One whose time is longer than the outage is made.
		waiting := callAsync(n1.Ref("other"), Get{}, genserver.WithTimeout(time.Minute))
		for range 30 { // longer than a route may go unconfirmed
			get(t, n1.Ref("box"))
			get(t, n1.Ref("own").On("n2"))
			<-time.After(time.Second)
		}
		cut.cut.Store(false)
		noErr(t, "the call that waited", receive(t, "the call that waited", waiting))
	})
}

// A call that times out while the records are away does not cost the route.
func TestTimeoutWithoutTheRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		cut := &storeCut{Connector: m}
		h := held()
		n1 := start(t, config("n1", cut))
		start(t, config("n2", m, public("box", h)))
		get(t, n1.Ref("box"))
		cut.cut.Store(true)
		_, err := genserver.Call(t.Context(), n1.Ref("box"), Hold{}, genserver.WithTimeout(time.Second))
		wantErr(t, "a slow call", err, genserver.ErrTimeout, false)
		<-h.entered
		close(h.gate)
		<-time.After(time.Second)
		get(t, n1.Ref("box"))
	})
}

// While the records are away, an owner that could not be reached for a moment is tried again.
func TestRouteOutlivesANoResponder(t *testing.T) {
	for name, away := range map[string]func(*storeCut){
		"the store refuses": func(c *storeCut) { c.cut.Store(true) },
		"the store hangs":   func(c *storeCut) { c.hang.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := node.NewMemory()
				cut := &storeCut{Connector: m}
				var gone atomic.Bool
				n1 := start(t, config("n1", &deafTo{cut, &gone}))
				start(t, config("n2", m, public("box", hooks{})))
				get(t, n1.Ref("box"))
				away(cut)
				gone.Store(true)
				waiting := callAsync(n1.Ref("box"), Get{})
				<-time.After(time.Second)
				gone.Store(false)
				noErr(t, "a call made while nobody responded", receive(t, "the call", waiting))
				began := time.Now()
				get(t, n1.Ref("box"))
				if took := time.Since(began); took > 0 {
					t.Errorf("got an answer after %v, want it by the route that is known", took)
				}
				cut.cut.Store(false)
				cut.hang.Store(false)
			})
		})
	}
}

// deafTo is a connector to whose requests nobody responds while gone is set.
type deafTo struct {
	node.Connector
	gone *atomic.Bool
}

func (c *deafTo) Connect(ctx context.Context, o node.LinkOptions) (*node.Link, error) {
	link, err := c.Connector.Connect(ctx, o)
	if err == nil {
		link.Conn = deafConn{link.Conn, c.gone}
	}
	return link, err
}

type deafConn struct {
	transport.Conn
	gone *atomic.Bool
}

func (c deafConn) Request(ctx context.Context, m transport.Msg) (transport.Msg, error) {
	if c.gone.Load() {
		return transport.Msg{}, transport.ErrNoResponders
	}
	return c.Conn.Request(ctx, m)
}
