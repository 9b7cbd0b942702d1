package node_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/natsserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/transport"
)

// freezer is a connector whose NATS can stop answering, as a frozen process or
// a cut cable would have it: everything that waits for NATS waits for its context.
type freezer struct {
	node.Connector
	frozen atomic.Bool
}

func (f *freezer) Connect(ctx context.Context, o node.LinkOptions) (*node.Link, error) {
	link, err := f.Connector.Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	link.Conn = frozenConn{link.Conn, f}
	link.Store = frozenStore{link.Store, f}
	return link, nil
}

// pass returns at once unless NATS is frozen.
func (f *freezer) pass(ctx context.Context) error {
	if !f.frozen.Load() {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

type frozenConn struct {
	transport.Conn
	f *freezer
}

func (c frozenConn) Flush(ctx context.Context) error {
	return errors.Join(c.f.pass(ctx), c.Conn.Flush(ctx))
}

func (c frozenConn) Request(ctx context.Context, m transport.Msg) (transport.Msg, error) {
	if !m.Until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, m.Until)
		defer cancel()
	}
	if err := c.f.pass(ctx); err != nil {
		return transport.Msg{}, err
	}
	return c.Conn.Request(ctx, m)
}

func (c frozenConn) Subscribe(subject string, deliver func(transport.Msg)) (transport.Subscription, error) {
	s, err := c.Conn.Subscribe(subject, deliver)
	return frozenSubscription{s, c.f}, err
}

type frozenSubscription struct {
	transport.Subscription
	f *freezer
}

func (s frozenSubscription) Drain(ctx context.Context) error {
	return errors.Join(s.f.pass(ctx), s.Subscription.Drain(ctx))
}

type frozenStore struct {
	cluster.Store
	f *freezer
}

func (s frozenStore) unknown(ctx context.Context) error {
	if s.f.pass(ctx) != nil {
		return cluster.ErrUnknown
	}
	return nil
}

func (s frozenStore) Get(ctx context.Context, k cluster.Key) (cluster.Entry, error) {
	if s.f.pass(ctx) != nil {
		return cluster.Entry{}, cluster.ErrUnavailable
	}
	return s.Store.Get(ctx, k)
}

func (s frozenStore) Create(ctx context.Context, k cluster.Key, v []byte) (uint64, error) {
	if err := s.unknown(ctx); err != nil {
		return 0, err
	}
	return s.Store.Create(ctx, k, v)
}

func (s frozenStore) Delete(ctx context.Context, k cluster.Key, seq uint64) error {
	if err := s.unknown(ctx); err != nil {
		return err
	}
	return s.Store.Delete(ctx, k, seq)
}

// However many names a node has, a stop without NATS comes to its end.
func TestStopWithFrozenNATS(t *testing.T) {
	for name, busy := range map[string]bool{"idle": false, "with a stuck handler": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &freezer{Connector: node.NewMemory()}
				h := held()
				cfg := config("n1", f, public("stuck", h))
				for i := range 50 {
					cfg.Tree.Children = append(cfg.Tree.Children, public("box."+strconv.Itoa(i), hooks{}))
				}
				n := start(t, cfg)
				var running <-chan error
				if busy {
					running = callAsync(n.Ref("stuck"), Hold{}, genserver.WithTimeout(time.Hour))
					receive(t, "the handler", h.entered)
				}
				f.frozen.Store(true)
				ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
				defer cancel()
				began := time.Now()
				if err := n.Stop(ctx); err == nil {
					t.Error("stop with a frozen NATS: got nil, want word of what may be left")
				}
				if took := time.Since(began); took > 23*time.Second {
					t.Errorf("stop with a frozen NATS: took %v, want its context's 8s and 15s at most", took)
				}
				close(h.gate)
				if busy {
					wantErr(t, "running call", receive(t, "running call", running), genserver.ErrExit, false)
				}
			})
		})
	}
}

// A start whose NATS stops answering half way gives up with its context.
func TestStartWithFrozenNATS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &freezer{Connector: node.NewMemory()}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		_, err := node.Start(ctx, config("n1", f,
			local("first", hooks{init: func(*genserver.Context) error { f.frozen.Store(true); return nil }}),
			public("box", hooks{})))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("start: got %v, want context.DeadlineExceeded", err)
		}
		if took := time.Since(began); took > 18*time.Second {
			t.Errorf("start with a frozen NATS: took %v, want its context's 3s and 15s at most", took)
		}
	})
}

