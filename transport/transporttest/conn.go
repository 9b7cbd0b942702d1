// Package transporttest holds what every transport.Conn promises, as tests
// that an implementation runs against itself.
package transporttest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/civitas-go/civitas/transport"
)

// Dial makes a connection to a broker. The test that dials closes it.
type Dial func(name string) transport.Conn

// patience is how long a test waits for what must happen. Nothing waits so
// long unless it fails.
const patience = 20 * time.Second

// TestConn checks the promises of [transport.Conn]. network is called once
// for each subtest and makes a broker of its own; it may use t.Cleanup.
func TestConn(t *testing.T, network func(t *testing.T) Dial) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Dial)
	}{
		{"OrderPerSender", orderPerSender},
		{"RequestReply", requestReply},
		{"RequestsAtOnce", requestsAtOnce},
		{"NoResponders", noResponders},
		{"RequestCanceled", requestCanceled},
		{"Wildcards", wildcards},
		{"BadSubjects", badSubjects},
		{"Headers", headers},
		{"SenderKeepsItsBytes", senderKeepsItsBytes},
		{"DrainLosesNothing", drainLosesNothing},
		{"DrainWhileSending", drainWhileSending},
		{"DrainEndsInterest", drainEndsInterest},
		{"DrainTimesOut", drainTimesOut},
		{"FlushMakesReady", flushMakesReady},
		{"CloseWhileBusy", closeWhileBusy},
		{"CloseFailsRequests", closeFailsRequests},
		{"AfterClose", afterClose},
		{"TooLarge", tooLarge},
		{"Bundles", bundles},
		{"BundlesOfRequests", bundlesOfRequests},
		{"BundlesToNobody", bundlesToNobody},
		{"Until", until},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, network(t)) })
	}
}

func dial(t *testing.T, d Dial, name string) transport.Conn {
	t.Helper()
	c := d(name)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Errorf("close %s: got %v, want nil", name, err)
		}
	})
	return c
}

func wait(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func subscribe(t *testing.T, c transport.Conn, subject string, deliver func(transport.Msg)) transport.Subscription {
	t.Helper()
	s, err := c.Subscribe(subject, deliver)
	if err != nil {
		t.Fatalf("subscribe to %s: got %v, want nil", subject, err)
	}
	flush(t, c)
	return s
}

func flush(t *testing.T, c transport.Conn) {
	t.Helper()
	if err := c.Flush(wait(t)); err != nil {
		t.Fatalf("flush: got %v, want nil", err)
	}
}

func publish(t *testing.T, c transport.Conn, m transport.Msg) {
	t.Helper()
	if err := c.Publish(m); err != nil {
		t.Fatalf("publish to %s: got %v, want nil", m.Subject, err)
	}
}

// await waits for a value, or fails the test.
func await[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-wait(t).Done():
		t.Fatalf("%s: got nothing in %v", what, patience)
		panic("unreachable")
	}
}

func echo(c transport.Conn) func(transport.Msg) {
	return func(m transport.Msg) {
		_ = c.Publish(transport.Msg{Subject: m.Reply, Data: m.Data})
	}
}

