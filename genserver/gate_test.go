package genserver_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/civitas-go/civitas/genserver"
)

// fakeGate is a gate that the test opens and closes.
type fakeGate struct {
	mu     sync.Mutex
	closed bool
	lost   bool
	last   int
	asked  int
	wakes  map[int]func()
}

func (g *fakeGate) Open() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked++
	return !g.closed
}

func (g *fakeGate) Await(wake func()) (cancel func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed || g.lost {
		go wake()
		return func() {}
	}
	if g.wakes == nil {
		g.wakes = map[int]func(){}
	}
	g.last++
	id := g.last
	g.wakes[id] = wake
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.wakes, id)
	}
}

func (g *fakeGate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

func (g *fakeGate) open() { g.wake(func() { g.closed = false }) }
func (g *fakeGate) lose() { g.wake(func() { g.closed, g.lost = true, true }) }

func (g *fakeGate) wake(change func()) {
	g.mu.Lock()
	change()
	wakes := g.wakes
	g.wakes = nil
	g.mu.Unlock()
	for _, wake := range wakes {
		go wake()
	}
}

func (g *fakeGate) waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.wakes)
}

// gated is a System whose cluster-wide names all have one gate.
func gated(t testing.TB, more ...func(*fakeRouter)) (*genserver.System, *fakeGate, *fakeClaim) {
	t.Helper()
	gate := &fakeGate{}
	claim := &fakeClaim{epoch: 7, gate: gate}
	router := &fakeRouter{claim: func(context.Context, string) (genserver.Claim, error) { return claim, nil }}
	for _, m := range more {
		m(router)
	}
	return newSystem(t, genserver.Config{Node: "n1", Router: router}), gate, claim
}

// onGated runs a test on a server with a goroutine and on one whose callers run
// the handler, in virtual time.
func onGated(t *testing.T, test func(t *testing.T, typ *genserver.TypeOf[hooks])) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) { test(t, typ) })
	})
}

// A closed gate pauses a server: everything waits, in order, and goes on with
// the state there was.
func TestGatePausesAServer(t *testing.T) {
	onGated(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
		s, gate, _ := gated(t)
		p := startCluster(t, s, "p", typ.With(hooks{}))
		var got []string
		note := func(what string) func(*genserver.Context) error {
			return func(*genserver.Context) error {
				if !gate.Open() {
					t.Errorf("%s: got handled while the gate is closed", what)
				}
				got = append(got, what)
				return nil
			}
		}
		inside(t, s, "p", func(c *genserver.Context) { c.SendAfter(time.Second, Note{Fn: note("timer")}) })
		gate.close()
		ctx := t.Context()
		noErr(t, "cast", s.Ref("p").Cast(ctx, Tell{Fn: note("cast 1")}, genserver.Strict()))
		called := callAsync(ctx, s.Ref("p"), Do{Fn: func(c *genserver.Context) (Done, error) { return Done{}, note("call")(c) }}, genserver.WithTimeout(time.Hour))
		synctest.Wait()
		_, err := genserver.Call(ctx, s.Ref("p"), Do{}, genserver.WithTimeout(3*time.Second))
		wantErr(t, "a call that can't wait", err, genserver.ErrTimeout, true)
		noErr(t, "cast", s.Ref("p").Cast(ctx, Tell{Fn: note("cast 2")}))
		pass(time.Minute)
		if len(got) != 0 || p.Reason() != nil {
			t.Errorf("got %v handled and the end %v while the gate was closed, want a pause", got, p.Reason())
		}
		gate.open()
		noErr(t, "the call that waited", <-called)
		synctest.Wait()
		if want := []string{"cast 1", "call", "timer", "cast 2"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		flush(t, s, "p")
		if gate.waiting() != 0 {
			t.Errorf("got %d waits for the gate, want none", gate.waiting())
		}
	})
}

// The gate is asked, which is a reading of the clock, once before each handler and
// once before each answer or send, and of a node-local server never.
func TestGateIsAskedOnce(t *testing.T) {
	onGated(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
		s, gate, _ := gated(t)
		startCluster(t, s, "p", typ.With(hooks{}))
		start(t, s, "local", typ.With(hooks{}))
		say := func(c *genserver.Context) error { return c.Ref("p").Cast(c, Tell{}) }
		for _, c := range []struct {
			what string
			do   func(t *testing.T)
			want int
		}{
			{"a call", func(t *testing.T) { flush(t, s, "p") }, 2},
			{"a cast", func(t *testing.T) { noErr(t, "cast", s.Ref("p").Cast(t.Context(), Tell{})) }, 1},
			{"an info", func(t *testing.T) { noErr(t, "send", s.Ref("p").Send(t.Context(), Note{})) }, 1},
			{"a cast whose handler casts to it", func(t *testing.T) { noErr(t, "cast", s.Ref("p").Cast(t.Context(), Tell{Fn: say})) }, 3},
			{"a call of a node-local one", func(t *testing.T) { flush(t, s, "local") }, 0},
		} {
			synctest.Wait()
			before := gate.asked
			c.do(t)
			synctest.Wait()
			if got := gate.asked - before; got != c.want {
				t.Errorf("%s: the gate was asked %d times, want %d", c.what, got, c.want)
			}
		}
	})
}

