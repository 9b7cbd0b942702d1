package node_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/services/ratelimit"
	"github.com/civitas-go/civitas/supervisor"
)

// owners are the nodes that have the boxes, as a node sees it.
func owners(t *testing.T, from *node.Node, names ...string) map[string]int {
	t.Helper()
	on := map[string]int{}
	for _, name := range names {
		on[get(t, from.Ref(name)).Node]++
	}
	return on
}

// Two nodes with the same tree share it: what is the cluster's runs once, what is a
// node's own on each.
func TestNodesShareATree(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		children := func() []supervisor.Child {
			return []supervisor.Child{public("a", hooks{}), local("own", hooks{}), public("b", hooks{})}
		}
		n1 := start(t, config("n1", nats, children()...))
		n2 := start(t, config("n2", nats, children()...))
		for _, from := range []*node.Node{n1, n2} {
			if got := owners(t, from, "a", "b"); got["n1"] != 2 {
				t.Errorf("seen from %s: got %v, want both on n1", from.Name(), got)
			}
			if got := get(t, from.Ref("own")).Node; got != from.Name() {
				t.Errorf("own of %s: got %s's", from.Name(), got)
			}
			noErr(t, "ready", from.Ready(t.Context()))
		}
		// A clean stop has them move at once.
		calls := []<-chan error{}
		began := time.Now()
		stop(t, n1)
		for _, name := range []string{"a", "b"} {
			calls = append(calls, served(n2.Ref(name)))
		}
		for _, c := range calls {
			noErr(t, "call after the stop", receive(t, "call", c))
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("served again after %v, want at once", took)
		}
		if got := owners(t, n2, "a", "b"); got["n2"] != 2 {
			t.Errorf("after the stop: got %v, want both on n2", got)
		}
		// Whoever comes back has nothing to run.
		n1 = start(t, config("n1", nats, children()...))
		if got := owners(t, n1, "a", "b"); got["n2"] != 2 {
			t.Errorf("after n1 is back: got %v, want both on n2 still", got)
		}
	})
}

// A call to a child of the cluster's tree that moves waits for its next owner, and
// not for long if there is none; one that was stopped does not move, nor does a name that nobody knows.
func TestCallsWaitForAChildThatMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		child := public("a", hooks{})
		child.Placement.Labels = map[string]string{"role": "worker"}
		cfg := config("n1", m, child)
		cfg.Labels = map[string]string{"role": "worker"}
		n1, n2 := start(t, cfg), start(t, config("n2", m))
		get(t, n2.Ref("a"))
		stop(t, n1)
		waiting := callAsync(n2.Ref("a"), Get{}, genserver.WithTimeout(time.Minute))
		_, err := genserver.Call(t.Context(), n2.Ref("a"), Get{}, genserver.WithTimeout(time.Second))
		if !errors.Is(err, genserver.ErrTimeout) && !errors.Is(err, genserver.ErrUnavailable) || !genserver.NotDelivered(err) {
			t.Errorf("call within a second: got %v, want an error that says it was not delivered", err)
		}
		vain := func(want time.Duration) {
			t.Helper()
			began := time.Now()
			_, err := genserver.Call(t.Context(), n2.Ref("a"), Get{}, genserver.WithTimeout(time.Hour))
			if took := time.Since(began); !errors.Is(err, genserver.ErrNoProcess) || took > want+time.Second || took < want {
				t.Errorf("call without an owner: got %v after %v, want ErrNoProcess after %v", err, took, want)
			}
		}
		cfg.Name = "n3"
		n3 := start(t, cfg)
		noErr(t, "the call that waited", receive(t, "the call that waited", waiting))

		stop(t, n3)
		vain(3 * time.Second)
		vain(0)
		n3 = start(t, cfg)
		get(t, n2.Ref("a"))
		stop(t, n3)
		vain(3 * time.Second) // it had an owner since
		n3 = start(t, cfg)
		began := time.Now()
		_, err = genserver.Call(t.Context(), n2.Ref("nobody"), Get{})
		if took := time.Since(began); !errors.Is(err, genserver.ErrNoProcess) || took > time.Second {
			t.Errorf("call of nobody: got %v after %v, want ErrNoProcess at once", err, took)
		}
		_, err = genserver.Call(t.Context(), n3.Ref(node.AdminName), node.StopServer{Name: "a"})
		noErr(t, "stop of a", err)
		_, err = genserver.Call(t.Context(), n2.Ref("a"), Get{})
		if !errors.Is(err, genserver.ErrNoProcess) {
			t.Errorf("call of a child that was stopped: got %v, want ErrNoProcess", err)
		}
	})
}

