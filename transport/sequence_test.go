package transport_test

import (
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/transport"
)

// counted serves incarnation B on a connection and counts what comes.
func counted(t *testing.T, c transport.Conn, handle func()) (*transport.Service, *atomic.Uint64) {
	t.Helper()
	var n atomic.Uint64
	svc, err := transport.ServeNode(c, mustSubjects(t), "B", quiet(), func(in *genserver.Incoming, _ uint64, _ transport.Origin) {
		handle()
		n.Add(1)
		if in.Reply != nil {
			in.Reply.Reply(nil, nil)
		}
	})
	if err != nil {
		t.Fatalf("serve: got %v, want nil", err)
	}
	if err := c.Flush(within(t)); err != nil {
		t.Fatalf("flush: got %v, want nil", err)
	}
	return svc, &n
}

func toB(t *testing.T) transport.Route {
	t.Helper()
	return transport.Route{Subject: mustSubjects(t).Node("B", "x"), Sequence: transport.NewSequence()}
}

func castOf(m genserver.Map) *genserver.Outgoing {
	return &genserver.Outgoing{Envelope: genserver.Envelope{To: "x", Kind: genserver.KindCast, Op: "it"}, Message: m}
}

func callOf(m genserver.Map) *genserver.Outgoing {
	o := castOf(m)
	o.Kind = genserver.KindCall
	return o
}

// TestLostIsCounted: whatever a broker loses, received and lost are what was sent.
func TestLostIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := transport.NewHub()
		a, b, c := hub.Dial("a"), hub.Dial("b"), hub.Dial("c")
		for _, conn := range []transport.Conn{a, b, c} {
			defer closeConn(t, conn)
		}
		svc, received := counted(t, b, func() {})
		fromA, fromC := toB(t), toB(t)
		send := func(conn transport.Conn, to transport.Route) {
			t.Helper()
			if err := transport.Publish(conn, to, castOf(nil)); err != nil {
				t.Fatalf("publish: got %v, want nil", err)
			}
		}
		hub.Inject(transport.Faults{Seed: 3, Drop: 0.3, Delay: time.Second})
		for range 500 {
			send(a, fromA)
			send(c, fromC)
		}
		hub.Inject(transport.Faults{})
		send(a, fromA)
		send(c, fromC)
		<-time.After(time.Minute)
		dropped := hub.Faults().Dropped
		if got := svc.Stats(); got.Lost != dropped || dropped < 200 || got.Received+got.Lost != 1002 || received.Load() != got.Received {
			t.Errorf("got %+v, want %d lost of 1002", got, dropped)
		}
	})
}

// TestRefusedIsNotLost: what its sender knows to be undelivered is no gap.
func TestRefusedIsNotLost(t *testing.T) {
	t.Parallel()
	hub := transport.NewHub()
	a, b := hub.Dial("a"), hub.Dial("b")
	defer closeConn(t, a)
	defer closeConn(t, b)
	to := toB(t)
	if _, err := transport.Request(within(t), a, to, callOf(nil)); !errors.Is(err, transport.ErrNoResponders) {
		t.Fatalf("before it serves: got %v, want %v", err, transport.ErrNoResponders)
	}
	svc, _ := counted(t, b, func() {})
	large := genserver.Map{"text": strings.Repeat("x", transport.DefaultMaxPayload)}
	for _, m := range []genserver.Map{large, {"chan": make(chan int)}} {
		if err := transport.Publish(a, to, castOf(m)); !genserver.NotDelivered(err) {
			t.Fatalf("got %v, want it refused", err)
		}
		if _, err := transport.Request(within(t), a, to, callOf(m)); !genserver.NotDelivered(err) {
			t.Fatalf("got %v, want it refused", err)
		}
	}
	if _, err := transport.Request(within(t), a, to, callOf(nil)); err != nil {
		t.Fatalf("got %v, want nil", err)
	}
	if got := svc.Stats(); got.Lost != 0 || got.Received != 1 {
		t.Errorf("got %+v, want one received, none lost", got)
	}
}

