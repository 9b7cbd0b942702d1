package transport_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/civitas-go/civitas/transport"
)

// ups and downs of one connection, in order.
type history struct {
	down chan error
	up   chan struct{}
}

func (h *history) watch(o transport.NATSOptions) transport.NATSOptions {
	h.down, h.up = make(chan error, 1000), make(chan struct{}, 1000)
	o.OnDisconnect = func(err error) { h.down <- err }
	o.OnReconnect = func() { h.up <- struct{}{} }
	if o.Logger == nil {
		o.Logger = quiet()
	}
	if o.ReconnectWait == 0 {
		o.ReconnectWait = 5 * time.Millisecond
	}
	return o
}

func await[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: got nothing in 20s", what)
		panic("unreachable")
	}
}

// restart ends a server and starts one at the same address.
func restart(t *testing.T, s *server.Server, o *server.Options) *server.Server {
	t.Helper()
	port := s.Addr().(*net.TCPAddr).Port
	s.Shutdown()
	s.WaitForShutdown()
	return startServerAt(t, port, o)
}

// TestSendingWhileDialling: whoever sends is refused at once, also while the
// one who dials waits for a server that says nothing.
func TestSendingWhileDialling(t *testing.T) {
	t.Parallel()
	s := startServer(t, server.RANDOM_PORT)
	var h history
	c := dialNATS(t, h.watch(transport.NATSOptions{URL: s.ClientURL(), DialTimeout: 10 * time.Second}))
	defer closeConn(t, c)
	address := s.Addr().String()
	s.Shutdown()
	s.WaitForShutdown()
	silent, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	await(t, "the loss", h.down)
	dialled, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer dialled.Close()
	began := time.Now()
	if err := c.Publish(transport.Msg{Subject: "x"}); !errors.Is(err, transport.ErrNotConnected) {
		t.Errorf("publish: got %v, want %v", err, transport.ErrNotConnected)
	}
	if _, err := c.Request(within(t), transport.Msg{Subject: "x"}); !errors.Is(err, transport.ErrNotConnected) {
		t.Errorf("request: got %v, want %v", err, transport.ErrNotConnected)
	}
	if err := c.Flush(within(t)); !errors.Is(err, transport.ErrNotConnected) {
		t.Errorf("flush: got %v, want %v", err, transport.ErrNotConnected)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("got refused after %v, want it at once", took)
	}
}

// TestServerKicksTheClient: the connection is made anew, and each end of it
// knows.
func TestServerKicksTheClient(t *testing.T) {
	t.Parallel()
	s := startServer(t, server.RANDOM_PORT)
	var h history
	c := dialNATS(t, h.watch(transport.NATSOptions{URL: s.ClientURL()}))
	defer closeConn(t, c)
	if _, err := c.Subscribe("echo", func(m transport.Msg) { _ = c.Publish(transport.Msg{Subject: m.Reply, Data: m.Data}) }); err != nil {
		t.Fatalf("subscribe: got %v, want nil", err)
	}
	for n := range 5 {
		kick(t, s, c)
		if err := await(t, "the loss", h.down); err == nil {
			t.Error("got nil, want a reason")
		}
		await(t, "the connection", h.up)
		// It says that it is connected only when its subscriptions are there.
		if m, err := c.Request(within(t), transport.Msg{Subject: "echo", Data: []byte{byte(n)}}); err != nil || m.Data[0] != byte(n) {
			t.Errorf("request %d: got %v, %v, want its echo", n, m.Data, err)
		}
	}
	if got := c.Stats(); got.Disconnects != 5 || got.Reconnects != 5 {
		t.Errorf("got %+v, want five of both", got)
	}
}

func kick(t *testing.T, s *server.Server, c *transport.NATS) {
	t.Helper()
	id, err := c.Conn().GetClientID()
	if err != nil {
		t.Fatalf("client id: %v", err)
	}
	if err := s.DisconnectClientByID(id); err != nil {
		t.Fatalf("kick: %v", err)
	}
}