// Calls fail while NATS is away, none hangs, and all is as before when it is back.
func TestNATSRestarts(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	noErr(t, "find a port", err)
	port := l.Addr().(*net.TCPAddr).Port
	noErr(t, "close", l.Close())
	opts := natsserver.Options{Port: port, JetStream: true, StoreDir: t.TempDir()}
	server, err := natsserver.Start(t.Context(), opts)
	if err != nil {
		t.Fatalf("start NATS: got %v, want nil", err)
	}
	url := node.URL(server.ClientURL())
	h := held()
	n1, n2 := start(t, config("n1", url)), start(t, config("n2", url, public("box", hooks{}), public("held", h)))
	before := get(t, n1.Ref("box"))
	running := callAsync(n1.Ref("held"), Hold{}, genserver.WithTimeout(time.Minute))
	receive(t, "the handler", h.entered)

	noErr(t, "stop NATS", server.Shutdown(t.Context()))
	err = receive(t, "the running call", running)
	wantErr(t, "the running call", err, genserver.ErrUnavailable, false)
	close(h.gate)
	_, err = genserver.Call(t.Context(), n1.Ref("box"), Get{})
	wantErr(t, "call without NATS", err, genserver.ErrUnavailable, true)
	if got := get(t, n2.Ref("box")); got != before {
		t.Errorf("local call without NATS: got %+v, want %+v", got, before)
	}

	server, err = natsserver.Start(t.Context(), opts)
	if err != nil {
		t.Fatalf("start NATS again: got %v, want nil", err)
	}
	t.Cleanup(func() { noErr(t, "stop NATS", server.Shutdown(context.Background())) })
	for deadline := time.Now().Add(20 * time.Second); ; {
		got, err := genserver.Call(t.Context(), n1.Ref("box"), Get{}, genserver.WithTimeout(time.Second))
		if err == nil {
			if got != before {
				t.Errorf("call after NATS is back: got %+v, want %+v", got, before)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("call after NATS is back: got %v for 20s, want a reply", err)
		}
		<-time.After(20 * time.Millisecond)
	}
	stop(t, n1)
	stop(t, n2)
}

// slow is a connector whose messages take a while from NATS to their server.
type slow struct{ node.Connector }

func (s slow) Connect(ctx context.Context, o node.LinkOptions) (*node.Link, error) {
	link, err := s.Connector.Connect(ctx, o)
	if err == nil {
		link.Conn = slowConn{link.Conn}
	}
	return link, err
}

type slowConn struct{ transport.Conn }

func (c slowConn) Subscribe(subject string, deliver func(transport.Msg)) (transport.Subscription, error) {
	return c.Conn.Subscribe(subject, func(m transport.Msg) {
		<-time.After(10 * time.Millisecond)
		deliver(m)
	})
}

// What NATS has for a node when it stops is handled, from other nodes and from
// plain clients, although every server is idle when the stop begins.
func TestStopLetsInWhatIsOnItsWay(t *testing.T) {
	for name, send := range map[string]func(t *testing.T, n1 *node.Node, plain transport.Conn) error{
		"from a node": func(t *testing.T, n1 *node.Node, _ transport.Conn) error {
			return n1.Ref("box").Cast(t.Context(), Put{})
		},
		"from a plain client": func(_ *testing.T, _ *node.Node, plain transport.Conn) error {
			return plain.Publish(transport.Msg{Subject: "civitas.dev.s.box", Data: []byte(`{"type":"put"}`)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const casts = 20
				var handled atomic.Int64
				m := node.NewMemory()
				n2 := start(t, config("n2", slow{m}, public("box", hooks{handled: func(int) { handled.Add(1) }})))
				n1 := start(t, config("n1", m))
				plain, err := m.Connect(t.Context(), node.LinkOptions{Node: "plain"})
				noErr(t, "connect", err)
				for range casts {
					noErr(t, "send", send(t, n1, plain.Conn))
				}
				stop(t, n2)
				if got := handled.Load(); got != casts {
					t.Errorf("got %d casts handled, want all %d", got, casts)
				}
				noErr(t, "disconnect", plain.Close(t.Context()))
			})
		})
	}
}
