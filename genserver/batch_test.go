package genserver_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

// batchTest, for a bubble, has a server handle the tenth of a hundred casts, which it took out of
// its mailbox at once, and a call behind them.
type batchTest struct {
	s       *genserver.System
	p       *genserver.Process
	handled []int                                      // touched by the server, and once it's done
	tenth   func(*genserver.Context) error             // what it does
	release func()                                     // lets it
	behind  <-chan error                               // the call's
	note    func(n int) func(*genserver.Context) error // says that it's handled
}

const batchCasts = 100

func newBatchTest(t *testing.T, typ *genserver.TypeOf[hooks]) *batchTest {
	t.Helper()
	b := &batchTest{s: newSystem(t, genserver.Config{})}
	b.note = func(n int) func(*genserver.Context) error {
		return func(*genserver.Context) error { b.handled = append(b.handled, n); return nil }
	}
	b.p = start(t, b.s, "p", typ.With(hooks{}))
	releaseFirst := hold(t, b.s, "p")
	entered, leave := make(chan struct{}), make(chan struct{})
	b.release = sync.OnceFunc(func() { close(leave) })
	t.Cleanup(b.release)
	for n := 1; n <= batchCasts; n++ {
		fn := b.note(n)
		if n == 10 {
			fn = func(c *genserver.Context) error {
				b.handled = append(b.handled, n)
				close(entered)
				<-leave
				if b.tenth == nil {
					return nil
				}
				return b.tenth(c)
			}
		}
		noErr(t, "cast", b.s.Ref("p").Cast(t.Context(), Tell{Fn: fn}, genserver.Strict()))
	}
	b.behind = callAsync(t.Context(), b.s.Ref("p"), Do{})
	synctest.Wait()
	releaseFirst()
	wait(t, "the tenth", entered)
	return b
}

func (b *batchTest) wantHandled(t *testing.T, want ...int) {
	t.Helper()
	if !slices.Equal(b.handled, want) {
		t.Errorf("got %v handled, want %v", b.handled, want)
	}
}

func upTo(n int) (all []int) {
	for i := range n {
		all = append(all, i+1)
	}
	return all
}

// What is handled in one go counts as waiting until its turn has come.
func TestABatchIsInTheMailbox(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBatchTest(t, Puppet)
		info, _ := b.s.Process("p")
		if got, want := info.Handled, uint64(11); got != want {
			t.Errorf("got %d handled, want %d", got, want)
		}
		if got, want := info.Mailbox, batchCasts-10+1; got != want {
			t.Errorf("got %d in the mailbox, want %d", got, want)
		}
		if got, want := info.InFlight, 1; got != want {
			t.Errorf("got %d calls in flight, want %d", got, want)
		}
		if got, want := info.Handling, `cast "tell"`; got != want {
			t.Errorf("got it handling %q, want %q", got, want)
		}
		room := 0
		for b.s.Ref("p").Cast(t.Context(), Tell{}, genserver.Strict()) == nil {
			room++
		}
		if got, want := room, 1000-(batchCasts-10+1); got != want {
			t.Errorf("got room for %d more, want %d", got, want)
		}
		b.release()
		noErr(t, "call", <-b.behind)
		flush(t, b.s, "p")
		b.wantHandled(t, upTo(batchCasts)...)
		info, _ = b.s.Process("p")
		if got, want := info.Handled, uint64(1+batchCasts+1+room+1); got != want {
			t.Errorf("got %d handled in the end, want %d", got, want)
		}
	})
}

// A server that ends in the midst of a batch handles no more of it, and accounts
// for it.
func TestTheEndWithinABatch(t *testing.T) {
	t.Parallel()
	stop := func(b *batchTest) { b.p.RequestStop(errNoSeat); b.release() }
	for name, tc := range map[string]struct {
		end     func(*batchTest)
		tenth   func(*genserver.Context) error
		dropped int
		behind  error // of the call behind
	}{
		"stop":     {stop, nil, batchCasts - 10, genserver.ErrExit},
		"drain":    {func(b *batchTest) { b.p.RequestStop(errNoSeat, genserver.DrainAll()); b.release() }, nil, 0, nil},
		"kill":     {func(b *batchTest) { b.p.Kill() }, nil, batchCasts - 10, genserver.ErrExit},
		"crash":    {(*batchTest).letGo, func(*genserver.Context) error { return errNoSeat }, batchCasts - 10, genserver.ErrExit},
		"panic":    {(*batchTest).letGo, func(*genserver.Context) error { panic("it burns") }, batchCasts - 10, genserver.ErrExit},
		"its stop": {(*batchTest).letGo, func(c *genserver.Context) error { c.Stop(errNoSeat); return nil }, batchCasts - 10, genserver.ErrExit},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBatchTest(t, Puppet)
				b.tenth = tc.tenth
				tc.end(b)
				if err := <-b.behind; tc.behind == nil {
					noErr(t, "call behind", err)
				} else {
					wantErr(t, "call behind", err, tc.behind, true)
				}
				wait(t, "the end", b.p.Exited())
				if got, want := b.s.Stats().Dropped, uint64(tc.dropped); got != want {
					t.Errorf("got %d dropped, want %d", got, want)
				}
				b.release()
				synctest.Wait()
				b.wantHandled(t, upTo(batchCasts-tc.dropped)...)
				wantErr(t, "late cast", b.s.Ref("p").Cast(t.Context(), Tell{}, genserver.Strict()), genserver.ErrNoProcess, true)
			})
		})
	}
}

