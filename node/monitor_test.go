package node_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/supervisor"
	"github.com/civitas-go/civitas/transport"
)

// Within has an observer do something in its turn.
type Within struct {
	genserver.Returns[Value]
	Fn func(*genserver.Context) `json:"-"`
}

// Hint is an info.
type Hint struct {
	genserver.Signal
	X int `json:"x"`
}

func (Within) Op() string { return "within" }
func (Hint) Op() string   { return "hint" }

// observer keeps what it is told, in order.
type observer struct{ seen chan any }

var Observer = genserver.Define("test.Observer", func(_ *genserver.Context, seen chan any) (*observer, error) { return &observer{seen}, nil },
	genserver.HandleCall(func(_ *observer, ctx *genserver.Context, m Within) (Value, error) {
		m.Fn(ctx)
		return Value{}, nil
	}),
	genserver.HandleCast(func(o *observer, _ *genserver.Context, m Put) error { o.seen <- m; return nil }),
	genserver.HandleInfo(func(o *observer, _ *genserver.Context, m Hint) error { o.seen <- m; return nil }),
	genserver.HandleInfo(func(o *observer, _ *genserver.Context, d genserver.Down) error { o.seen <- d; return nil }))

func observing(name string) (supervisor.Child, chan any) {
	seen := make(chan any, 1000)
	return supervisor.Child{Name: name, Run: Observer.With(seen)}, seen
}

// within runs fn in an observer's turn.
func within(t testing.TB, to genserver.Ref, fn func(*genserver.Context)) {
	t.Helper()
	_, err := genserver.Call(context.Background(), to, Within{Fn: fn})
	noErr(t, "within "+to.String(), err)
}

func watch(t testing.TB, by, to genserver.Ref) (m *genserver.Monitor) {
	t.Helper()
	within(t, by, func(ctx *genserver.Context) {
		ref := ctx.Ref(to.Name())
		if to.Node() != "" {
			ref = ref.On(to.Node())
		}
		var err error
		m, err = ctx.Monitor(ref)
		noErr(t, "monitor "+to.String(), err)
	})
	return m
}

// down is the next that an observer has seen, which must be a Down.
func down(t testing.TB, what string, seen <-chan any) genserver.Down {
	t.Helper()
	d, ok := receive(t, what, seen).(genserver.Down)
	if !ok {
		t.Fatalf("%s: got something else, want a Down", what)
	}
	return d
}

func none(t testing.TB, what string, seen <-chan any) {
	t.Helper()
	if len(seen) > 0 {
		t.Errorf("%s: got %+v as well, want nothing more", what, <-seen)
	}
}

// An end on another node is told once, with its reason and generation, after
// what the server had sent; whether it was monitored by the cluster-wide name or by
// the node.
func TestMonitorOverNodes(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		child, seen := observing("o")
		n1 := start(t, config("n1", nats, child))
		ends := map[string]struct {
			end  func(*node.Node, *genserver.Process)
			want error
		}{
			"stop":  {func(_ *node.Node, p *genserver.Process) { _ = p.Stop(soon(t), nil) }, genserver.Normal},
			"kill":  {func(_ *node.Node, p *genserver.Process) { p.Kill() }, genserver.Killed},
			"panic": {func(n *node.Node, _ *genserver.Process) { _ = n.Ref("box").Cast(context.Background(), Put{X: -1}) }, genserver.ErrPanic},
			"node":  {func(n *node.Node, _ *genserver.Process) { stop(t, n) }, genserver.Shutdown},
		}
		for _, name := range []string{"stop", "kill", "panic", "node"} {
			var p *genserver.Process
			box := public("box", born(&p, hooks{handled: func(x int) {
				if x < 0 {
					panic("out of seats")
				}
			}}))
			box.Restart = supervisor.Temporary
			n2 := start(t, config("n2", nats, box))
			byName, byNode := watch(t, n1.Ref("o"), n1.Ref("box")), watch(t, n1.Ref("o"), n1.Ref("box").On("n2"))
			cancelled := watch(t, n1.Ref("o"), n1.Ref("box"))
			settled(t, n1, n2, "box")
			if !cancelled.Cancel() || cancelled.Cancel() {
				t.Errorf("%s: got the first Cancel false or the second one true", name)
			}
			_, err := genserver.Call(t.Context(), n2.Ref("box"), Pass{To: "o", ToNode: "n1", X: 5})
			wantErr(t, "pass, whose question an observer can't answer", err, genserver.ErrHandler, false)
			ends[name].end(n2, p)
			got := receive(t, "the cast before the end", seen)
			if put, ok := got.(Put); !ok || put.X != 5 {
				t.Errorf("%s: got %#v before the end's notice, want the cast", name, got)
			}
			told := map[*genserver.Monitor]bool{}
			for range 2 {
				d := down(t, name, seen)
				told[d.Monitor] = true
				if d.Server != "box" || d.Node != "n2" || d.Generation != p.Generation() || !errors.Is(d.Reason, ends[name].want) {
					t.Errorf("%s: got %+v, want the end of n2's box with %v", name, d, ends[name].want)
				}
			}
			if !told[byName] || !told[byNode] {
				t.Errorf("%s: got downs of %v, want one of each monitor", name, told)
			}
			stop(t, n2)
		}
		none(t, "in the end", seen)
	})
}

