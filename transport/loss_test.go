package transport_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/civitas-go/civitas/transport"
)

// TestLossDeliversWhatHadCome: what had arrived on a lost connection is
// delivered, before what comes on the next, though the receiver is slow.
func TestLossDeliversWhatHadCome(t *testing.T) {
	t.Parallel()
	s := startServer(t, server.RANDOM_PORT)
	var h history
	c := dialNATS(t, h.watch(transport.NATSOptions{URL: s.ClientURL()}))
	defer closeConn(t, c)
	sender := dialNATS(t, transport.NATSOptions{URL: s.ClientURL(), Logger: quiet()})
	defer closeConn(t, sender)
	const lives, each = 4, 50
	gate, got := make(chan struct{}), make(chan byte, lives*each)
	sub, err := c.Subscribe("it", func(m transport.Msg) {
		<-gate
		got <- m.Data[0]
	})
	if err != nil {
		t.Fatalf("subscribe: got %v, want nil", err)
	}
	others := make(chan byte, lives)
	if _, err := c.Subscribe("other", func(m transport.Msg) { others <- m.Data[0] }); err != nil {
		t.Fatalf("subscribe: got %v, want nil", err)
	}
	for life := range lives {
		if life > 0 {
			kick(t, s, c)
			await(t, "the loss", h.down)
			await(t, "the connection", h.up)
		} else if err := c.Flush(within(t)); err != nil {
			t.Fatalf("flush: got %v, want nil", err)
		}
		for range each {
			publish(t, sender, transport.Msg{Subject: "it", Data: []byte{byte(life)}})
		}
		publish(t, sender, transport.Msg{Subject: "other", Data: []byte{byte(life)}})
		if err := sender.Flush(within(t)); err != nil {
			t.Fatalf("flush: got %v, want nil", err)
		}
		if n := await(t, "the other subscription", others); n != byte(life) { // waits for nobody
			t.Errorf("got %d, want %d", n, life)
		}
		if err := c.Flush(within(t)); err != nil {
			t.Fatalf("flush: got %v, want nil", err)
		}
	}
	close(gate)
	if err := sub.Drain(within(t)); err != nil {
		t.Errorf("drain: got %v, want nil", err)
	}
	if len(got) != lives*each {
		t.Fatalf("got %d messages, want %d", len(got), lives*each)
	}
	for n := range lives * each {
		if life := <-got; life != byte(n/each) {
			t.Fatalf("message %d: got one of connection %d, want %d", n, life, n/each)
		}
	}
}

// TestCloseWhileLossesAreDelivered: Close waits for the call that runs and
// drops the rest, of the lost connection too.
func TestCloseWhileLossesAreDelivered(t *testing.T) {
	t.Parallel()
	s := startServer(t, server.RANDOM_PORT)
	var h history
	c := dialNATS(t, h.watch(transport.NATSOptions{URL: s.ClientURL()}))
	began, gate := make(chan struct{}, 100), make(chan struct{})
	var running, calls atomic.Int64
	if _, err := c.Subscribe("it", func(transport.Msg) {
		if running.Add(1) > 1 {
			t.Error("got two deliveries at once, want one after another")
		}
		calls.Add(1)
		began <- struct{}{}
		<-gate
		running.Add(-1)
	}); err != nil {
		t.Fatalf("subscribe: got %v, want nil", err)
	}
	for life := range 2 {
		for range 5 {
			publish(t, c, transport.Msg{Subject: "it"})
		}
		if err := c.Flush(within(t)); err != nil {
			t.Fatalf("flush: got %v, want nil", err)
		}
		if life == 0 {
			<-began
			kick(t, s, c)
			await(t, "the connection", h.up)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("close while a delivery runs: got %v, want %v", err, context.DeadlineExceeded)
	}
	close(gate)
	closeConn(t, c)
	if n := calls.Load(); n != 1 {
		t.Errorf("got %d deliveries, want the one that ran", n)
	}
}
