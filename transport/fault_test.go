package transport_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/transport"
)

// inbox collects what one connection is sent.
type inbox struct {
	mu  sync.Mutex
	got []string // guarded by mu
}

func (b *inbox) all() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.got)
}

func collect(t *testing.T, c transport.Conn, subject string) *inbox {
	t.Helper()
	b := &inbox{}
	if _, err := c.Subscribe(subject, func(m transport.Msg) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.got = append(b.got, string(m.Data))
	}); err != nil {
		t.Fatalf("subscribe: got %v, want nil", err)
	}
	return b
}

func tell(t *testing.T, c transport.Conn, subject, text string) {
	t.Helper()
	if err := c.Publish(transport.Msg{Subject: subject, Data: []byte(text)}); err != nil {
		t.Fatalf("publish: got %v, want nil", err)
	}
}

// faulty sends a hundred messages each from a and b to c, one each millisecond,
// and waits until nothing is under way.
func faulty(t *testing.T, f transport.Faults) (got []string, stats transport.FaultStats) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		hub := transport.NewHub()
		a, b, c := hub.Dial("a"), hub.Dial("b"), hub.Dial("c")
		defer closeConn(t, a)
		defer closeConn(t, b)
		defer closeConn(t, c)
		box := collect(t, c, "to.>")
		hub.Inject(f)
		for n := range 100 {
			tell(t, a, "to.x", fmt.Sprintf("a%02d", n))
			tell(t, b, "to.y", fmt.Sprintf("b%02d", n))
			<-time.After(time.Millisecond)
		}
		<-time.After(time.Hour)
		synctest.Wait()
		got, stats = box.all(), hub.Faults()
	})
	return got, stats
}

func of(sender string, got []string) (list []string) {
	for _, m := range got {
		if strings.HasPrefix(m, sender) {
			list = append(list, m)
		}
	}
	return list
}

func TestFaultsOff(t *testing.T) {
	got, stats := faulty(t, transport.Faults{Seed: 1})
	if len(got) != 200 || stats != (transport.FaultStats{}) {
		t.Errorf("got %d messages, %+v, want 200 and no fault", len(got), stats)
	}
}

func TestFaultDrop(t *testing.T) {
	got, stats := faulty(t, transport.Faults{Seed: 1, Drop: 0.3})
	if n := 200 - len(got); n < 30 || n > 90 || stats.Dropped != uint64(n) {
		t.Errorf("got %d lost and %+v, want about 60, all counted", n, stats)
	}
	if !slices.IsSorted(of("a", got)) {
		t.Errorf("got %v, want what is left in order", got)
	}
}

func TestFaultDuplicate(t *testing.T) {
	got, stats := faulty(t, transport.Faults{Seed: 1, Duplicate: 0.3})
	n := len(got) - 200
	if n < 30 || n > 90 || stats.Duplicated != uint64(n) || !slices.IsSorted(of("b", got)) {
		t.Errorf("got %d twice and %+v, want about 60, all counted and in order", n, stats)
	}
	if len(slices.Compact(slices.Sorted(slices.Values(got)))) != 200 {
		t.Errorf("got %v, want every message", got)
	}
}

func TestFaultDelay(t *testing.T) {
	got, stats := faulty(t, transport.Faults{Seed: 1, Delay: 10 * time.Millisecond})
	if len(got) != 200 || stats.Delayed < 190 {
		t.Errorf("got %d messages, %+v, want all 200, delayed", len(got), stats)
	}
	if !slices.IsSorted(of("a", got)) || !slices.IsSorted(of("b", got)) {
		t.Errorf("got %v, want each sender's in order", got)
	}
	ahead := 0 // of b's, though a sent first
	for n := range 100 {
		if slices.Index(got, fmt.Sprintf("b%02d", n)) < slices.Index(got, fmt.Sprintf("a%02d", n)) {
			ahead++
		}
	}
	if ahead < 20 || ahead > 80 {
		t.Errorf("got %d of 100 pairs reordered, want about half", ahead)
	}
}

