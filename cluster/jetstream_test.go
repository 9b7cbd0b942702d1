package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/internal/natsserver"
	"github.com/civitas-go/civitas/transport"
)

func own(name string) cluster.Key { return cluster.Key{Kind: cluster.KindOwner, Name: name} }

func jsContext(t *testing.T, nc *transport.NATS) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc.Conn())
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func wantText(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("got %q, want it to contain %q", err, p)
		}
	}
}

func TestJetStreamIsOff(t *testing.T) {
	t.Parallel()
	s := startServer(t, natsserver.Options{})
	_, err := cluster.OpenJetStream(t.Context(), connect(t, s), "dev", cluster.JetStreamOptions{})
	wantText(t, err, "cluster dev", "JetStream is not enabled on "+s.ClientURL(), "start nats-server with -js")
}

func TestOpenRefusals(t *testing.T) {
	t.Parallel()
	nc := connect(t, startServer(t, natsserver.Options{JetStream: true}))
	_, err := cluster.OpenJetStream(t.Context(), nc, "a.b", cluster.JetStreamOptions{})
	wantText(t, err, `cluster name "a.b"`)
	_, err = cluster.OpenJetStream(t.Context(), nc, "dev", cluster.JetStreamOptions{Replicas: 9})
	wantText(t, err, "9 replicas")
	_, err = cluster.OpenJetStream(t.Context(), nc, "dev", cluster.JetStreamOptions{Replicas: 3})
	wantText(t, err, "replicas > 1")

	js := jsContext(t, nc)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: cluster.StreamName("odd"), Subjects: []string{"civitas.odd.js.>"}, AllowDirect: true, MaxMsgsPerSubject: 5,
	}); err != nil {
		t.Fatal(err)
	}
	_, err = cluster.OpenJetStream(t.Context(), nc, "odd", cluster.JetStreamOptions{})
	wantText(t, err, "CIVITAS_odd", "allow direct is true, want false", "max messages per subject is 5, want 1", "republish is off", "format")
}