// born has a box's process noted when it starts.
func born(p **genserver.Process, h hooks) hooks {
	h.init = func(ctx *genserver.Context) error { *p = ctx.Process(); return nil }
	return h
}

// settled waits until n2 knows of all monitors that n1 has asked for by now: what
// they ask for goes the same way as a call, after it.
func settled(t testing.TB, n1, n2 *node.Node, name string) {
	t.Helper()
	until := time.Now().Add(20 * time.Second)
	for node.Asking(n1) > 0 {
		if time.Now().After(until) {
			t.Fatalf("got monitors that n2 has not answered for in 20s")
		}
		get(t, n1.Ref(name).On(n2.Name()))
	}
}

// Where there is nobody to monitor, that is told at once.
func TestMonitorOfNobodyElsewhere(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		child, seen := observing("o")
		n1 := start(t, config("n1", nats, child))
		start(t, config("n2", nats))
		began := time.Now()
		for _, ref := range []genserver.Ref{n1.Ref("nobody"), n1.Ref("nobody").On("n2"), n1.Ref("nobody").On("n9")} {
			watch(t, n1.Ref("o"), ref)
			if d := down(t, ref.String(), seen); d.Server != "nobody" || d.Generation != 0 || !errors.Is(d.Reason, genserver.ErrNoProcess) {
				t.Errorf("%s: got %+v, want no process", ref, d)
			}
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("got word of nobody after %v, want it at once", took)
		}
		none(t, "in the end", seen)
	})
}

// A node that dies without a word is known by its session's silence; what it
// tells when it is heard of again is not told twice.
func TestMonitorAndNodeLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		child, seen := observing("o")
		n1 := start(t, config("n1", m, child))
		cut := &storeCut{Connector: m}
		var p *genserver.Process
		n2 := start(t, config("n2", cut, public("box", born(&p, hooks{}))))
		generation := p.Generation()
		watch(t, n1.Ref("o"), n1.Ref("box"))
		settled(t, n1, n2, "box")
		cut.cut.Store(true)
		m.Hub().Cut("n1", "n2")
		began := time.Now()
		d := down(t, "node loss", seen)
		if !errors.Is(d.Reason, genserver.ErrNodeDown) || d.Generation != generation || d.Node != "n2" {
			t.Errorf("got %+v, want the loss of n2", d)
		}
		if took := time.Since(began); took < 10*time.Second || took > 20*time.Second {
			t.Errorf("got the loss after %v, want some 15s", took)
		}
		cut.cut.Store(false)
		m.Hub().HealAll()
		<-n2.Done()
		stop(t, n2)
		none(t, "in the end", seen)
		if node.Watched(n1)+node.Asking(n1) > 0 {
			t.Error("got monitors left, want none")
		}
	})
}

// A connection that is lost and made again loses no Down, and brings no second
// one; nor does it matter when the monitor was set.
func TestMonitorThroughACut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		child, seen := observing("o")
		n1 := start(t, config("n1", m, child))
		var box, late *genserver.Process
		n2 := start(t, config("n2", m, public("box", born(&box, hooks{})), local("late", born(&late, hooks{}))))
		before := watch(t, n1.Ref("o"), n1.Ref("box"))
		settled(t, n1, n2, "box")
		m.Hub().Cut("n1", "n2")
		during := watch(t, n1.Ref("o"), n1.Ref("late").On("n2"))
		<-time.After(3 * time.Second)
		box.Kill()
		<-time.After(time.Minute)
		none(t, "during the cut", seen)
		m.Hub().HealAll()
		if d := down(t, "after the cut", seen); d.Monitor != before || !errors.Is(d.Reason, genserver.Killed) {
			t.Errorf("got %+v, want the end during the cut", d)
		}
		settled(t, n1, n2, "late")
		late.Kill()
		if d := down(t, "later", seen); d.Monitor != during || !errors.Is(d.Reason, genserver.Killed) {
			t.Errorf("got %+v, want the end of the one that was monitored during the cut", d)
		}
		<-time.After(time.Minute)
		none(t, "in the end", seen)
		if node.Watched(n2) > 0 {
			t.Errorf("got %d watches left on n2, want none", node.Watched(n2))
		}
	})
}

