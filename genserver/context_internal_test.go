package genserver

import (
	"context"
	"errors"
	"testing"
	"time"
)

type poke struct {
	Returns[poked]
	fn func(*Context)
}
type poked struct{}

func (poke) Op() string { return "poke" }

func (s *struct0) poke(c *Context, m poke) (poked, error) { m.fn(c); return poked{}, nil }

type struct0 struct{}

var poker = Define("test.Poker", func(*Context, struct0) (*struct0, error) { return &struct0{}, nil }, HandleCall((*struct0).poke))

// contextOf runs fn in a handler and returns the Context that it had.
func contextOf(ctx context.Context, t *testing.T, r Ref, fn func(*Context)) (c *Context) {
	t.Helper()
	if _, err := Call(ctx, r, poke{fn: func(it *Context) { c = it; fn(it) }}); err != nil {
		t.Fatalf("call: got %v, want nil", err)
	}
	return c
}

func newPoker(t *testing.T) (*System, Ref) {
	t.Helper()
	s := NewSystem(Config{})
	p, err := s.Start(t.Context(), "p", poker.With(struct0{}), SpawnOptions{})
	if err != nil {
		t.Fatalf("start: got %v, want nil", err)
	}
	t.Cleanup(p.Kill)
	return s, p.Ref()
}

// A Context comes back for another message only while nobody can hold it.
func TestContextReuse(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		use    func(*Context)
		reused bool
	}{
		{"nothing", func(*Context) {}, true},
		{"its own methods", func(c *Context) {
			c.Self()
			c.From()
			c.Epoch()
			c.Deadline()
			c.System()
			c.Process()
			_ = c.String()
			c.SendAfter(time.Hour, Map{})
		}, true},
		{"Done", func(c *Context) { c.Done() }, false},
		{"Err", func(c *Context) { _ = c.Err() }, false},
		{"Value", func(c *Context) { c.Value("x") }, false},
		{"a derived context", func(c *Context) {
			_, cancel := context.WithCancel(c)
			cancel()
		}, false},
		{"a value context", func(c *Context) { sender(context.WithValue(c, struct0{}, 1)) }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, r := newPoker(t)
			before := contextOf(t.Context(), t, r, tc.use)
			after := contextOf(t.Context(), t, r, func(*Context) {})
			if got := before == after; got != tc.reused {
				t.Errorf("got the context reused = %v, want %v", got, tc.reused)
			}
		})
	}
}

// A reused Context knows nothing of the message before.
func TestReusedContextIsNew(t *testing.T) {
	t.Parallel()
	s, r := newPoker(t)
	q, err := s.Start(t.Context(), "q", poker.With(struct0{}), SpawnOptions{})
	if err != nil {
		t.Fatalf("start: got %v, want nil", err)
	}
	t.Cleanup(q.Kill)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	var first *Context
	contextOf(ctx, t, q.Ref(), func(c *Context) {
		// From another server, with a deadline.
		std, cancel := context.WithTimeout(c, time.Minute)
		defer cancel()
		first = contextOf(std, t, r, func(c *Context) {
			if _, ok := c.Deadline(); !ok || c.From().Name() != "q" {
				t.Errorf("got From %q, deadline %v, want q and a deadline", c.From(), ok)
			}
		})
	})
	second := contextOf(context.Background(), t, r, func(c *Context) {
		if _, ok := c.Deadline(); ok || c.From().Name() != "" || c.Err() != nil || context.Cause(c) != nil {
			t.Errorf("got From %q, deadline %v, %v, %v, want nothing of the message before", c.From(), ok, c.Err(), context.Cause(c))
		}
	})
	if first != second {
		t.Error("got another context, want the first one reused")
	}
}

func TestContextIsAContext(t *testing.T) {
	t.Parallel()
	_, r := newPoker(t)
	type key struct{}
	var derived, deep, timed context.Context
	var done <-chan struct{}
	c := contextOf(context.WithValue(t.Context(), key{}, "caller's"), t, r, func(c *Context) {
		var cancel context.CancelFunc
		derived, cancel = context.WithCancel(c)
		t.Cleanup(cancel)
		deep = context.WithValue(derived, key{}, "mine")
		timed, cancel = context.WithTimeout(deep, time.Hour)
		t.Cleanup(cancel)
		done = c.Done()
		if c.Err() != nil || derived.Err() != nil {
			t.Errorf("got %v, %v in the handler, want nil", c.Err(), derived.Err())
		}
		if got := c.Value(key{}); got != nil {
			t.Errorf("got the caller's value %v, want none: contexts don't travel", got)
		}
		if got := sender(timed); got != c {
			t.Errorf("got sender %v of a derived context, want the handler's", got)
		}
		if _, ok := c.Deadline(); ok {
			t.Error("got a deadline, want none")
		}
	})
	select {
	case <-done:
	default:
		t.Error("got Done open after the handler, want it closed")
	}
	for name, ctx := range map[string]context.Context{"itself": c, "derived": derived, "deep": deep, "timed": timed} {
		if !errors.Is(ctx.Err(), context.Canceled) || !errors.Is(context.Cause(ctx), errEnded) {
			t.Errorf("%s: got %v because of %v after the handler, want canceled because it has returned", name, ctx.Err(), context.Cause(ctx))
		}
	}
	// What came too late to see the end sees it at once.
	if late := contextOf(t.Context(), t, r, func(*Context) {}); late.Err() == nil {
		t.Error("got a first look after the end say nil, want canceled")
	}
}

func TestContextHasTheCallersDeadline(t *testing.T) {
	t.Parallel()
	_, r := newPoker(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	want, _ := ctx.Deadline()
	contextOf(ctx, t, r, func(c *Context) {
		if got, ok := c.Deadline(); !ok || !got.Equal(want) {
			t.Errorf("got deadline %v, %v, want the caller's %v", got, ok, want)
		}
		std, cancel := context.WithCancel(c)
		defer cancel()
		if got, ok := std.Deadline(); !ok || !got.Equal(want) {
			t.Errorf("got deadline %v, %v of a derived context, want the caller's %v", got, ok, want)
		}
	})
}

// The mailbox is a ring; it must keep its order through growing, wrapping and
// being given back.
func TestMailboxRing(t *testing.T) {
	t.Parallel()
	var box mailbox
	next, want := 0, 0
	push := func() { box.pushItem(&oneWay{hdr: header{op: string(rune(next))}}); next++ }
	pop := func() {
		var s slot
		if !box.pop(&s) || s.item().header().op != string(rune(want)) {
			t.Fatalf("got %v, want message %d", s.what, want)
		}
		want++
	}
	for round := range 300 {
		for range round%7 + 1 {
			push()
		}
		for range min(box.waiting(), round%5+1) {
			pop()
		}
	}
	for box.waiting() > 0 {
		pop()
	}
	if !box.close() || box.pop(&slot{}) || box.few.slots != nil {
		t.Errorf("got a ring of %d when empty, want none", len(box.few.slots))
	}
	for range 10 {
		push()
	}
	for i, it := range box.takeAll() {
		if got := it.header().op; got != string(rune(want+i)) {
			t.Errorf("got %q at %d of the rest, want %q", got, i, string(rune(want+i)))
		}
	}
}