// TestLameDuck: a server that shuts down gently hands its clients to the other
// one, which they know only from it, by an address that its certificate has not.
func TestLameDuck(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	for name, tc := range map[string]struct {
		tls  *tls.Config
		auth transport.Auth
		url  string
	}{
		"plain": {nil, transport.Auth{}, "nats://bob:hush@127.0.0.1:%d"},
		"TLS":   {ca.serverTLS(t, time.Now().Add(time.Hour)), transport.Auth{TLSCA: ca.file}, "tls://bob:hush@localhost:%d"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			servers := clusterOfTwo(t, tc.tls)
			url := func(i int) string { return fmt.Sprintf(tc.url, servers[i].Addr().(*net.TCPAddr).Port) }
			var h history
			c := dialNATS(t, h.watch(transport.NATSOptions{URL: url(0), Auth: tc.auth}))
			defer closeConn(t, c)
			got := make(chan string, 1)
			if _, err := c.Subscribe("it", func(m transport.Msg) { got <- string(m.Data) }); err != nil {
				t.Fatalf("subscribe: got %v, want nil", err)
			}
			other := dialNATS(t, transport.NATSOptions{URL: url(1), Auth: tc.auth, Logger: quiet()})
			defer closeConn(t, other)
			go servers[0].LameDuckShutdown()
			await(t, "the loss", h.down)
			await(t, "the connection", h.up)
			if to := c.Conn().ConnectedServerName(); to != servers[1].Name() {
				t.Errorf("got a connection to %s, want %s", to, servers[1].Name())
			}
			publish(t, other, transport.Msg{Subject: "it", Data: []byte("hello")})
			if m := await(t, "the message", got); m != "hello" {
				t.Errorf("got %q, want %q", m, "hello")
			}
			servers[0].WaitForShutdown()
		})
	}
}

// clusterOfTwo are servers that tell their clients of each other.
func clusterOfTwo(t *testing.T, tls *tls.Config) [2]*server.Server {
	t.Helper()
	var servers [2]*server.Server
	var routes []string
	for i := range servers {
		o := &server.Options{
			ServerName: fmt.Sprint("s", i), Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: server.RANDOM_PORT},
			Username: "bob", Password: "hush", TLS: tls != nil, TLSConfig: tls, TLSTimeout: 10,
			LameDuckDuration: 50 * time.Millisecond, LameDuckGracePeriod: -10 * time.Millisecond,
		}
		if routes != nil {
			o.Routes = server.RoutesFromStr(strings.Join(routes, ","))
		}
		servers[i] = startServerWith(t, o)
		routes = append(routes, fmt.Sprintf("nats://%s", servers[i].ClusterAddr()))
	}
	for deadline := time.Now().Add(10 * time.Second); servers[0].NumRoutes() == 0 || servers[1].NumRoutes() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the servers do not find each other")
		}
		<-time.After(time.Millisecond)
	}
	return servers
}

func publish(t *testing.T, c transport.Conn, m transport.Msg) {
	t.Helper()
	if err := c.Publish(m); err != nil {
		t.Fatalf("publish: got %v, want nil", err)
	}
}

// TestCloseWhileDialling comes to its end at once, whatever the server does.
func TestCloseWhileDialling(t *testing.T) {
	t.Parallel()
	s := startServer(t, server.RANDOM_PORT)
	var h history
	c := dialNATS(t, h.watch(transport.NATSOptions{URL: s.ClientURL(), DialTimeout: time.Hour}))
	address := s.Addr().String()
	s.Shutdown()
	s.WaitForShutdown()
	silent, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	dialled, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer dialled.Close()
	if sub, err := c.Subscribe("late", func(transport.Msg) {}); err != nil {
		t.Errorf("subscribe while there is no connection: got %v, want nil", err)
	} else if err := sub.Drain(within(t)); err != nil {
		t.Errorf("drain: got %v, want nil", err)
	}
	closeConn(t, c)
	if err := c.Publish(transport.Msg{Subject: "x"}); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("publish: got %v, want %v", err, transport.ErrClosed)
	}
}

// TestSubscribeWhileDown: what was subscribed without a connection is there
// with the next; what was drained is not.
func TestSubscribeWhileDown(t *testing.T) {
	t.Parallel()
	s := startServer(t, server.RANDOM_PORT)
	var h history
	c := dialNATS(t, h.watch(transport.NATSOptions{URL: s.ClientURL()}))
	defer closeConn(t, c)
	gone, err := c.Subscribe("gone", func(transport.Msg) {})
	if err != nil {
		t.Fatalf("subscribe: got %v, want nil", err)
	}
	port := s.Addr().(*net.TCPAddr).Port
	s.Shutdown()
	s.WaitForShutdown()
	await(t, "the loss", h.down)
	if err := gone.Drain(within(t)); err != nil {
		t.Errorf("drain while down: got %v, want nil", err)
	}
	if _, err := c.Subscribe("late", func(m transport.Msg) { _ = c.Publish(transport.Msg{Subject: m.Reply}) }); err != nil {
		t.Errorf("subscribe while down: got %v, want nil", err)
	}
	startServer(t, port)
	await(t, "the connection", h.up)
	if _, err := c.Request(within(t), transport.Msg{Subject: "late"}); err != nil {
		t.Errorf("request: got %v, want nil", err)
	}
	if _, err := c.Request(within(t), transport.Msg{Subject: "gone"}); !errors.Is(err, transport.ErrNoResponders) {
		t.Errorf("request to what was drained: got %v, want %v", err, transport.ErrNoResponders)
	}
}

