// Package transporttest holds what every transport.Conn promises, as tests
// that an implementation runs against itself:
//
//	func TestHub(t *testing.T) {
//		network := func(*testing.T) transporttest.Dial { return transport.NewHub().Dial }
//		t.Run("Conn", func(t *testing.T) { transporttest.TestConn(t, network) })
//		t.Run("Serve", func(t *testing.T) { transporttest.TestServe(t, network) })
//	}
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
		{"PeerEnds", peerEnds},
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