// served calls until there is an answer.
func served(to genserver.Ref) <-chan error {
	done := make(chan error, 1)
	go func() {
		var err error
		for range 1000 {
			if _, err = genserver.Call(context.Background(), to, Get{}); err == nil {
				break
			}
			<-time.After(10 * time.Millisecond)
		}
		done <- err
	}()
	return done
}

// What a node that crashes has run is served again by others, and a crash of the
// leader loses nothing.
func TestChildrenOfACrashedNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, victim := range []int{0, 1} { // the leader, and one that is not
			m := node.NewMemory()
			cuts := []*storeCut{{Connector: m}, {Connector: m}, {Connector: m}}
			var nodes []*node.Node
			var names []string
			for i, c := range cuts {
				cfg := config(fmt.Sprintf("n%d", i), c)
				cfg.Types = []genserver.Type{Box}
				nodes = append(nodes, start(t, cfg))
			}
			var children []supervisor.Child
			for i := range 9 {
				names = append(names, fmt.Sprintf("box%d", i))
				children = append(children, supervisor.Child{Name: names[i], Run: Box.With(hooks{}), Scope: supervisor.Cluster})
			}
			<-time.After(2 * time.Second) // until the leader has heard of them
			brings := start(t, config("brings", m, children...))
			for _, name := range names {
				noErr(t, "call", receive(t, "call", served(brings.Ref(name)))) // which may be starting elsewhere
			}
			before := owners(t, brings, names...)
			for _, count := range before {
				if len(before) != 4 || count < 2 || count > 3 {
					t.Fatalf("got %v, want nine on four nodes, evenly", before)
				}
			}
			epochs := map[string]Value{}
			for _, name := range names {
				epochs[name] = get(t, brings.Ref(name))
			}
			dead := nodes[victim].Name()
			cuts[victim].cut.Store(true)
			for _, n := range append(nodes, brings) {
				if n.Name() != dead {
					m.Hub().Cut(dead, n.Name())
				}
			}
			began := time.Now()
			for _, name := range names {
				noErr(t, "call", receive(t, "call", served(brings.Ref(name))))
			}
			if took := time.Since(began); took > 17*time.Second {
				t.Errorf("victim %d: served again after %v, want 17s at most", victim, took)
			}
			for name, was := range epochs {
				switch is := get(t, brings.Ref(name)); {
				case was.Node == dead && is.Node == dead, was.Node != dead && is != was:
					t.Errorf("%s: got %+v after the crash of %s, it was %+v", name, is, dead, was)
				}
			}
			after := owners(t, brings, names...)
			for _, count := range after {
				if len(after) != 3 || count != 3 {
					t.Errorf("victim %d: got %v, want nine on three nodes, evenly", victim, after)
				}
			}
			for _, n := range append(nodes, brings) {
				_ = n.Stop(soon(t))
			}
		}
	})
}

// What a leader has run that leaves is spread evenly: whoever leads then waits until it
// knows who else lives.
func TestChildrenOfALeaderThatLeaves(t *testing.T) {
	for range 5 {
		synctest.Test(t, func(t *testing.T) {
			m := node.NewMemory()
			var children []supervisor.Child
			var names []string
			for i := range 12 {
				names = append(names, fmt.Sprintf("box%d", i))
				children = append(children, supervisor.Child{Name: names[i], Run: Box.With(hooks{}), Scope: supervisor.Cluster})
			}
			var nodes []*node.Node
			for _, name := range []string{"leads", "n1", "n2"} {
				cfg := config(name, m)
				cfg.Types = []genserver.Type{Box}
				nodes = append(nodes, start(t, cfg))
			}
			<-time.After(3 * time.Second) // until all have heard of each other
			nodes = append(nodes, start(t, config("n3", m, children...)))
			<-time.After(3 * time.Second)
			if got := owners(t, nodes[1], names...); got["leads"] != 3 {
				t.Fatalf("got %v, want three on each", got)
			}
			stop(t, nodes[0])
			for _, name := range names {
				noErr(t, "call", receive(t, "call", served(nodes[1].Ref(name))))
			}
			if got := owners(t, nodes[1], names...); got["n1"] != 4 || got["n2"] != 4 || got["n3"] != 4 {
				t.Errorf("got %v, want four on each", got)
			}
		})
	}
}