// TestManyDisconnects: a hundred of them under load. Every request ends with
// its own answer or an error that is right about whether it arrived; what was
// refused never does, and nothing arrives twice.
func TestManyDisconnects(t *testing.T) {
	t.Parallel()
	const kicks, workers = 100, 8
	s := startServer(t, server.RANDOM_PORT)
	var h history
	client := dialNATS(t, h.watch(transport.NATSOptions{URL: s.ClientURL(), ReconnectWait: time.Millisecond}))
	receiver := dialNATS(t, transport.NATSOptions{URL: s.ClientURL(), Logger: quiet()})
	defer closeConn(t, receiver)

	var (
		mu      sync.Mutex
		arrived = make(map[string]int)
	)
	sub, err := receiver.Subscribe("work", func(m transport.Msg) {
		mu.Lock()
		arrived[string(m.Data)]++
		mu.Unlock()
		if m.Reply != "" {
			_ = receiver.Publish(transport.Msg{Subject: m.Reply, Data: m.Data})
		}
	})
	if err != nil {
		t.Fatalf("subscribe: got %v, want nil", err)
	}
	if err := receiver.Flush(within(t)); err != nil {
		t.Fatalf("flush: got %v, want nil", err)
	}

	var (
		wg               sync.WaitGroup
		stop             = make(chan struct{})
		replied, refused sync.Map
		unknown          atomic.Int64
		progress         = make(chan struct{}, 1)
	)
	for w := range workers {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				id, cast := fmt.Sprintf("%d.%d", w, n), n%2 == 0
				m := transport.Msg{Subject: "work", Data: []byte(id)}
				var (
					answer transport.Msg
					err    error
				)
				if cast {
					err = client.Publish(m)
				} else {
					answer, err = client.Request(within(t), m)
				}
				switch {
				case err == nil && cast: // it left
				case err == nil:
					if string(answer.Data) != id {
						t.Errorf("request %s: got the answer to %s", id, answer.Data)
					}
					replied.Store(id, true)
					select {
					case progress <- struct{}{}:
					default:
					}
				case errors.Is(err, transport.ErrNotConnected):
					refused.Store(id, true)
					<-time.After(100 * time.Microsecond)
				case errors.Is(err, transport.ErrDisconnected) && !cast:
					unknown.Add(1)
				default:
					t.Errorf("%s: got %v, want an answer, %v or %v", id, err, transport.ErrNotConnected, transport.ErrDisconnected)
				}
			}
		})
	}
	for range kicks {
		await(t, "an answer", progress)
		await(t, "another answer", progress)
		kick(t, s, client)
		await(t, "the loss", h.down)
		await(t, "the connection", h.up)
	}
	close(stop)
	wg.Wait()
	closeConn(t, client)
	if err := receiver.Flush(within(t)); err != nil {
		t.Fatalf("flush: got %v, want nil", err)
	}
	if err := sub.Drain(within(t)); err != nil {
		t.Fatalf("drain: got %v, want nil", err)
	}
	var nReplied, nRefused int
	replied.Range(func(id, _ any) bool {
		nReplied++
		if arrived[id.(string)] != 1 {
			t.Errorf("request %s: got an answer, and it arrived %d times, want once", id, arrived[id.(string)])
		}
		return true
	})
	refused.Range(func(id, _ any) bool {
		nRefused++
		if arrived[id.(string)] != 0 {
			t.Errorf("%s: was refused, and arrived", id)
		}
		return true
	})
	for id, n := range arrived {
		if n != 1 {
			t.Errorf("%s: arrived %d times, want once at most", id, n)
		}
	}
	if got := client.Stats(); got.Disconnects != kicks || got.Reconnects != kicks {
		t.Errorf("got %+v, want %d of both", got, kicks)
	}
	t.Logf("%d answered, %d refused, %d unknown, %d arrived", nReplied, nRefused, unknown.Load(), len(arrived))
	if nReplied == 0 || nRefused == 0 {
		t.Error("got no load to speak of, want some of all")
	}
}
