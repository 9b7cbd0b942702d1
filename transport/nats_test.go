package transport_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/transport"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func closeConn(t *testing.T, c transport.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 20*time.Second)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		t.Errorf("close: got %v, want nil", err)
	}
}

func TestDialNATSErrors(t *testing.T) {
	t.Parallel()
	// A port that nothing listens on, and one that accepts and says nothing.
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := free.Addr().String()
	_ = free.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	guarded, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, Username: "u", Password: "p"})
	if err != nil {
		t.Fatal(err)
	}
	guarded.Start()
	defer guarded.WaitForShutdown()
	defer guarded.Shutdown()
	if !guarded.ReadyForConnections(10 * time.Second) {
		t.Fatal("server is not ready")
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()

	for what, tc := range map[string]struct {
		ctx  context.Context
		url  string
		want error
		text string
	}{
		"nobody there":  {within(t), "nats://" + refusing, nil, "connection refused"},
		"two addresses": {within(t), refusing + "," + refusing, nil, "connection refused"},
		"silent server": {soon, "nats://" + silent.Addr().String(), context.DeadlineExceeded, ""},
		"canceled":      {canceled, "nats://" + refusing, context.Canceled, ""},
		"no password":   {within(t), guarded.ClientURL(), nats.ErrAuthorization, ""},
		"bad scheme":    {within(t), "http://127.0.0.1:4222", nil, `scheme "http"`},
		"no host":       {within(t), "nats://", nil, "no host"},
		"no URL":        {within(t), "nats://secret:hush@127.0.0.1:x", nil, "does not parse"},
		"secrets":       {within(t), "nats://secret:hush@" + refusing, nil, "refused"},
	} {
		began := time.Now()
		c, err := transport.DialNATS(tc.ctx, transport.NATSOptions{URL: tc.url, Logger: quiet()})
		if c != nil || !errors.Is(err, transport.ErrNotConnected) {
			t.Fatalf("%s: got %v, want %v", what, err, transport.ErrNotConnected)
		}
		if tc.want != nil && !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: got %v, want %v %s, and no password", what, err, tc.want, tc.text)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s: got an answer after %v, want it sooner", what, took)
		}
	}
}

// TestNATSServerLost: requests in flight fail when the connection does, what
// is sent meanwhile is refused and not sent later, subscriptions come back.
func TestNATSServerLost(t *testing.T) {
	t.Parallel()
	s := startServer(t, server.RANDOM_PORT)
	down, up := make(chan error, 10), make(chan struct{}, 10)
	c := dialNATS(t, transport.NATSOptions{
		URL: s.ClientURL(), Logger: quiet(), ReconnectWait: 5 * time.Millisecond,
		OnDisconnect: func(err error) { down <- err },
		OnReconnect:  func() { up <- struct{}{} },
	})
	defer closeConn(t, c)
	got := make(chan string, 10)
	sub, err := c.Subscribe("it", func(m transport.Msg) { got <- string(m.Data) })
	if err != nil {
		t.Fatalf("subscribe: got %v, want nil", err)
	}
	failed := make(chan error, 1)
	ctx := within(t)
	go func() {
		_, err := c.Request(ctx, transport.Msg{Subject: "it", Data: []byte("first")})
		failed <- err
	}()
	if m := <-got; m != "first" {
		t.Fatalf("got %q, want the request", m)
	}
	port := s.Addr().(*net.TCPAddr).Port
	s.Shutdown()
	s.WaitForShutdown()
	if err := <-failed; !errors.Is(err, transport.ErrDisconnected) {
		t.Errorf("request in flight: got %v, want %v", err, transport.ErrDisconnected)
	}
	<-down
	if err := c.Publish(transport.Msg{Subject: "it", Data: []byte("stale")}); !errors.Is(err, transport.ErrNotConnected) {
		t.Errorf("publish while down: got %v, want %v", err, transport.ErrNotConnected)
	}
	if _, err := c.Request(ctx, transport.Msg{Subject: "it", Data: []byte("stale")}); !errors.Is(err, transport.ErrNotConnected) {
		t.Errorf("request while down: got %v, want %v", err, transport.ErrNotConnected)
	}
	startServer(t, port)
	<-up
	if err := c.Publish(transport.Msg{Subject: "it", Data: []byte("fresh")}); err != nil {
		t.Errorf("publish after reconnect: got %v, want nil", err)
	}
	if m := <-got; m != "fresh" {
		t.Errorf("got %q, want %q and nothing before", m, "fresh")
	}
	if err := sub.Drain(ctx); err != nil {
		t.Errorf("drain: got %v, want nil", err)
	}
}