// What a handler would answer after its gate has closed is withheld, whichever
// way the call came.
func TestGateWithholdsAnswers(t *testing.T) {
	onGated(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
		s, gate, _ := gated(t)
		startCluster(t, s, "p", typ.With(hooks{}))
		far := gater{make(chan genserver.Reply[Done], 1), gate.close}
		startCluster(t, s, "far", Gater.With(far))
		ran := 0
		closing := Do{Fn: func(*genserver.Context) (Done, error) { ran++; gate.close(); return Done{9}, nil }}
		want := func(what string, err error) {
			t.Helper()
			wantErr(t, what, err, genserver.ErrUnavailable, false)
			gate.open()
		}
		rep, err := genserver.Call(t.Context(), s.Ref("p"), closing)
		if rep.N != 0 {
			t.Errorf("got the reply %v, want none", rep)
		}
		want("call", err)
		_, err = genserver.CallAsync(t.Context(), s.Ref("p"), closing).Await(t.Context())
		want("asynchronous call", err)
		_, err = genserver.Call(t.Context(), s.Ref("p"), Do{Fn: func(*genserver.Context) (Done, error) { gate.close(); return Done{}, errNoSeat }})
		want("an error is an answer too", err)
		if ran != 2 {
			t.Errorf("got %d handlers run, want 2", ran)
		}

		put := genserver.CallAsync(t.Context(), s.Ref("far"), Later{})
		reply := <-far.replies
		gate.close()
		reply.Send(Done{9})
		_, err = put.Await(t.Context())
		want("an answer that was put off", err)

		a := newAnswer()
		in := inbound("far")
		in.Op, in.Reply = "close", a
		s.Deliver(in)
		_, err, _ = a.once()
		want("a call of another node's", err)
	})
}

// gater closes its gate when it is called with a Map, and hands out the Replies of
// Laters.
type gater struct {
	replies chan genserver.Reply[Done]
	close   func()
}

var Gater = genserver.Define("test.Gater", func(_ *genserver.Context, g gater) (*gater, error) { return &g, nil },
	genserver.HandleCallLater(func(g *gater, _ *genserver.Context, _ Later, r genserver.Reply[Done]) error {
		g.replies <- r
		return nil
	}),
	genserver.HandleCall(func(g *gater, _ *genserver.Context, _ genserver.Map) (genserver.Map, error) {
		g.close()
		return genserver.Map{"n": 9}, nil
	}))

// inbound is a call from another node, without its Replier.
func inbound(to string) *genserver.Incoming {
	return &genserver.Incoming{
		Envelope: &genserver.Envelope{To: to, Kind: genserver.KindCall, Op: "do", From: "x", FromNode: "n2"},
		Body:     jsonBody(`{}`),
	}
}

// A handler during which the gate closes sends nothing any more, nor do those
// it has left behind; timers it sets are kept, and wait.
func TestGateRefusesSends(t *testing.T) {
	onGated(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
		s, gate, _ := gated(t)
		startCluster(t, s, "p", typ.With(hooks{}))
		start(t, s, "other", Puppet.With(hooks{}))
		ticked := 0
		var detached context.Context
		try := func(what string, ctx context.Context) {
			_, err := genserver.Call(ctx, s.Ref("other"), Do{})
			wantErr(t, what+" call", err, genserver.ErrUnavailable, true)
			wantErr(t, what+" cast", s.Ref("other").Cast(ctx, Tell{}), genserver.ErrUnavailable, true)
			wantErr(t, what+" send", s.Ref("other").Send(ctx, Note{}), genserver.ErrUnavailable, true)
			_, err = genserver.CallAsync(ctx, s.Ref("other"), Do{}).Await(context.Background())
			wantErr(t, what+" asynchronous call", err, genserver.ErrUnavailable, true)
		}
		_, err := genserver.Call(t.Context(), s.Ref("p"), Do{Fn: func(c *genserver.Context) (Done, error) {
			detached = c.Detach()
			noErr(t, "a cast before", s.Ref("other").Cast(c, Tell{}))
			gate.close()
			try("handler's", c)
			c.SendAfter(time.Second, Note{Fn: func(*genserver.Context) error { ticked++; return nil }})
			return Done{}, nil
		}})
		wantErr(t, "the call", err, genserver.ErrUnavailable, false)
		try("detached", detached)
		pass(time.Minute)
		if ticked != 0 {
			t.Error("got a timer's message handled while the gate was closed")
		}
		gate.open()
		synctest.Wait()
		if ticked != 1 {
			t.Errorf("got %d ticks once the gate was open, want 1", ticked)
		}
		noErr(t, "detached cast with an open gate", s.Ref("other").Cast(detached, Tell{}))
	})
}

