package node_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/natsserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/supervisor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The messages of a box, the server of most tests here.
type (
	Put struct {
		genserver.OneWay
		X int `json:"x"`
	}
	Get struct {
		genserver.Returns[Value]
	}
	// Value is what a box holds, and which life of it on which node says so.
	Value struct {
		X    int    `json:"x"`
		Node string `json:"node"`
		Life uint64 `json:"life"`
	}
	// Hold keeps the box in its handler until the gate opens.
	Hold struct {
		genserver.Returns[Value]
		Panic bool `json:"panic,omitempty"`
	}
	Fail struct {
		genserver.Returns[Value]
	}
	// Pass has the box send a Put to another server, and ask it.
	Pass struct {
		genserver.Returns[Value]
		To     string `json:"to"`
		ToNode string `json:"to_node,omitempty"`
		X      int    `json:"x"`
	}
)

func (Put) Op() string  { return "put" }
func (Get) Op() string  { return "get" }
func (Hold) Op() string { return "hold" }
func (Fail) Op() string { return "fail" }
func (Pass) Op() string { return "pass" }

var errNoSeat = genserver.NewError("booking.no_seat", "no seat left")

// hooks are a box's config.
type hooks struct {
	init      func(*genserver.Context) error
	terminate func(error)
	handled   func(x int)
	entered   chan struct{} // Hold says that it is there
	gate      chan struct{} // and waits for this
}

type box struct {
	hooks
	x int
}

func newBox(ctx *genserver.Context, h hooks) (*box, error) {
	if h.init != nil {
		if err := h.init(ctx); err != nil {
			return nil, err
		}
	}
	return &box{hooks: h}, nil
}

func (b *box) put(_ *genserver.Context, m Put) error {
	b.x = m.X
	if b.handled != nil {
		b.handled(m.X)
	}
	return nil
}

func (b *box) get(ctx *genserver.Context, _ Get) (Value, error) {
	return Value{b.x, ctx.System().Node(), ctx.Process().Generation()}, nil
}

func (b *box) hold(ctx *genserver.Context, m Hold) (Value, error) {
	b.entered <- struct{}{}
	<-b.gate
	if m.Panic {
		panic("out of seats")
	}
	return b.get(ctx, Get{})
}

func (b *box) fail(*genserver.Context, Fail) (Value, error) { return Value{}, errNoSeat }

func (b *box) pass(ctx *genserver.Context, m Pass) (Value, error) {
	to := ctx.Ref(m.To)
	if m.ToNode != "" {
		to = to.On(m.ToNode)
	}
	if err := to.Cast(ctx, Put{X: m.X}); err != nil {
		return Value{}, err
	}
	return genserver.Call(ctx, to, Get{})
}

func (b *box) end(_ *genserver.Context, reason error) {
	if b.terminate != nil {
		b.terminate(reason)
	}
}

var Box = genserver.Define("test.Box", newBox,
	genserver.HandleCall((*box).get),
	genserver.HandleCall((*box).hold),
	genserver.HandleCall((*box).fail),
	genserver.HandleCall((*box).pass),
	genserver.HandleCast((*box).put),
	genserver.HandleTerminate((*box).end))

// Echo answers each Map with itself and its node.
var Echo = genserver.Define("test.Echo",
	func(*genserver.Context, struct{}) (*struct{}, error) { return &struct{}{}, nil },
	genserver.HandleCall(func(_ *struct{}, ctx *genserver.Context, m genserver.Map) (genserver.Map, error) {
		return genserver.Map{"got": m, "node": ctx.System().Node()}, nil
	}))

func local(name string, h hooks) supervisor.Child {
	return supervisor.Child{Name: name, Run: Box.With(h)}
}

func public(name string, h hooks) supervisor.Child {
	return supervisor.Child{Name: name, Run: Box.With(h), Scope: supervisor.Cluster}
}

// on pins a child to a node.
func on(node string, c supervisor.Child) supervisor.Child {
	c.Placement.Node = node
	return c
}

func tree(children ...supervisor.Child) supervisor.Spec { return supervisor.Spec{Children: children} }

// onBoth runs a test on memory in virtual time, and on a NATS server in real time.
func onBoth(t *testing.T, test func(t *testing.T, nats node.Connector)) {
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, node.NewMemory()) })
	})
	t.Run("nats", func(t *testing.T) {
		t.Parallel()
		test(t, node.URL(startNATS(t)))
	})
}

// startNATS starts a server with JetStream on a free port of the loopback
// interface, which ends with the test.
func startNATS(t testing.TB) (url string) {
	t.Helper()
	s, err := natsserver.Start(context.Background(), natsserver.Options{JetStream: true})
	if err != nil {
		t.Fatalf("start NATS: got %v, want nil", err)
	}
	t.Cleanup(func() { noErr(t, "stop NATS", s.Shutdown(context.Background())) })
	return s.ClientURL()
}

func config(name string, nats node.Connector, children ...supervisor.Child) node.Config {
	return node.Config{Name: name, NATS: nats, Tree: tree(children...), Logger: quiet}
}

var quiet = slog.New(slog.DiscardHandler)

// start starts a node that ends with the test.
func start(t testing.TB, cfg node.Config) *node.Node {
	t.Helper()
	n, err := node.Start(context.Background(), cfg)
	if err != nil {
		t.Fatalf("start node %s: got %v, want nil", cfg.Name, err)
	}
	t.Cleanup(func() { _ = n.Stop(soon(t)) })
	return n
}

// stop stops a node, which must go well.
func stop(t testing.TB, n *node.Node) {
	t.Helper()
	noErr(t, "stop "+n.Name(), n.Stop(soon(t)))
}

// soon is a context for what is sure to come to an end.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func get(t testing.TB, to genserver.Ref) Value {
	t.Helper()
	v, err := genserver.Call(context.Background(), to, Get{})
	noErr(t, "get", err)
	return v
}

func noErr(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: got error %v, want nil", what, err)
	}
}

// wantErr checks an error's sentinel and whether it may be sent again.
func wantErr(t testing.TB, what string, err, kind error, notDelivered bool) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s: got error %v, want %v", what, err, kind)
	}
	if got := genserver.NotDelivered(err); got != notDelivered {
		t.Errorf("%s: got NotDelivered(%v) = %v, want %v", what, err, got, notDelivered)
	}
}

// receive waits for an event that is sure to come.
func receive[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: got nothing in 20s", what)
		panic("unreachable")
	}
}

// held makes the hooks of a box that Hold can keep.
func held() hooks { return hooks{entered: make(chan struct{}, 8), gate: make(chan struct{})} }

// callAsync makes a call in a goroutine.
func callAsync[Req genserver.CallMessage[Rep], Rep any](to genserver.Ref, r Req, opts ...genserver.Option) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := genserver.Call(context.Background(), to, r, opts...)
		done <- err
	}()
	return done
}

// logBook keeps what is logged.
type logBook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