// TestNATSDrainWhileDown: what has arrived is delivered though the server is gone.
func TestNATSDrainWhileDown(t *testing.T) {
	t.Parallel()
	s := startServer(t, server.RANDOM_PORT)
	down := make(chan error, 10)
	c := dialNATS(t, transport.NATSOptions{URL: s.ClientURL(), Logger: quiet(), OnDisconnect: func(err error) { down <- err }})
	defer closeConn(t, c)
	began, proceed, n := make(chan struct{}), make(chan struct{}), 0
	sub, err := c.Subscribe("it", func(transport.Msg) {
		if n == 0 {
			close(began)
			<-proceed
		}
		n++
	})
	if err != nil {
		t.Fatalf("subscribe: got %v, want nil", err)
	}
	for range 10 {
		if err := c.Publish(transport.Msg{Subject: "it"}); err != nil {
			t.Fatalf("publish: got %v, want nil", err)
		}
	}
	if err := c.Flush(within(t)); err != nil {
		t.Fatalf("flush: got %v, want nil", err)
	}
	<-began
	s.Shutdown()
	<-down
	close(proceed)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := sub.Drain(ctx); err != nil {
		t.Errorf("drain: got %v, want nil", err)
	}
	if n != 10 {
		t.Errorf("got %d messages handled, want 10", n)
	}
}

func TestNATSSlowConsumerIsCounted(t *testing.T) {
	t.Parallel()
	s := startServer(t, 0)
	c := dialNATS(t, transport.NATSOptions{InProcess: s, Logger: quiet(), PendingMessages: 10})
	defer closeConn(t, c)
	began, proceed := make(chan struct{}, 100), make(chan struct{})
	sub, err := c.Subscribe("slow", func(transport.Msg) { began <- struct{}{}; <-proceed })
	if err != nil {
		t.Fatalf("subscribe: got %v, want nil", err)
	}
	publish := func(n int) {
		for range n {
			if err := c.Publish(transport.Msg{Subject: "slow"}); err != nil {
				t.Fatalf("publish: got %v, want nil", err)
			}
		}
		if err := c.Flush(within(t)); err != nil {
			t.Fatalf("flush: got %v, want nil", err)
		}
	}
	publish(1)
	<-began
	publish(30)
	if got := c.Dropped(); got != 21 {
		t.Errorf("got %d dropped, want 21: ten fit, one of them in delivery", got)
	}
	close(proceed)
	if err := sub.Drain(within(t)); err != nil {
		t.Errorf("drain: got %v, want nil", err)
	}
	if got := c.Dropped(); got != 21 {
		t.Errorf("after drain: got %d dropped, want 21", got)
	}
}

// bubble makes a broker within a synctest bubble.
var bubbles = map[string]func(t *testing.T) func(name string) transport.Conn{
	"Memory": func(*testing.T) func(string) transport.Conn { return transport.NewHub().Dial },
	"NATSInProcess": func(t *testing.T) func(string) transport.Conn {
		s, err := server.NewServer(&server.Options{DontListen: true, NoLog: true, NoSigs: true})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		return func(name string) transport.Conn {
			return dialNATS(t, transport.NATSOptions{Name: name, InProcess: s})
		}
	},
}

// TestVirtualTime: hours pass at once, and nothing of one bubble is left for
// the next to trip over.
func TestVirtualTime(t *testing.T) {
	for name, network := range bubbles {
		for range 3 {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { virtualTime(t, network(t)) })
			})
		}
	}
}

func virtualTime(t *testing.T, dial func(name string) transport.Conn) {
	s := mustSubjects(t)
	a, b := dial("a"), dial("b")
	defer closeConn(t, b)
	defer closeConn(t, a)
	svc, err := transport.ServeNode(b, s, "B", quiet(), func(in *genserver.Incoming, _ uint64, _ transport.Origin) {
		if in.Op == "ask" {
			in.Reply.Reply(genserver.Map{"in": time.Until(in.Deadline).String()}, nil)
		}
	})
	if err != nil {
		t.Fatalf("serve: got %v, want nil", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	if err := b.Flush(ctx); err != nil {
		t.Fatalf("flush: got %v, want nil", err)
	}
	to := transport.Route{Subject: s.Node("B", "x")}
	call := func(op string) (genserver.Map, error) {
		body, err := transport.Request(ctx, a, to, &genserver.Outgoing{
			Envelope: genserver.Envelope{To: "x", Kind: genserver.KindCall, Op: op}, Message: genserver.Map{},
		})
		if err != nil {
			return nil, err
		}
		var m genserver.Map
		return m, body.Decode(&m)
	}
	if m, err := call("ask"); err != nil || m["in"] != "1h0m0s" {
		t.Errorf("got %v, %v, want an hour left", m, err)
	}
	began := time.Now()
	if _, err := call("ignored"); !errors.Is(err, genserver.ErrTimeout) || time.Since(began) != time.Hour {
		t.Errorf("got %v after %v, want %v after an hour", err, time.Since(began), genserver.ErrTimeout)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	if err := svc.Drain(ctx); err != nil {
		t.Errorf("drain: got %v, want nil", err)
	}
	if _, err := call("ask"); !errors.Is(err, transport.ErrNoResponders) {
		t.Errorf("after drain: got %v, want %v", err, transport.ErrNoResponders)
	}
}