// What lossy links lose and bring twice makes no difference either.
func TestMonitorOverLossyLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		child, seen := observing("o")
		n1 := start(t, config("n1", m, child))
		const servers = 50
		var children []supervisor.Child
		processes := make([]*genserver.Process, servers)
		for i := range servers {
			c := local(fmt.Sprint("box", i), born(&processes[i], hooks{}))
			c.Restart = supervisor.Temporary
			children = append(children, c)
		}
		n2 := start(t, config("n2", m, children...))
		m.Hub().Inject(transport.Faults{Seed: 7, Drop: 0.3, Duplicate: 0.3, Delay: 50 * time.Millisecond})
		for i := range servers {
			watch(t, n1.Ref("o"), n1.Ref(fmt.Sprint("box", i)).On("n2"))
		}
		for node.Asking(n1) > 0 {
			<-time.After(time.Second)
		}
		for _, p := range processes {
			p.Kill()
		}
		told := map[string]int{}
		for range servers {
			d := down(t, "lossy", seen)
			told[d.Server]++
			if !errors.Is(d.Reason, genserver.Killed) {
				t.Errorf("got %+v, want killed", d)
			}
		}
		<-time.After(time.Minute)
		none(t, "in the end", seen)
		if len(told) != servers || node.Watched(n2) > 0 {
			t.Errorf("got word of %d servers and %d watches left, want %d and none", len(told), node.Watched(n2), servers)
		}
	})
}

// The monitored node forgets what a node that has left had asked for, and what is
// taken back.
func TestWatchesAreForgotten(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		n2 := start(t, config("n2", nats, public("box", hooks{})))
		for _, leave := range []bool{false, true} {
			child, _ := observing("o")
			n1 := start(t, config("n1", nats, child))
			var all []*genserver.Monitor
			for range 10 {
				all = append(all, watch(t, n1.Ref("o"), n1.Ref("box")))
			}
			settled(t, n1, n2, "box")
			if got := node.Watched(n2); got != 10 {
				t.Errorf("got %d watches, want 10", got)
			}
			if leave {
				stop(t, n1)
			} else {
				for _, m := range all {
					m.Cancel()
				}
			}
			until := time.Now().Add(20 * time.Second)
			for node.Watched(n2) > 0 && time.Now().Before(until) {
				get(t, n2.Ref("box"))
				<-time.After(10 * time.Millisecond)
			}
			if got := node.Watched(n2); got != 0 {
				t.Errorf("leave=%v: got %d watches left, want none", leave, got)
			}
			stop(t, n1)
		}
	})
}

// A node of an older release, which knows no monitors, says so, and so does the Down.
func TestMonitorOfAnOlderNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		link, err := m.Connect(t.Context(), node.LinkOptions{Node: "old"})
		noErr(t, "connect", err)
		registry, err := cluster.Join(t.Context(), link.Store, cluster.NodeInfo{Node: "old"})
		noErr(t, "join", err)
		subjects, err := transport.NewSubjects("dev")
		noErr(t, "subjects", err)
		sys := genserver.NewSystem(genserver.Config{Node: "old", Codec: transport.MsgPack, Logger: quiet})
		_, err = sys.Start(t.Context(), "box", Box.With(hooks{}), genserver.SpawnOptions{})
		noErr(t, "start", err)
		svc, err := transport.ServeNode(link.Conn, subjects, registry.Incarnation(), quiet, func(in *genserver.Incoming, _ uint64, _ transport.Origin) { sys.Deliver(in) })
		noErr(t, "serve", err)

		child, seen := observing("o")
		n1 := start(t, config("n1", m, child))
		get(t, n1.Ref("box").On("old"))
		watch(t, n1.Ref("o"), n1.Ref("box").On("old"))
		if d := down(t, "older node", seen); !errors.Is(d.Reason, genserver.ErrUnavailable) {
			t.Errorf("got %+v, want unavailable", d)
		}
		wantErr(t, "stop on an older node", n1.Ref("box").On("old").Stop(soon(t), nil), genserver.ErrUnavailable, true)
		noErr(t, "drain", svc.Drain(t.Context()))
		noErr(t, "stop", sys.Stop(t.Context()))
		noErr(t, "leave", registry.Leave(t.Context()))
		noErr(t, "close", link.Close(t.Context()))
	})
}

