package transporttest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/civitas-go/civitas/transport"
)

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