// A child without a node waits for one, and holds nobody back.
func TestUnplaceable(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		log := &logBook{}
		far := public("far", hooks{})
		far.Placement.Labels = map[string]string{"role": "worker"}
		cfg := config("n1", nats, public("near", hooks{}), far, on("n2", public("pinned", hooks{})), local("last", hooks{}))
		cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
		n1 := start(t, cfg)
		noErr(t, "ready", n1.Ready(t.Context()))
		get(t, n1.Ref("near"))
		get(t, n1.Ref("last"))
		for _, name := range []string{"far", "pinned"} {
			_, err := genserver.Call(t.Context(), n1.Ref(name), Get{})
			wantErr(t, "call "+name, err, genserver.ErrNoProcess, true)
		}
		if text := log.String(); !strings.Contains(text, "role=worker") || !strings.Contains(text, "node n2, to which it is pinned") {
			t.Errorf("got the log\n%s\nwant it to say why", text)
		}
		cfg = config("n2", nats)
		cfg.Types, cfg.Labels = []genserver.Type{Box}, map[string]string{"role": "worker", "zone": "a"}
		n2 := start(t, cfg)
		for _, name := range []string{"far", "pinned"} {
			noErr(t, "call "+name, receive(t, "call", served(n1.Ref(name))))
		}
		if got := owners(t, n1, "far", "pinned"); got["n2"] != 2 {
			t.Errorf("got %v, want both on n2", got)
		}
		stop(t, n2)
	})
}

// A config leaves its program, and a child runs with the one on record.
func TestTheRecordHolds(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		limiter := func(capacity int) supervisor.Child {
			return supervisor.Child{Name: "limiter", Run: ratelimit.Limiter.With(ratelimit.Config{Capacity: capacity}), Scope: supervisor.Cluster}
		}
		n1 := start(t, config("n1", nats, limiter(7)))
		log := &logBook{}
		cfg := config("n2", nats, limiter(9))
		cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
		n2 := start(t, cfg)
		if !strings.Contains(log.String(), "differs_in=config") {
			t.Errorf("got the log\n%s\nwant that the records hold", log)
		}
		status, err := genserver.Call(t.Context(), n2.Ref(node.AdminName), node.AskStatus{})
		if err != nil || len(status.Differs) != 1 || status.Differs[0] != (node.Difference{Name: "limiter", Field: "config"}) {
			t.Errorf("status: got %+v, %v; want the difference in it", status, err)
		}
		cfg = config("n3", nats)
		cfg.Types = []genserver.Type{ratelimit.Limiter}
		n3 := start(t, cfg)
		stop(t, n1)
		stop(t, n2)
		for range 1000 {
			grant, err := genserver.Call(t.Context(), n3.Ref("limiter"), ratelimit.Acquire{})
			if err == nil {
				if grant.Remaining != 6 {
					t.Errorf("got %+v of a limiter elsewhere, want 6 left of the 7 on record", grant)
				}
				return
			}
			<-time.After(10 * time.Millisecond)
		}
		t.Error("got no limiter on n3")
	})
}

type Boom struct{ genserver.Signal }

func (Boom) Op() string { return "boom" }

// Crasher crashes as soon as it is up.
var Crasher = genserver.Define("test.Crasher", func(ctx *genserver.Context, born func()) (*struct{}, error) {
	born()
	ctx.SendAfter(10*time.Millisecond, Boom{})
	return &struct{}{}, nil
}, genserver.HandleInfo(func(*struct{}, *genserver.Context, Boom) error { return errNoSeat }))

// A child that crashes again and again is given up by its node, which goes on, and
// tried again later and later.
func TestAChildThatAlwaysCrashes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		var starts []time.Time
		crashes := supervisor.Child{Name: "crashes", Scope: supervisor.Cluster, Run: Crasher.With(func() { starts = append(starts, time.Now()) })}
		n1 := start(t, config("n1", m, crashes, public("well", hooks{})))
		<-time.After(2 * time.Minute)
		get(t, n1.Ref("well"))
		if n1.Err() != nil {
			t.Errorf("the node: got the end %v, want it to go on", n1.Err())
		}
		if len(starts) < 16 || len(starts) > 40 {
			t.Errorf("got %d starts in two minutes, want four for each attempt, and the attempts later and later", len(starts))
		}
	})
}