// A stop reaches servers of other nodes, with its reason, and drains if asked to.
func TestStopOverNodes(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		n1 := start(t, config("n1", nats))
		for _, drain := range []bool{false, true} {
			h := held()
			var handled []int
			ended := make(chan error, 1)
			h.handled = func(x int) { handled = append(handled, x) }
			h.terminate = func(reason error) { ended <- reason }
			box := public("box", h)
			box.Restart = supervisor.Temporary
			n2 := start(t, config("n2", nats, box))
			holding := callAsync(n1.Ref("box"), Hold{})
			receive(t, "the handler", h.entered)
			node.Acquainted(n1)
			before := node.Received(n2)
			for x := range 5 {
				noErr(t, "cast", n1.Ref("box").Cast(t.Context(), Put{X: x}))
			}
			queued := callAsync(n1.Ref("box"), Get{})
			delivered(t, n1, n2, before+6)
			var opts []genserver.Option
			if drain {
				opts = append(opts, genserver.DrainAll())
			}
			stopped := make(chan error, 1)
			go func() { stopped <- n1.Ref("box").Stop(soon(t), errNoSeat, opts...) }()
			delivered(t, n1, n2, before+8) // after the question before
			close(h.gate)
			noErr(t, "stop", receive(t, "the stop", stopped))
			if reason := receive(t, "terminate", ended); !errors.Is(reason, errNoSeat) {
				t.Errorf("drain=%v: got the end %v, want the caller's reason", drain, reason)
			}
			noErr(t, "the call in hand", receive(t, "the call in hand", holding))
			err := receive(t, "the queued call", queued)
			if drain {
				noErr(t, "the queued call", err)
				if want := []int{0, 1, 2, 3, 4}; !slices.Equal(handled, want) {
					t.Errorf("got %v handled, want %v", handled, want)
				}
			} else {
				wantErr(t, "the queued call", err, genserver.ErrExit, true)
				if len(handled) != 0 {
					t.Errorf("got %v handled after the stop, want nothing", handled)
				}
			}
			for _, ref := range []genserver.Ref{n1.Ref("nobody"), n1.Ref("box").On("n2"), n1.Ref("_root").On("n2")} {
				wantErr(t, "stop "+ref.String(), ref.Stop(soon(t), nil), genserver.ErrNoProcess, true)
			}
			stop(t, n2)
		}
	})
}

// delivered waits until n2 has had so many messages, and has done with them.
func delivered(t testing.TB, n1, n2 *node.Node, messages uint64) {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); node.Received(n2) < messages; <-time.After(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("got %d messages in 20s, want %d", node.Received(n2), messages)
		}
	}
	// They are taken one after another, and this is one more.
	_, err := genserver.Call(context.Background(), n1.Ref("nobody").On("n2"), Get{})
	wantErr(t, "question", err, genserver.ErrNoProcess, true)
}

// One call to several nodes has an answer or an error of each.
func TestCallNodesOverNodes(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		n1 := start(t, config("n1", nats, local("box", hooks{})))
		start(t, config("n2", nats, local("box", hooks{})))
		start(t, config("n3", nats))
		replies, failed := genserver.CallNodes(t.Context(), n1.Ref("box"), []string{"n1", "n2", "n3", "n9"}, Get{})
		if len(replies) != 2 || replies["n1"].Node != "n1" || replies["n2"].Node != "n2" {
			t.Errorf("got replies %v, want n1's and n2's", replies)
		}
		for _, n := range []string{"n3", "n9"} {
			wantErr(t, n, failed[n], genserver.ErrNoProcess, true)
		}
		if len(failed) != 2 {
			t.Errorf("got failures %v, want n3's and n9's", failed)
		}
	})
}

// An info reaches its handler, near and far, typed and not.
func TestSendOverNodes(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		child, seen := observing("o")
		n1, n2 := start(t, config("n1", nats, child)), start(t, config("n2", nats))
		for i, from := range []*node.Node{n1, n2} {
			for j, m := range []genserver.InfoMessage{Hint{X: 10 * i}, genserver.Map{"type": "hint", "x": 10*i + 1}} {
				noErr(t, "send", from.Ref("o").On("n1").Send(t.Context(), m))
				if got, ok := receive(t, "info", seen).(Hint); !ok || got.X != 10*i+j {
					t.Errorf("from %s: got %v, want x = %d", from.Name(), got, 10*i+j)
				}
			}
		}
	})
}