func number(n int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

func orderPerSender(t *testing.T, d Dial) {
	const each = 10_000
	receiver := dial(t, d, "receiver")
	type sent struct{ sender, n int }
	got := make(chan sent, 3*each)
	subscribe(t, receiver, "order.>", func(m transport.Msg) {
		got <- sent{int(m.Subject[len(m.Subject)-1] - '0'), int(binary.BigEndian.Uint64(m.Data))}
	})
	var senders sync.WaitGroup
	defer senders.Wait()
	for s := range 3 {
		c := dial(t, d, fmt.Sprint("sender", s))
		senders.Go(func() {
			for n := range each {
				// Two subjects, one subscription: the order spans them.
				if err := c.Publish(transport.Msg{Subject: fmt.Sprintf("order.%d.%d", n%2, s), Data: number(n)}); err != nil {
					t.Errorf("publish: got %v, want nil", err)
					return
				}
			}
		})
	}
	var next [3]int
	for range 3 * each {
		m := await(t, got, "a message in order")
		if m.n != next[m.sender] {
			t.Fatalf("sender %d: got message %d, want %d", m.sender, m.n, next[m.sender])
		}
		next[m.sender]++
	}
}

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

func wildcards(t *testing.T, d Dial) {
	c := dial(t, d, "conn")
	got := make(chan string, 100)
	for _, pattern := range []string{"a.b", "a.*", "*.b", "a.>", ">", "*.*.c", "a.*.>"} {
		subscribe(t, c, pattern, func(transport.Msg) { got <- pattern })
	}
	for _, tc := range []struct {
		subject string
		want    []string
	}{
		{"a.b", []string{"a.b", "a.*", "*.b", "a.>", ">"}},
		{"a", []string{">"}},
		{"x.b", []string{"*.b", ">"}},
		{"a.b.c", []string{"a.>", ">", "*.*.c", "a.*.>"}},
		{"a.b.c.d", []string{"a.>", ">", "a.*.>"}},
	} {
		publish(t, c, transport.Msg{Subject: tc.subject})
		seen := map[string]bool{}
		for range tc.want {
			seen[await(t, got, "a delivery of "+tc.subject)] = true
		}
		for _, w := range tc.want {
			if !seen[w] {
				t.Errorf("%s: got %v, want %v", tc.subject, seen, tc.want)
			}
		}
	}
	flush(t, c)
	if len(got) > 0 {
		t.Errorf("got %d deliveries too many, want none", len(got))
	}
}

func badSubjects(t *testing.T, d Dial) {
	c := dial(t, d, "conn")
	for _, s := range []string{"", ".", "a.", ".a", "a..b", "a b", "a\r\nPUB b", "a.*", "a.>"} {
		if err := c.Publish(transport.Msg{Subject: s}); !errors.Is(err, transport.ErrBadSubject) {
			t.Errorf("publish to %q: got %v, want %v", s, err, transport.ErrBadSubject)
		}
		if _, err := c.Request(wait(t), transport.Msg{Subject: s}); !errors.Is(err, transport.ErrBadSubject) {
			t.Errorf("request to %q: got %v, want %v", s, err, transport.ErrBadSubject)
		}
	}
	for _, s := range []string{"", ".", "a.", "a b", ">.a"} {
		if _, err := c.Subscribe(s, func(transport.Msg) {}); !errors.Is(err, transport.ErrBadSubject) {
			t.Errorf("subscribe to %q: got %v, want %v", s, err, transport.ErrBadSubject)
		}
	}
}

func headers(t *testing.T, d Dial) {
	c := dial(t, d, "conn")
	got := make(chan transport.Msg, 1)
	subscribe(t, c, "headers", func(m transport.Msg) { got <- m })
	publish(t, c, transport.Msg{Subject: "headers", Reply: "back", Header: transport.Header{"traceparent": {"x"}, "Two": {"1", "2"}}, Data: []byte("d")})
	m := await(t, got, "the message")
	if m.Header.Get("Traceparent") != "x" || len(m.Header["Two"]) != 2 || m.Reply != "back" || string(m.Data) != "d" {
		t.Errorf("got %+v, want the headers, reply and data that were sent", m)
	}
}

func senderKeepsItsBytes(t *testing.T, d Dial) {
	c := dial(t, d, "conn")
	got := make(chan []byte, 2)
	subscribe(t, c, "bytes", func(m transport.Msg) { got <- m.Data })
	data := []byte("first")
	publish(t, c, transport.Msg{Subject: "bytes", Data: data})
	copy(data, "again")
	publish(t, c, transport.Msg{Subject: "bytes", Data: data})
	for _, want := range []string{"first", "again"} {
		if b := await(t, got, want); string(b) != want {
			t.Errorf("got %q, want %q", b, want)
		}
	}
}

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

func closeWhileBusy(t *testing.T, d Dial) {
	server := dial(t, d, "server")
	subscribe(t, server, "echo", echo(server))
	client := d("client")
	got := make(chan struct{}, 1)
	subscribe(t, client, "noise", func(transport.Msg) {
		select {
		case got <- struct{}{}:
		default:
		}
	})
	ctx := wait(t)
	var busy sync.WaitGroup
	for range 4 {
		busy.Go(func() {
			for client.Publish(transport.Msg{Subject: "noise"}) == nil {
			}
		})
		busy.Go(func() {
			for {
				if _, err := client.Request(ctx, transport.Msg{Subject: "echo"}); err != nil {
					if !errors.Is(err, transport.ErrClosed) && !errors.Is(err, transport.ErrDisconnected) {
						t.Errorf("request: got %v, want %v or %v", err, transport.ErrClosed, transport.ErrDisconnected)
					}
					return
				}
			}
		})
	}
	await(t, got, "noise")
	if err := client.Close(ctx); err != nil {
		t.Errorf("close: got %v, want nil", err)
	}
	busy.Wait()
}

func closeFailsRequests(t *testing.T, d Dial) {
	server, client := dial(t, d, "server"), dial(t, d, "client")
	arrived := make(chan struct{}, 1)
	subscribe(t, server, "never", func(transport.Msg) { arrived <- struct{}{} })
	ctx := wait(t)
	failed := make(chan error, 1)
	go func() {
		_, err := client.Request(ctx, transport.Msg{Subject: "never"})
		failed <- err
	}()
	await(t, arrived, "the request")
	if err := client.Close(ctx); err != nil {
		t.Errorf("close: got %v, want nil", err)
	}
	if err := await(t, failed, "the request's end"); !errors.Is(err, transport.ErrDisconnected) {
		t.Errorf("got %v, want %v", err, transport.ErrDisconnected)
	}
}

func afterClose(t *testing.T, d Dial) {
	c := d("conn")
	s := subscribe(t, c, "x", func(transport.Msg) {})
	for range 2 {
		if err := c.Close(wait(t)); err != nil {
			t.Errorf("close: got %v, want nil", err)
		}
	}
	_, reqErr := c.Request(wait(t), transport.Msg{Subject: "x"})
	_, subErr := c.Subscribe("x", func(transport.Msg) {})
	for what, err := range map[string]error{
		"publish":   c.Publish(transport.Msg{Subject: "x"}),
		"request":   reqErr,
		"subscribe": subErr,
		"flush":     c.Flush(wait(t)),
	} {
		if !errors.Is(err, transport.ErrClosed) {
			t.Errorf("%s: got %v, want %v", what, err, transport.ErrClosed)
		}
	}
	if err := s.Drain(wait(t)); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("drain: got %v, want %v", err, transport.ErrClosed)
	}
}

