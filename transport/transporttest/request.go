package transporttest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/civitas-go/civitas/transport"
)

func requestReply(t *testing.T, d Dial) {
	server, client := dial(t, d, "server"), dial(t, d, "client")
	subscribe(t, server, "echo", echo(server))
	for n := range 100 {
		m, err := client.Request(wait(t), transport.Msg{Subject: "echo", Data: number(n)})
		if err != nil {
			t.Fatalf("request %d: got %v, want nil", n, err)
		}
		if string(m.Data) != string(number(n)) {
			t.Fatalf("request %d: got %x, want %x", n, m.Data, number(n))
		}
	}
}

func requestsAtOnce(t *testing.T, d Dial) {
	server, client := dial(t, d, "server"), dial(t, d, "client")
	subscribe(t, server, "echo", echo(server))
	ctx := wait(t)
	var callers sync.WaitGroup
	for c := range 32 {
		callers.Go(func() {
			for n := range 50 {
				want := string(number(c*1000 + n))
				m, err := client.Request(ctx, transport.Msg{Subject: "echo", Data: []byte(want)})
				if err != nil || string(m.Data) != want {
					t.Errorf("caller %d: got %x, %v, want %x", c, m.Data, err, want)
					return
				}
			}
		})
	}
	callers.Wait()
}

func noResponders(t *testing.T, d Dial) {
	client := dial(t, d, "client")
	_, err := client.Request(wait(t), transport.Msg{Subject: "nobody.here"})
	if !errors.Is(err, transport.ErrNoResponders) {
		t.Fatalf("got %v, want %v", err, transport.ErrNoResponders)
	}
	// Publishing to nobody is no error.
	publish(t, client, transport.Msg{Subject: "nobody.here"})
}

func requestCanceled(t *testing.T, d Dial) {
	server, client := dial(t, d, "server"), dial(t, d, "client")
	arrived := make(chan transport.Msg, 10)
	subscribe(t, server, "slow", func(m transport.Msg) { arrived <- m })

	ctx, cancel := context.WithCancel(wait(t))
	done := make(chan error, 1)
	go func() {
		_, err := client.Request(ctx, transport.Msg{Subject: "slow"})
		done <- err
	}()
	m := await(t, arrived, "the request")
	cancel()
	if err := await(t, done, "the canceled request"); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want %v", err, context.Canceled)
	}
	// The answer comes too late, and must not answer the next request.
	publish(t, server, transport.Msg{Subject: m.Reply, Data: []byte("late")})
	flush(t, server)
	go func() {
		m := <-arrived
		_ = server.Publish(transport.Msg{Subject: m.Reply, Data: []byte("right")})
	}()
	got, err := client.Request(wait(t), transport.Msg{Subject: "slow"})
	if err != nil || string(got.Data) != "right" {
		t.Fatalf("the next request: got %q, %v, want %q", got.Data, err, "right")
	}

	expired, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if _, err := client.Request(expired, transport.Msg{Subject: "slow"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("an expired context: got %v, want %v", err, context.DeadlineExceeded)
	}
	flush(t, client)
	publish(t, client, transport.Msg{Subject: "slow", Data: []byte("last")})
	if m := await(t, arrived, "the last message"); string(m.Data) != "last" {
		t.Fatalf("got %q, want %q: a request with an expired context was sent", m.Data, "last")
	}
}

// until ends a request as its context's deadline would.
func until(t *testing.T, d Dial) {
	server, client := dial(t, d, "server"), dial(t, d, "client")
	subscribe(t, server, "silence", func(transport.Msg) {})
	for range 2 { // the second with what the first has left
		_, err := client.Request(wait(t), transport.Msg{Subject: "silence", Until: time.Now().Add(10 * time.Millisecond)})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v, want %v", err, context.DeadlineExceeded)
		}
	}
}

// peerEnds fails the requests to one peer, and no others.
func peerEnds(t *testing.T, d Dial) {
	server, client := dial(t, d, "server"), dial(t, d, "client")
	arrived := make(chan transport.Msg, 10)
	subscribe(t, server, "silence", func(m transport.Msg) { arrived <- m })
	reason := errors.New("it was declared dead")
	var dead, alive transport.Peer
	results := map[*transport.Peer]chan error{&dead: make(chan error, 3), &alive: make(chan error, 3)}
	request := func(to *transport.Peer) error {
		_, err := client.Request(wait(t), transport.Msg{Subject: "silence", Peer: to})
		return err
	}
	for peer, result := range results {
		for range 3 {
			go func() { result <- request(peer) }()
		}
	}
	var replies []string
	for range 6 {
		replies = append(replies, await(t, arrived, "a request").Reply)
	}
	client.Fail(&dead, reason)
	for range 3 {
		if err := await(t, results[&dead], "a request to the dead"); !errors.Is(err, transport.ErrPeerEnded) || !errors.Is(err, reason) {
			t.Errorf("in flight: got %v, want %v with the reason", err, transport.ErrPeerEnded)
		}
	}
	if err := request(&dead); !errors.Is(err, transport.ErrNoResponders) || !errors.Is(err, reason) {
		t.Errorf("made later: got %v, want %v with the reason", err, transport.ErrNoResponders)
	}
	for _, reply := range replies {
		publish(t, server, transport.Msg{Subject: reply, Data: []byte("at last")})
	}
	for range 3 {
		if err := await(t, results[&alive], "a request to the living"); err != nil {
			t.Errorf("to another: got %v, want its answer", err)
		}
	}
	if len(arrived) > 0 {
		t.Errorf("got %d messages more than were sent", len(arrived))
	}
}