func TestManyOpenAtOnce(t *testing.T) {
	t.Parallel()
	server := startServer(t, natsserver.Options{JetStream: true})
	var wg sync.WaitGroup
	for range 8 {
		nc := connect(t, server)
		wg.Go(func() {
			s, err := cluster.OpenJetStream(t.Context(), nc, "dev", cluster.JetStreamOptions{})
			if err != nil {
				t.Errorf("open: %v", err)
				return
			}
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
	wg.Wait()
}

func TestRecordsOutliveTheServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := startServer(t, natsserver.Options{JetStream: true, StoreDir: dir})
	down := make(chan struct{})
	nc := dial(t, transport.NATSOptions{URL: first.ClientURL(), OnDisconnect: func(error) { close(down) }})
	s := openJetStream(t, nc, "dev")
	seq, err := s.Create(t.Context(), own("a"), []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	stopServer(t, first)
	<-down
	for op, err := range map[string]error{"Create": second(s.Create(t.Context(), own("b"), nil)), "Get": second(s.Get(t.Context(), own("a")))} {
		if !errors.Is(err, cluster.ErrUnavailable) || errors.Is(err, cluster.ErrUnknown) {
			t.Errorf("%s without a server: got %v, want unavailable", op, err)
		}
	}

	again := openJetStream(t, connect(t, startServer(t, natsserver.Options{JetStream: true, StoreDir: dir})), "dev")
	e, err := again.Get(t.Context(), own("a"))
	if err != nil || e.Seq != seq {
		t.Errorf("got sequence %d, error %v, want %d", e.Seq, err, seq)
	}
}

// The connection is lost and made anew: the watch goes on, and so do reads and
// writes, without anyone's doing.
func TestRecordsAfterALostConnection(t *testing.T) {
	t.Parallel()
	opts := natsserver.Options{JetStream: true, StoreDir: t.TempDir()}
	first := startServer(t, opts)
	u, err := url.Parse(first.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	if opts.Port, err = strconv.Atoi(u.Port()); err != nil {
		t.Fatal(err)
	}
	up := make(chan struct{}, 1)
	s := openJetStream(t, dial(t, transport.NATSOptions{URL: first.ClientURL(), OnReconnect: func() { up <- struct{}{} }}), "dev")
	seen := make(chan cluster.Change, 10)
	if _, err := s.Watch(t.Context(), cluster.KindOwner, func(c cluster.Change) { seen <- c }); err != nil {
		t.Fatal(err)
	}
	seq, err := s.Create(t.Context(), own("a"), []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	<-seen
	stopServer(t, first)
	startServer(t, opts)
	<-up
	if e, err := s.Get(t.Context(), own("a")); err != nil || e.Seq != seq {
		t.Errorf("got sequence %d, error %v, want %d", e.Seq, err, seq)
	}
	if seq, err = s.Update(t.Context(), own("a"), []byte("two"), seq); err != nil {
		t.Fatal(err)
	}
	if c := <-seen; c.Seq != seq {
		t.Errorf("watch: got %+v, want sequence %d", c, seq)
	}
}

// A write whose connection is lost before its acknowledgement finds out by the
// next connection whether it was done.
func TestAcknowledgementLostWithTheConnection(t *testing.T) {
	t.Parallel()
	gate := &gatedDialer{openAt: 1 << 30}
	server := startServer(t, natsserver.Options{JetStream: true})
	conn := dial(t, transport.NATSOptions{
		URL: server.ClientURL(), Options: []nats.Option{nats.SetCustomDialer(gate)},
	})
	s, err := cluster.OpenJetStream(t.Context(), conn, "dev", cluster.JetStreamOptions{AckWait: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	gate.close()
	watcher := openJetStream(t, connect(t, server), "dev")
	// The copy tells that it is done.
	if _, err := watcher.Watch(t.Context(), cluster.KindOwner, func(cluster.Change) { gate.cut() }); err != nil {
		t.Fatal(err)
	}
	seq, err := s.Create(t.Context(), own("a"), []byte("one"))
	if err != nil || seq != 1 {
		t.Errorf("got sequence %d, error %v, want 1: applied once", seq, err)
	}
}

func second[T any](_ T, err error) error { return err }

// An operator removes a leftover by purging its subject, as RemoveCommand says.
func TestPurgeByAnOperator(t *testing.T) {
	t.Parallel()
	nc := connect(t, startServer(t, natsserver.Options{JetStream: true}))
	s := openJetStream(t, nc, "dev")
	before, err := s.Create(t.Context(), own("a"), []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := jsContext(t, nc).Stream(t.Context(), cluster.StreamName("dev"))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteMsg(t.Context(), before); err == nil {
		t.Error("deleting a message: got nil, want a refusal")
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSubject(cluster.RecordSubject("dev", own("a")))); err != nil {
		t.Fatal(err)
	}
	after, err := s.Create(t.Context(), own("a"), []byte("two"))
	if err != nil || after <= before {
		t.Errorf("got sequence %d, error %v, want more than %d", after, err, before)
	}
}

// A tombstone goes away by itself; a Create after that works and has a higher sequence.
func TestTombstonesExpire(t *testing.T) {
	t.Parallel()
	nc := connect(t, startServer(t, natsserver.Options{JetStream: true}))
	s := openJetStream(t, nc, "dev")
	ack, err := jsContext(t, nc).PublishMsg(t.Context(), &nats.Msg{
		Subject: cluster.RecordSubject("dev", own("a")),
		Header:  nats.Header{cluster.OperationHeader: {cluster.DeleteOperation}, jetstream.MsgTTLHeader: {"1s"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the tombstone expires", func() bool {
		e, err := s.Get(t.Context(), own("a"))
		return errors.Is(err, cluster.ErrNotFound) && e.Seq == 0
	})
	seq, err := s.Create(t.Context(), own("a"), []byte("one"))
	if err != nil || seq <= ack.Sequence {
		t.Errorf("got sequence %d, error %v, want more than %d", seq, err, ack.Sequence)
	}
}

// Copies that are none are passed over.
func TestForeignCopies(t *testing.T) {
	t.Parallel()
	nc := connect(t, startServer(t, natsserver.Options{JetStream: true}))
	s := openJetStream(t, nc, "dev")
	seen := make(chan cluster.Change, 10)
	if _, err := s.Watch(t.Context(), cluster.KindOwner, func(c cluster.Change) { seen <- c }); err != nil {
		t.Fatal(err)
	}
	for _, h := range []nats.Header{nil, {"Nats-Sequence": {"x"}}, {"Nats-Sequence": {"7"}}} {
		if err := nc.Conn().PublishMsg(&nats.Msg{Subject: "civitas.dev.rp.own.a", Header: h, Data: []byte("junk")}); err != nil {
			t.Fatal(err)
		}
	}
	seq, err := s.Create(t.Context(), own("b"), []byte("real"))
	if err != nil {
		t.Fatal(err)
	}
	if c := <-seen; c.Seq != seq {
		t.Errorf("got %+v, want the change of sequence %d", c, seq)
	}
}

// The acknowledgement of the first attempt is lost: the repetition finds that
// it was applied, once.
func TestLostAcknowledgement(t *testing.T) {
	t.Parallel()
	gate := &gatedDialer{openAt: 2}
	nc := connect(t, startServer(t, natsserver.Options{JetStream: true}), nats.SetCustomDialer(gate))
	s, err := cluster.OpenJetStream(t.Context(), nc, "dev", cluster.JetStreamOptions{AckWait: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	gate.close()
	seq, err := s.Create(t.Context(), own("a"), []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	if seq != 1 {
		t.Errorf("got sequence %d, want 1: applied once", seq)
	}
	e, err := s.Get(t.Context(), own("a"))
	if err != nil || e.Seq != seq {
		t.Errorf("got sequence %d, error %v, want %d", e.Seq, err, seq)
	}
}

// No acknowledgement comes at all: the write is unknown, and was in fact done.
func TestNoAcknowledgement(t *testing.T) {
	t.Parallel()
	gate := &gatedDialer{openAt: 1 << 30}
	nc := connect(t, startServer(t, natsserver.Options{JetStream: true}), nats.SetCustomDialer(gate))
	s, err := cluster.OpenJetStream(t.Context(), nc, "dev", cluster.JetStreamOptions{AckWait: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	gate.close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = s.Create(ctx, own("a"), []byte("one"))
	if !errors.Is(err, cluster.ErrUnknown) || errors.Is(err, cluster.ErrConflict) || errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("got %v, want unknown and nothing else", err)
	}
	gate.open()
	eventually(t, "the record is read", func() bool { return second(s.Get(t.Context(), own("a"))) == nil })
}

// gatedDialer makes connections whose reads can be held back. A closed gate
// opens by itself when the record has been published openAt times.
type gatedDialer struct {
	openAt int

	mu     sync.Mutex
	closed chan struct{} // nil while open
	count  int
	last   *gatedConn
}

func (g *gatedDialer) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = make(chan struct{})
}

func (g *gatedDialer) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed != nil {
		close(g.closed)
		g.closed = nil
	}
}

// cut breaks the connection, with what was held back, and opens the gate for
// the next one.
func (g *gatedDialer) cut() {
	g.mu.Lock()
	last := g.last
	g.mu.Unlock()
	last.once.Do(func() { close(last.gone) })
	_ = last.Conn.Close()
	g.open()
}

func (g *gatedDialer) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = &gatedConn{Conn: c, gate: g, gone: make(chan struct{})}
	return g.last, nil
}

type gatedConn struct {
	net.Conn
	gate *gatedDialer
	once sync.Once
	gone chan struct{}
}

func (c *gatedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.gate.mu.Lock()
	closed := c.gate.closed
	c.gate.mu.Unlock()
	if closed != nil {
		select {
		case <-closed:
		case <-c.gone:
		}
		select {
		case <-c.gone:
			return 0, net.ErrClosed
		default:
		}
	}
	return n, err
}

func (c *gatedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.gate.mu.Lock()
	c.gate.count += bytes.Count(p, []byte("HPUB civitas.dev.js."))
	reached := c.gate.count >= c.gate.openAt
	c.gate.mu.Unlock()
	if reached {
		c.gate.open()
	}
	return n, err
}

func (c *gatedConn) Close() error {
	c.once.Do(func() { close(c.gone) })
	return c.Conn.Close()
}

// eventually waits for a state that no event tells of.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