func (b *batchTest) letGo() { b.release() }

// What goes ahead of the mailbox goes ahead of a batch.
func TestAheadOfABatch(t *testing.T) {
	t.Parallel()
	const ahead = 1000
	for name, tc := range map[string]struct {
		before func(b *batchTest) // while the tenth is handled
		tenth  func(b *batchTest, c *genserver.Context)
	}{
		"signal":           {before: func(b *batchTest) { b.p.Signal(Note{Fn: b.note(ahead)}) }},
		"continue":         {tenth: func(b *batchTest, c *genserver.Context) { c.Continue(Note{Fn: b.note(ahead)}) }},
		"signal by itself": {tenth: func(b *batchTest, c *genserver.Context) { c.Process().Signal(Note{Fn: b.note(ahead)}) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBatchTest(t, Puppet)
				if tc.before != nil {
					tc.before(b)
				} else {
					b.tenth = func(c *genserver.Context) error { tc.tenth(b, c); return nil }
				}
				b.release()
				noErr(t, "call", <-b.behind)
				b.wantHandled(t, slices.Insert(upTo(batchCasts), 10, ahead)...)
			})
		})
	}
}

// A message of a batch ends the idle timeout that the one before it has set.
func TestIdleTimeoutWithinABatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		start(t, s, "p", Puppet.With(hooks{}))
		release := hold(t, s, "p")
		idle := func(c *genserver.Context) error {
			c.IdleTimeout(time.Second, Note{Fn: func(*genserver.Context) error { t.Error("got an idle timeout, want it ended"); return nil }})
			return nil
		}
		for n := range 20 {
			fn := idle
			if n > 10 {
				fn = nil
			}
			noErr(t, "cast", s.Ref("p").Cast(t.Context(), Tell{Fn: fn}))
		}
		release()
		pass(time.Minute)
	})
}

// A context that somebody holds ends with its handler, in a batch too.
func TestContextsWithinABatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBatchTest(t, Puppet)
		var held context.Context
		b.tenth = func(c *genserver.Context) error {
			var cancel context.CancelFunc
			held, cancel = context.WithCancel(c)
			context.AfterFunc(held, cancel)
			return nil
		}
		noErr(t, "cast", b.s.Ref("p").Cast(t.Context(), Tell{Fn: func(c *genserver.Context) error {
			if held.Err() == nil || c.Err() != nil {
				t.Errorf("got errors %v and %v, want the first context ended, and the second not", held.Err(), c.Err())
			}
			return nil
		}}))
		b.release()
		noErr(t, "call", <-b.behind)
		flush(t, b.s, "p")
	})
}

// Casts and infos, by value or not, and calls keep their order among each other.
func TestOrderOfAllKinds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		start(t, s, "p", Puppet.With(hooks{}))
		var got, want []int
		release := hold(t, s, "p")
		note := func(n int) func(*genserver.Context) error {
			return func(*genserver.Context) error { got = append(got, n); return nil }
		}
		var answers []*genserver.Future[Done]
		for n := range 300 {
			want = append(want, n)
			var err error
			switch n % 7 {
			case 0, 1, 2, 3:
				err = s.Ref("p").Cast(t.Context(), Tell{Fn: note(n)})
			case 4, 5:
				err = s.Ref("p").Send(t.Context(), Note{Fn: note(n)})
			case 6:
				f := genserver.CallAsync(t.Context(), s.Ref("p"), Do{Fn: func(c *genserver.Context) (Done, error) { return Done{}, note(n)(c) }})
				answers = append(answers, f)
			}
			noErr(t, "send", err)
			if n == 150 {
				release() // and the rest comes while it handles
			}
		}
		for _, f := range answers {
			_, err := f.Await(t.Context())
			noErr(t, "call", err)
		}
		flush(t, s, "p")
		if !slices.Equal(got, want) {
			t.Errorf("got order %v", got)
		}
	})
}