// What was stopped on purpose stays so, whatever becomes of its node, until it is
// started again; what has ended by itself is started with its node.
func TestStoppedStaysStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		done := public("done", hooks{})
		done.Restart = supervisor.Transient
		children := []supervisor.Child{public("box", hooks{}), done}
		watcher := start(t, config("watcher", m))
		n1 := start(t, config("n1", m, children...))
		_, err := genserver.Call(t.Context(), watcher.Ref(node.AdminName).On("n1"), node.StopServer{Name: "box"})
		noErr(t, "stop box", err)
		noErr(t, "end of done", n1.Ref("done").Stop(t.Context(), nil))
		<-time.After(time.Minute)
		for _, name := range []string{"box", "done"} {
			_, err = genserver.Call(t.Context(), watcher.Ref(name), Get{})
			wantErr(t, "call "+name, err, genserver.ErrNoProcess, true)
		}
		stop(t, n1)
		n1 = start(t, config("n1", m, children...))
		get(t, n1.Ref("done"))
		_, err = genserver.Call(t.Context(), n1.Ref("box"), Get{})
		wantErr(t, "call of what was stopped", err, genserver.ErrNoProcess, true)
		row, err := genserver.Call(t.Context(), watcher.Ref(node.AdminName), node.InspectServer{Name: "box"})
		if err != nil || row.State != "stopped" || row.Node != "" {
			t.Errorf("inspect at the leader: got %+v, %v; want it stopped, and nowhere", row, err)
		}
		_, err = genserver.Call(t.Context(), watcher.Ref(node.AdminName), node.RestartServer{Name: "box"})
		noErr(t, "restart", err)
		noErr(t, "call", receive(t, "call", served(n1.Ref("box"))))
	})
}

// What an operator starts again goes on, though its record says for a moment yet that it
// is stopped.
func TestStartedAgainGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		leader := start(t, config("n1", m, public("here", hooks{})))
		start(t, config("n2", m, public("there", hooks{})))
		for name, on := range map[string]string{"here": "n1", "there": "n2"} {
			admin := leader.Ref(node.AdminName).On(on)
			_, err := genserver.Call(t.Context(), admin, node.StopServer{Name: name})
			noErr(t, "stop "+name, err)
			<-time.After(10 * time.Second)
			again, err := genserver.Call(t.Context(), admin, node.RestartServer{Name: name})
			noErr(t, "restart "+name, err)
			<-time.After(10 * time.Second)
			now, err := genserver.Call(t.Context(), admin, node.InspectServer{Name: name})
			if err != nil || now.State != "running" || now.Generation != again.Generation {
				t.Errorf("%s, 10s later: got %+v, %v, want generation %d still", name, now, err, again.Generation)
			}
			get(t, leader.Ref(name))
		}
	})
}

// A child that has come to run elsewhere before it was written down that it is stopped
// is stopped there, on the leader and on another node, and runs again once it is
// written down that it is to.
func TestStoppedLateIsStoppedAfterAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		leader := start(t, config("n1", m, public("here", hooks{})))
		other := start(t, config("n2", m, public("there", hooks{})))
		for name, n := range map[string]*node.Node{"here": leader, "there": other} {
			get(t, n.Ref(name))
			noErr(t, "mark", node.MarkStopped(t.Context(), n, name, true))
			<-time.After(10 * time.Second)
			_, err := genserver.Call(t.Context(), leader.Ref(name), Get{})
			wantErr(t, "call of what is stopped", err, genserver.ErrNoProcess, true)
			noErr(t, "mark", node.MarkStopped(t.Context(), n, name, false))
			noErr(t, "call", receive(t, "call", served(leader.Ref(name))))
		}
	})
}

// Thousands of children go to their nodes evenly, and those of one that stops to
// the others. Ten thousand take 2 s on two cores, and 2,500 of them less than 1 s
// to move.
func TestThousandsOfChildren(t *testing.T) {
	t.Parallel()
	const many, nodes = 2000, 4
	nats := node.URL(startNATS(t))
	var all []*node.Node
	for i := range nodes - 1 {
		cfg := config(fmt.Sprintf("n%d", i), nats)
		cfg.Types = []genserver.Type{Box}
		all = append(all, start(t, cfg))
	}
	<-time.After(3 * time.Second / 2) // until the leader has heard of them
	var children []supervisor.Child
	for i := range many {
		children = append(children, public(fmt.Sprintf("box%d", i), hooks{}))
	}
	all = append(all, start(t, config("brings", nats, children...)))
	boxes := func() (on []int, sum int) {
		for _, n := range all {
			count := 0
			for _, p := range n.System().Processes() {
				if p.Type == Box.Name() {
					count++
				}
			}
			on = append(on, count)
			sum += count
		}
		return on, sum
	}
	await := func(what string) []int {
		began := time.Now()
		for {
			on, sum := boxes()
			if sum == many {
				t.Logf("%s: %v after %v", what, on, time.Since(began))
				return on
			}
			if time.Since(began) > time.Minute {
				t.Fatalf("%s: got %v after a minute, want %d in all", what, on, many)
			}
			<-time.After(20 * time.Millisecond)
		}
	}
	for _, count := range await("placed") {
		if count < many/nodes-many/20 || count > many/nodes+many/20 {
			t.Errorf("got %d on a node, want a quarter of %d", count, many)
		}
	}
	stop(t, all[1])
	if on := await("moved"); on[1] != 0 {
		t.Errorf("got %d on the node that has stopped", on[1])
	}
}
