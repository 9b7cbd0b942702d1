package transporttest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/civitas-go/civitas/transport"
)

// drainLosesNothing: 500 messages on their way, their receiver busy with the
// first, are all handled.
func drainLosesNothing(t *testing.T, d Dial) {
	const inFlight = 500
	sender, receiver := dial(t, d, "sender"), dial(t, d, "receiver")
	began, proceed := make(chan struct{}), make(chan struct{})
	handled := 0 // by one goroutine, read after Drain
	s := subscribe(t, receiver, "work", func(transport.Msg) {
		if handled == 0 {
			close(began)
			<-proceed
		}
		handled++
	})
	for range inFlight {
		publish(t, sender, transport.Msg{Subject: "work", Data: make([]byte, 256)})
	}
	flush(t, sender)
	await(t, began, "the first message")
	drained := make(chan error, 1)
	ctx := wait(t)
	go func() { drained <- s.Drain(ctx) }()
	close(proceed)
	if err := await(t, drained, "the drain"); err != nil {
		t.Fatalf("drain: got %v, want nil", err)
	}
	if handled != inFlight {
		t.Fatalf("got %d messages handled, want %d", handled, inFlight)
	}
}

// drainWhileSending: whatever a call found a receiver for is answered, though
// the receiver drains in the midst of it.
func drainWhileSending(t *testing.T, d Dial) {
	for range 20 {
		server, client := d("server"), d("client")
		s := subscribe(t, server, "work", echo(server))
		ctx := wait(t)
		busy := make(chan struct{}, 1)
		var callers sync.WaitGroup
		for range 8 {
			callers.Go(func() {
				for n := 0; ; n++ {
					_, err := client.Request(ctx, transport.Msg{Subject: "work"})
					if errors.Is(err, transport.ErrNoResponders) {
						return
					}
					if err != nil {
						t.Errorf("request: got %v, want an answer or %v", err, transport.ErrNoResponders)
						return
					}
					if n == 20 {
						select {
						case busy <- struct{}{}:
						default:
						}
					}
				}
			})
		}
		await(t, busy, "traffic")
		if err := s.Drain(ctx); err != nil {
			t.Errorf("drain: got %v, want nil", err)
		}
		callers.Wait()
		for _, c := range []transport.Conn{client, server} {
			if err := c.Close(ctx); err != nil {
				t.Errorf("close: got %v, want nil", err)
			}
		}
		if t.Failed() {
			return
		}
	}
}

func drainEndsInterest(t *testing.T, d Dial) {
	server, client := dial(t, d, "server"), dial(t, d, "client")
	s := subscribe(t, server, "echo", echo(server))
	if _, err := client.Request(wait(t), transport.Msg{Subject: "echo"}); err != nil {
		t.Fatalf("request: got %v, want nil", err)
	}
	if err := s.Drain(wait(t)); err != nil {
		t.Fatalf("drain: got %v, want nil", err)
	}
	if _, err := client.Request(wait(t), transport.Msg{Subject: "echo"}); !errors.Is(err, transport.ErrNoResponders) {
		t.Fatalf("request after drain: got %v, want %v", err, transport.ErrNoResponders)
	}
}

func drainTimesOut(t *testing.T, d Dial) {
	c := dial(t, d, "conn")
	began, proceed := make(chan struct{}), make(chan struct{})
	s := subscribe(t, c, "stuck", func(transport.Msg) { close(began); <-proceed })
	publish(t, c, transport.Msg{Subject: "stuck"})
	await(t, began, "the message")
	ctx, cancel := context.WithCancel(wait(t))
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(ctx) }()
	cancel()
	if err := await(t, drained, "the drain"); !errors.Is(err, context.Canceled) {
		t.Errorf("drain: got %v, want %v", err, context.Canceled)
	}
	close(proceed)
}

func flushMakesReady(t *testing.T, d Dial) {
	client := dial(t, d, "client")
	for n := range 50 {
		server := d("server")
		subject := fmt.Sprint("ready.", n)
		if _, err := server.Subscribe(subject, echo(server)); err != nil {
			t.Fatalf("subscribe: got %v, want nil", err)
		}
		flush(t, server)
		if _, err := client.Request(wait(t), transport.Msg{Subject: subject}); err != nil {
			t.Errorf("first request: got %v, want nil", err)
		}
		if err := server.Close(wait(t)); err != nil {
			t.Errorf("close: got %v, want nil", err)
		}
	}
}