func TestConcurrentSendersLoseNothing(t *testing.T) {
	t.Parallel()
	s := startServer(t, server.RANDOM_PORT)
	a := dialNATS(t, transport.NATSOptions{URL: s.ClientURL(), Logger: quiet()})
	b := dialNATS(t, transport.NATSOptions{URL: s.ClientURL(), Logger: quiet()})
	defer closeConn(t, a)
	defer closeConn(t, b)
	svc, _ := counted(t, b, func() {})
	to := toB(t)
	var senders sync.WaitGroup
	for range 16 {
		senders.Go(func() {
			for range 200 {
				if err := transport.Publish(a, to, castOf(nil)); err != nil {
					t.Errorf("publish: got %v, want nil", err)
				}
			}
		})
	}
	senders.Wait()
	if _, err := transport.Request(within(t), a, to, callOf(nil)); err != nil {
		t.Fatalf("got %v, want nil", err)
	}
	if got := svc.Stats(); got.Lost != 0 || got.Received != 3201 {
		t.Errorf("got %+v, want 3201 received, none lost", got)
	}
}

// TestManySenders: a receiver's memory of its senders is bounded, and what it
// forgot it does not count as lost.
func TestManySenders(t *testing.T) {
	t.Parallel()
	hub := transport.NewHub()
	a, b := hub.Dial("a"), hub.Dial("b")
	defer closeConn(t, a)
	defer closeConn(t, b)
	svc, _ := counted(t, b, func() {})
	routes := make([]transport.Route, 5000)
	for i := range routes {
		routes[i] = toB(t)
	}
	for range 3 {
		for _, to := range routes {
			if err := transport.Publish(a, to, castOf(nil)); err != nil {
				t.Fatalf("publish: got %v, want nil", err)
			}
		}
	}
	if err := svc.Drain(within(t)); err != nil {
		t.Fatalf("drain: got %v, want nil", err)
	}
	if got := svc.Stats(); got.Lost != 0 || got.Received != 15000 {
		t.Errorf("got %+v, want 15000 received, none lost", got)
	}
}

// TestSlowNodeCountsWhatTheClientDropped: nats.go drops when the queue is full.
func TestSlowNodeCountsWhatTheClientDropped(t *testing.T) {
	t.Parallel()
	s := startServer(t, server.RANDOM_PORT)
	a := dialNATS(t, transport.NATSOptions{URL: s.ClientURL(), Logger: quiet()})
	b := dialNATS(t, transport.NATSOptions{URL: s.ClientURL(), Logger: quiet(), PendingMessages: 10})
	defer closeConn(t, a)
	defer closeConn(t, b)
	proceed := make(chan struct{})
	svc, received := counted(t, b, func() { <-proceed })
	to := toB(t)
	const sent = 100
	for range sent {
		if err := transport.Publish(a, to, castOf(nil)); err != nil {
			t.Fatalf("publish: got %v, want nil", err)
		}
	}
	for _, c := range []transport.Conn{a, b} {
		if err := c.Flush(within(t)); err != nil {
			t.Fatalf("flush: got %v, want nil", err)
		}
	}
	close(proceed)
	// With the queue still full the call below would be dropped too.
	for deadline := time.Now().Add(10 * time.Second); received.Load() < sent-b.Dropped() && time.Now().Before(deadline); {
		<-time.After(time.Millisecond)
	}
	if _, err := transport.Request(within(t), a, to, callOf(nil)); err != nil {
		t.Fatalf("got %v, want nil", err)
	}
	got := svc.Stats()
	if got.Lost == 0 || got.Lost != b.Dropped() || got.Received+got.Lost != sent+1 || received.Load() != got.Received {
		t.Errorf("got %+v, want %d lost of %d", got, b.Dropped(), sent+1)
	}
	// nats.go tells of the cause in a goroutine of its own.
	for deadline := time.Now().Add(10 * time.Second); b.Stats().SlowConsumers == 0 && time.Now().Before(deadline); {
		<-time.After(time.Millisecond)
	}
	if n := b.Stats(); n.SlowConsumers == 0 || n.Dropped != got.Lost {
		t.Errorf("got %+v, want the drops and their cause", n)
	}
}