// A server that waits for its gate can be stopped and killed; it starts no
// handler for it, terminate included.
func TestGateAndTheEnd(t *testing.T) {
	for name, end := range map[string]func(*genserver.Process){
		"stop": func(p *genserver.Process) { p.RequestStop(genserver.Shutdown) },
		"kill": (*genserver.Process).Kill,
	} {
		for _, busy := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, messages=%v", name, busy), func(t *testing.T) {
				onGated(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
					s, gate, _ := gated(t)
					p := startCluster(t, s, "p", typ.With(hooks{terminate: func(*genserver.Context, error) {
						t.Error("got terminate while the gate was closed")
					}}))
					gate.close()
					var called []<-chan error
					if busy {
						for range 3 {
							called = append(called, callAsync(t.Context(), s.Ref("p"), Do{}, genserver.WithTimeout(time.Hour)))
						}
						synctest.Wait()
					}
					end(p)
					<-p.Exited()
					for _, c := range called {
						wantErr(t, "queued call", <-c, genserver.ErrExit, true)
					}
					if gate.waiting() != 0 {
						t.Errorf("got %d waits for the gate after the end, want none", gate.waiting())
					}
				})
			})
		}
	}
}

// A restart's init waits for the gate, and gives up when it's stopped.
func TestGateAndInit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, gate, _ := gated(t)
		startCluster(t, s, "p", Puppet.With(hooks{})).Kill()
		gate.close()
		inits := 0
		run := Puppet.With(hooks{init: func(*genserver.Context) error { inits++; return nil }})
		w := newWatcher()
		p, err := s.Spawn("p", run, genserver.SpawnOptions{Scope: genserver.Cluster, Watcher: w})
		noErr(t, "spawn", err)
		pass(time.Minute)
		p.RequestStop(genserver.Shutdown)
		if reason := <-w.exited; !errors.Is(reason, genserver.Shutdown) || inits != 0 {
			t.Errorf("got the end %v after %d inits, want a shutdown and none", reason, inits)
		}
		p, err = s.Spawn("p", run, genserver.SpawnOptions{Scope: genserver.Cluster, Watcher: w})
		noErr(t, "spawn", err)
		pass(time.Minute)
		gate.open()
		flush(t, s, "p")
		if inits != 1 || p.Reason() != nil {
			t.Errorf("got %d inits and the end %v, want 1 and none", inits, p.Reason())
		}
	})
}

// However the gate opens and closes, messages are handled once and in order,
// none of them while it's closed.
func TestGateProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.SampledFrom([]string{"cast", "call", "timer", "open", "close", "wait"}), 1, 40).Draw(rt, "steps")
		fast := rapid.Bool().Draw(rt, "inline")
		synctest.Test(t, func(t *testing.T) {
			s, gate, _ := gated(t)
			typ := Puppet
			if fast {
				typ = FastPuppet
			}
			startCluster(t, s, "p", typ.With(hooks{}))
			var handled []int
			sent := 0
			var calls []<-chan error
			for _, step := range steps {
				n := sent
				note := func(*genserver.Context) error {
					if !gate.Open() {
						rt.Errorf("message %d was handled while the gate was closed", n)
					}
					handled = append(handled, n)
					return nil
				}
				switch step {
				case "cast":
					sent++
					noErr(t, "cast", s.Ref("p").Cast(context.Background(), Tell{Fn: note}))
				case "call":
					sent++
					calls = append(calls, callAsync(context.Background(), s.Ref("p"), Do{Fn: func(c *genserver.Context) (Done, error) { return Done{}, note(c) }}, genserver.WithTimeout(0)))
					synctest.Wait()
				case "open":
					gate.open()
				case "close":
					gate.close()
				case "wait":
					pass(time.Second)
				}
			}
			synctest.Wait()
			gate.open()
			for _, c := range calls {
				noErr(t, "call", <-c)
			}
			pass(time.Second) // a gate that had closed again when the server looked is looked at later
			synctest.Wait()
			if len(handled) != sent || !slices.IsSorted(handled) {
				rt.Errorf("got %v handled, want 0 to %d in order", handled, sent-1)
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			noErr(t, "stop", s.Stop(ctx))
		})
	})
}