func TestFaultsComeOfTheSeed(t *testing.T) {
	f := transport.Faults{Seed: 7, Drop: 0.2, Duplicate: 0.2, Delay: 5 * time.Millisecond}
	first, _ := faulty(t, f)
	second, _ := faulty(t, f)
	f.Seed = 8
	other, _ := faulty(t, f)
	for _, sender := range []string{"a", "b"} {
		if !slices.Equal(of(sender, first), of(sender, second)) {
			t.Errorf("same seed: got %v and %v, want the same", of(sender, first), of(sender, second))
		}
		if slices.Equal(of(sender, first), of(sender, other)) {
			t.Errorf("other seed: got %v twice, want something else", of(sender, first))
		}
	}
}

// TestFaultsEnd: what is under way when the faults end stays before what comes.
func TestFaultsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := transport.NewHub()
		a, b := hub.Dial("a"), hub.Dial("b")
		defer closeConn(t, a)
		defer closeConn(t, b)
		box := collect(t, b, "x")
		hub.Inject(transport.Faults{Delay: time.Second})
		tell(t, a, "x", "1")
		hub.Inject(transport.Faults{})
		tell(t, a, "x", "2")
		synctest.Wait()
		if len(box.all()) != 0 {
			t.Errorf("at once: got %v, want nothing", box.all())
		}
		<-time.After(time.Second)
		tell(t, a, "x", "3")
		synctest.Wait()
		if !slices.Equal(box.all(), []string{"1", "2", "3"}) {
			t.Errorf("got %v, want 1 2 3", box.all())
		}
	})
}

func TestCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := transport.NewHub()
		a, b, c := hub.Dial("a"), hub.Dial("b"), hub.Dial("c")
		for _, conn := range []transport.Conn{a, b, c} {
			defer closeConn(t, conn)
		}
		if _, err := b.Subscribe("ask.b", func(m transport.Msg) { _ = b.Publish(transport.Msg{Subject: m.Reply}) }); err != nil {
			t.Fatal(err)
		}
		atA, atB, atC := collect(t, a, "a"), collect(t, b, "b"), collect(t, c, "c")
		ask := func(from transport.Conn) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := from.Request(ctx, transport.Msg{Subject: "ask.b"})
			return err
		}
		check := func(when string, toA, toB, toC int, fromA, fromC error) {
			t.Helper()
			tell(t, b, "a", when)
			tell(t, a, "b", when)
			tell(t, a, "c", when)
			synctest.Wait()
			for _, n := range []struct {
				box  *inbox
				want int
			}{{atA, toA}, {atB, toB}, {atC, toC}} {
				if len(n.box.all()) != n.want {
					t.Errorf("%s: got %v, want %d of them", when, n.box.all(), n.want)
				}
			}
			if err := ask(a); !errors.Is(err, fromA) {
				t.Errorf("%s: a asks b: got %v, want %v", when, err, fromA)
			}
			if err := ask(c); !errors.Is(err, fromC) {
				t.Errorf("%s: c asks b: got %v, want %v", when, err, fromC)
			}
		}
		check("whole", 1, 1, 1, nil, nil)
		hub.Cut("a", "b")
		check("cut", 1, 1, 2, context.DeadlineExceeded, nil)
		hub.Heal("b", "a")
		check("healed", 2, 2, 3, nil, nil)
		hub.CutOneWay("b", "a")
		check("one way", 2, 3, 4, context.DeadlineExceeded, nil)
		hub.HealAll()
		check("all healed", 3, 4, 5, nil, nil)
		if got := hub.Faults().Cut; got != 5 {
			t.Errorf("got %d counted as cut, want 5", got)
		}

		// What is under way when the cut comes is lost too.
		hub.Inject(transport.Faults{Delay: time.Second})
		tell(t, a, "b", "late")
		hub.Cut("a", "b")
		<-time.After(time.Minute)
		if len(atB.all()) != 4 {
			t.Errorf("got %v, want nothing more", atB.all())
		}
	})
}

// TestFaultsSpareOneself: what a connection sends to itself always arrives.
func TestFaultsSpareOneself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := transport.NewHub()
		a := hub.Dial("a")
		defer closeConn(t, a)
		box := collect(t, a, "x")
		hub.Inject(transport.Faults{Drop: 1})
		hub.Cut("a", "a")
		tell(t, a, "x", "1")
		synctest.Wait()
		if len(box.all()) != 1 {
			t.Errorf("got %v, want the message", box.all())
		}
	})
}