// stalled is a connection that reads nothing while it is told so.
type stalled struct {
	net.Conn
	gate *sync.RWMutex
}

func (s stalled) Read(p []byte) (int, error) {
	s.gate.RLock()
	defer s.gate.RUnlock()
	return s.Conn.Read(p)
}

type stallingDialer struct{ gate *sync.RWMutex }

func (d stallingDialer) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	return stalled{c, d.gate}, err
}

// TestSlowNodeCountsWhatTheServerDropped: a NATS server closes a connection
// that does not read, with all that it had for it.
func TestSlowNodeCountsWhatTheServerDropped(t *testing.T) {
	t.Parallel()
	s := startServerWith(t, &server.Options{WriteDeadline: 100 * time.Millisecond, MaxPending: 1 << 20})
	gate := &sync.RWMutex{}
	up := make(chan struct{}, 10)
	b := dialNATS(t, transport.NATSOptions{
		URL: s.ClientURL(), Logger: quiet(), ReconnectWait: time.Millisecond, OnReconnect: func() { up <- struct{}{} },
		Options: []nats.Option{nats.SetCustomDialer(stallingDialer{gate})},
	})
	a := dialNATS(t, transport.NATSOptions{URL: s.ClientURL(), Logger: quiet()})
	defer closeConn(t, a)
	defer closeConn(t, b)
	svc, received := counted(t, b, func() {})
	to := toB(t)
	const sent = 300
	large := genserver.Map{"text": strings.Repeat("x", 100<<10)}
	// The read that waits now still comes; the next one waits for the gate.
	stall := make(chan struct{})
	go func() { gate.Lock(); close(stall) }()
	for n := range sent {
		if err := transport.Publish(a, to, castOf(large)); err != nil {
			t.Fatalf("publish: got %v, want nil", err)
		}
		if n == 0 {
			<-stall
		}
	}
	if err := a.Flush(within(t)); err != nil {
		t.Fatalf("flush: got %v, want nil", err)
	}
	for deadline := time.Now().Add(10 * time.Second); s.NumSlowConsumers() == 0 && time.Now().Before(deadline); {
		<-time.After(time.Millisecond)
	}
	gate.Unlock()
	<-up
	if err := b.Flush(within(t)); err != nil {
		t.Fatalf("flush: got %v, want nil", err)
	}
	if _, err := transport.Request(within(t), a, to, callOf(nil)); err != nil {
		t.Fatalf("got %v, want nil", err)
	}
	got := svc.Stats()
	if got.Lost == 0 || got.Received+got.Lost != sent+1 || received.Load() != got.Received {
		t.Errorf("got %+v, want %d in all, some of them lost", got, sent+1)
	}
	if n := b.Stats(); n.Disconnects != 1 || n.Dropped != 0 {
		t.Errorf("got %+v, want one disconnect and no drop of its own", n)
	}
}

func TestTooLargeIsCounted(t *testing.T) {
	t.Parallel()
	s := startServerWith(t, &server.Options{MaxPayload: 1 << 10})
	c := dialNATS(t, transport.NATSOptions{URL: s.ClientURL(), Logger: quiet()})
	defer closeConn(t, c)
	err := c.Publish(transport.Msg{Subject: "x", Data: make([]byte, 2<<10)})
	if !errors.Is(err, transport.ErrTooLarge) || !strings.Contains(err.Error(), "2048 bytes, limit 1024") {
		t.Errorf("got %v, want %v with both sizes", err, transport.ErrTooLarge)
	}
	if got := c.Stats().TooLarge; got != 1 || c.MaxPayload() != 1<<10 {
		t.Errorf("got %d counted with limit %d, want 1 with 1024", got, c.MaxPayload())
	}
}
