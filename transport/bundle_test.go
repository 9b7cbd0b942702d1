package transport

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// broker is where a bundler's messages go; they are taken apart at once.
type broker struct {
	mu    sync.Mutex
	sent  int
	got   []Msg
	err   error
	block chan struct{} // unless nil, each send takes one
}

func (b *broker) send(m Msg) error {
	if b.block != nil {
		<-b.block
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return b.err
	}
	b.sent++
	m.Data = bytes.Clone(m.Data)
	new(unbundler).deliver(m, func(m Msg) { b.got = append(b.got, m) })
	return nil
}

func newTestBundler(b *broker, fail func(string, error)) *bundler {
	return newBundler(b.send, fail, func() func() { return func() {} }, new(atomic.Uint64))
}

// What several senders send to several places arrives once, complete, and in
// each sender's order, bundled or not, large or small.
func TestBundlesKeepEverySendersOrder(t *testing.T) {
	var to broker
	b := newTestBundler(&to, nil)
	const senders, each = 4, 2000
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				prefix := fmt.Sprintf("n.%d.", i%2)
				m := Msg{Subject: prefix + fmt.Sprintf("s%d", i%3), Bundle: prefix, Data: fmt.Appendf(nil, "%d %d ", s, i)}
				if rand.IntN(2) == 0 {
					m.Reply = fmt.Sprintf("inbox.%d.%d", s, i)
				}
				if rand.IntN(100) == 0 {
					m.Data = append(m.Data, make([]byte, rand.IntN(2*bundleSize))...)
				}
				if err := b.add(m, rand.IntN(10) == 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.close(ErrClosed)
	<-b.done
	if got := len(to.got); got != senders*each {
		t.Fatalf("got %d messages, want %d", got, senders*each)
	}
	if to.sent == len(to.got) {
		t.Error("got no bundle")
	}
	last := map[string]int{}
	for _, m := range to.got {
		var s, i int
		if _, err := fmt.Sscan(string(m.Data[:min(len(m.Data), 20)]), &s, &i); err != nil {
			t.Fatal(err)
		}
		prefix := fmt.Sprintf("n.%d.", i%2)
		if want := prefix + fmt.Sprintf("s%d", i%3); m.Subject != want {
			t.Errorf("got subject %s, want %s", m.Subject, want)
		}
		if want := fmt.Sprintf("inbox.%d.%d", s, i); m.Reply != "" && m.Reply != want {
			t.Errorf("got reply %s, want %s", m.Reply, want)
		}
		key := fmt.Sprint(s, prefix)
		if before, ok := last[key]; ok && before >= i {
			t.Errorf("got %d after %d from sender %d to %s", i, before, s, prefix)
		}
		last[key] = i
	}
}

// A sender that is alone waits for no other goroutine.
func TestAloneNothingIsBundled(t *testing.T) {
	var to broker
	b := newTestBundler(&to, nil)
	defer func() { b.close(ErrClosed); <-b.done }()
	for i := range 3 {
		if err := b.add(Msg{Subject: "n.a", Bundle: "n."}, true); err != nil || to.sent != i+1 {
			t.Errorf("got %d sent, %v, want %d", to.sent, err, i+1)
		}
	}
}

// When a bundle can't be sent, every call in it learns why, and the rest is counted.
func TestABundlesFailureIsEveryCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := broker{err: ErrNotConnected}
		var failed []string
		b := newTestBundler(&to, func(reply string, err error) {
			if !errors.Is(err, ErrNotConnected) {
				t.Errorf("got %v, want %v", err, ErrNotConnected)
			}
			failed = append(failed, reply)
		})
		for _, reply := range []string{"", "in.1", "in.2", "", "in.3"} {
			if err := b.add(Msg{Subject: "n.a", Bundle: "n.", Reply: reply}, false); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		// How many bundles they came in is for the scheduler to say.
		got := strings.ReplaceAll(strings.Join(failed, bundleJoint), "in.", "")
		if want := "1+2+3"; got != want {
			t.Errorf("got %q failed, want %q, each once", failed, want)
		}
		if got := b.unsent.Load(); got != 2 {
			t.Errorf("got %d unsent, want 2", got)
		}
		b.close(ErrClosed)
		<-b.done
		if err := b.add(Msg{Subject: "n.a", Bundle: "n."}, false); !errors.Is(err, ErrClosed) {
			t.Errorf("after close: got %v, want %v", err, ErrClosed)
		}
	})
}

// What waits for the broker is bounded: senders wait.
func TestBundlesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := broker{block: make(chan struct{})}
		b := newTestBundler(&to, nil)
		data := make([]byte, 1000)
		const all = 1000
		var sent int
		var mu sync.Mutex
		var wg sync.WaitGroup
		wg.Go(func() {
			for range all {
				if err := b.add(Msg{Subject: "n.a", Bundle: "n.", Data: data}, false); err != nil {
					t.Error(err)
				}
				mu.Lock()
				sent++
				mu.Unlock()
			}
		})
		synctest.Wait()
		mu.Lock()
		if most := 2*bundleSize/len(data) + 2; sent > most {
			t.Errorf("got %d taken, want at most %d", sent, most)
		}
		mu.Unlock()
		close(to.block)
		wg.Wait()
		b.close(ErrClosed)
		<-b.done
		if len(to.got) != all {
			t.Errorf("got %d, want %d", len(to.got), all)
		}
	})
}

// FuzzBundle: what comes from the network is a bundle from end to end, or none.
func FuzzBundle(f *testing.F) {
	var p pack
	for i := range 3 {
		p.add(&Msg{Subject: "n.a", Bundle: "n.", Reply: strings.Repeat("in.1", i%2), Data: []byte("body")})
	}
	f.Add(p.buf, "1")
	f.Add([]byte{frameMagic, frameVersion, shapeBundle, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, "")
	f.Add([]byte{frameMagic, frameVersion, shapeBundle, 1, 'a', 1, 0}, "")
	f.Fuzz(func(t *testing.T, data []byte, tokens string) {
		if !isBundle("n."+bundleToken, data) || strings.Contains(tokens, ".") {
			return // no token has a dot in it
		}
		var again pack
		entries, n, err := unbundle(data, tokens)
		for range n {
			e, err := entries.next()
			if err != nil {
				t.Fatalf("got %v of an entry that was counted", err)
			}
			m := Msg{Subject: "n." + string(e.rest), Bundle: "n.", Data: e.data}
			if e.token != "" {
				m.Reply = "in." + e.token
			}
			again.add(&m)
		}
		if err != nil {
			if !errors.Is(err, ErrFrame) || n > 0 {
				t.Errorf("got %v and %d messages, want %v and none", err, n, ErrFrame)
			}
			return
		}
		if n > 0 {
			reply := string(again.reply[strings.LastIndexByte(string(again.reply), '.')+1:])
			if _, m, err := unbundle(again.buf, reply); err != nil || m != n {
				t.Errorf("got %d messages, %v, want the %d again", m, err, n)
			}
		}
	})
}
