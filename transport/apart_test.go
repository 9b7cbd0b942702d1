package transport_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/civitas-go/civitas/internal/natstest"
	"github.com/civitas-go/civitas/transport"
)

// A connection apart has the credentials, goes to the server meant, and ends
// when that does.
func TestDialApart(t *testing.T) {
	t.Parallel()
	servers := natstest.Cluster(t, 2, "authorization { users: [ {user: a, password: b} ] }")
	c := dialNATS(t, transport.NATSOptions{URL: servers[0].ClientURL(), Name: "n1", Auth: transport.Auth{User: "a", Password: "b"}, Logger: quiet()})
	defer c.Close(context.Background())
	known := c.Servers()
	for late := time.Now().Add(10 * time.Second); len(known) < 2 && time.Now().Before(late); known = c.Servers() {
		<-time.After(10 * time.Millisecond) // until the server has told of the other
	}
	if len(known) != 2 || known[1].String() != servers[0].ClientURL() {
		t.Fatalf("servers: got %v, want two, and the last %s", known, servers[0].ClientURL())
	}
	closed := make(chan struct{})
	nc, err := c.DialApart(t.Context(), known[0], "test", nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if got, want := nc.ConnectedServerId(), servers[1].ID(); got != want {
		t.Errorf("server: got %s, want %s", got, want)
	}
	if got := nc.Opts.Name; got != "n1 test" {
		t.Errorf("name: got %q, want %q", got, "n1 test")
	}
	natstest.Stop(servers[1])
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("the connection has not ended 10s after its server")
	}
	if _, err := c.DialApart(t.Context(), known[0], "test"); !errors.Is(err, transport.ErrNotConnected) {
		t.Errorf("dial a server that has ended: got %v, want ErrNotConnected", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.DialApart(ended, known[1], "test"); !errors.Is(err, context.Canceled) {
		t.Errorf("dial with an ended context: got %v, want context.Canceled", err)
	}
}

func TestLost(t *testing.T) {
	t.Parallel()
	servers := natstest.Cluster(t, 2, "")
	c := dialNATS(t, transport.NATSOptions{URL: servers[0].ClientURL(), Logger: quiet()})
	defer c.Close(context.Background())
	lost := c.Lost()
	select {
	case <-lost:
		t.Fatal("a connection that is there: got lost")
	default:
	}
	natstest.Stop(servers[0])
	select {
	case <-lost:
	case <-time.After(10 * time.Second):
		t.Fatal("got not lost 10s after the server's end")
	}
	for deadline := time.Now().Add(10 * time.Second); c.Lost() == lost; {
		if time.Now().After(deadline) {
			t.Fatal("got no other connection in 10s")
		}
		<-time.After(time.Millisecond)
	}
}