func tooLarge(t *testing.T, d Dial) {
	c := dial(t, d, "conn")
	got := make(chan int, 1)
	subscribe(t, c, "large", func(m transport.Msg) { got <- len(m.Data) })
	if err := c.Publish(transport.Msg{Subject: "large", Data: make([]byte, transport.DefaultMaxPayload+1)}); !errors.Is(err, transport.ErrTooLarge) {
		t.Errorf("publish: got %v, want %v", err, transport.ErrTooLarge)
	}
	if _, err := c.Request(wait(t), transport.Msg{Subject: "large", Data: make([]byte, transport.DefaultMaxPayload+1)}); !errors.Is(err, transport.ErrTooLarge) {
		t.Errorf("request: got %v, want %v", err, transport.ErrTooLarge)
	}
	publish(t, c, transport.Msg{Subject: "large", Data: make([]byte, transport.DefaultMaxPayload)})
	if n := await(t, got, "the largest message"); n != transport.DefaultMaxPayload {
		t.Errorf("got %d bytes, want %d", n, transport.DefaultMaxPayload)
	}
}

// bundles: what may travel together arrives as it would alone, in order with
// what is too large to.
func bundles(t *testing.T, d Dial) {
	const each = 5000
	sender, receiver := dial(t, d, "sender"), dial(t, d, "receiver")
	got := make(chan transport.Msg, each)
	subscribe(t, receiver, "to.one.>", func(m transport.Msg) { got <- m })
	for n := range each {
		data := number(n)
		if n%500 == 0 {
			data = append(data, make([]byte, 20<<10)...)
		}
		publish(t, sender, transport.Msg{Subject: fmt.Sprintf("to.one.s%d", n%3), Bundle: "to.one.", Data: data})
		clear(data)
	}
	for n := range each {
		m := await(t, got, "a message")
		if at := int(binary.BigEndian.Uint64(m.Data)); at != n || m.Subject != fmt.Sprintf("to.one.s%d", n%3) {
			t.Fatalf("got message %d on %s, want %d", at, m.Subject, n)
		}
	}
}

func bundlesOfRequests(t *testing.T, d Dial) {
	server, client := dial(t, d, "server"), dial(t, d, "client")
	subscribe(t, server, "to.one.>", func(m transport.Msg) {
		if err := server.Publish(transport.Msg{Subject: m.Reply, Bundle: m.Bundle, Data: m.Data}); err != nil {
			t.Errorf("answer: got %v, want nil", err)
		}
	})
	ctx := wait(t)
	var callers sync.WaitGroup
	for c := range 64 {
		callers.Go(func() {
			for n := range 50 {
				want := string(number(c*1000 + n))
				m, err := client.Request(ctx, transport.Msg{Subject: "to.one.s", Bundle: "to.one.", Data: []byte(want)})
				if err != nil || string(m.Data) != want {
					t.Errorf("caller %d: got %x, %v, want %x", c, m.Data, err, want)
					return
				}
			}
		})
	}
	callers.Wait()
}

// bundlesToNobody: each of many requests that nobody takes learns so at once.
func bundlesToNobody(t *testing.T, d Dial) {
	client := dial(t, d, "client")
	ctx := wait(t)
	var callers sync.WaitGroup
	for range 200 {
		callers.Go(func() {
			_, err := client.Request(ctx, transport.Msg{Subject: "to.nobody.s", Bundle: "to.nobody."})
			if !errors.Is(err, transport.ErrNoResponders) {
				t.Errorf("got %v, want %v", err, transport.ErrNoResponders)
			}
		})
	}
	callers.Wait()
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
