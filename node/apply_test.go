package node_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/services/ratelimit"
	"github.com/civitas-go/civitas/supervisor"
)

func limiter(capacity int) supervisor.Child {
	return supervisor.Child{Name: "limiter", Run: ratelimit.Limiter.With(ratelimit.Config{Capacity: capacity}), Scope: supervisor.Cluster}
}

// operator changes children through a node.
type operator struct {
	t     testing.TB
	admin genserver.Ref
	seqs  map[string]uint64
}

func operatorAt(t testing.TB, n *node.Node) *operator {
	return &operator{t, n.Ref(node.AdminName), map[string]uint64{}}
}

func (o *operator) apply(c supervisor.Child, seq uint64) (node.Applied, error) {
	specs, ok := cluster.SpecsOf(tree(c), "operator")
	if !ok || len(specs) != 1 {
		o.t.Fatalf("the specs of %s: got %+v, %v, want one", c.Name, specs, ok)
	}
	record, err := specs[0].Encode()
	noErr(o.t, "encode", err)
	applied, err := genserver.Call(soon(o.t), o.admin, node.ApplyChild{Record: record, Seq: seq})
	if err == nil {
		o.seqs[c.Name] = applied.Seq
	}
	return applied, err
}

// change applies a child over the record that it was told of last.
func (o *operator) change(c supervisor.Child) node.Applied {
	o.t.Helper()
	for ctx := soon(o.t); ; <-time.After(20 * time.Millisecond) {
		applied, err := o.apply(c, o.await(c.Name, known).Seq)
		if !errors.Is(err, node.ErrChanged) || ctx.Err() != nil { // the leader may not have heard of a stop yet
			noErr(o.t, "apply "+c.Name, err)
			return applied
		}
	}
}

func (o *operator) remove(child string) {
	o.t.Helper()
	applied, err := genserver.Call(soon(o.t), o.admin, node.RemoveChild{Name: child, Seq: o.await(child, known).Seq})
	noErr(o.t, "remove "+child, err)
	o.seqs[child] = applied.Seq
}

// await waits until the leader tells of a child as it is wanted.
func (o *operator) await(child string, is func(node.ChildInfo) bool) node.ChildInfo {
	o.t.Helper()
	var last node.Children
	for ctx := soon(o.t); ctx.Err() == nil; <-time.After(20 * time.Millisecond) {
		var err error
		last, err = genserver.Call(ctx, o.admin, node.AskChildren{Children: map[string]uint64{child: o.seqs[child]}})
		if err == nil && len(last.Children) == 1 && is(last.Children[0]) {
			return last.Children[0]
		}
	}
	o.t.Fatalf("%s: got %+v in the end", child, last)
	return node.ChildInfo{}
}

func runsNewest(c node.ChildInfo) bool { return c.State == "running" && c.Runs == c.Revision }
func known(node.ChildInfo) bool        { return true }
func isStopped(c node.ChildInfo) bool  { return c.State == "stopped" }

// remaining asks the limiter, until it answers.
func remaining(t testing.TB, from *node.Node) int {
	t.Helper()
	grant, err := genserver.Call(soon(t), from.Ref("limiter"), ratelimit.Acquire{}, genserver.WithTimeout(10*time.Second))
	noErr(t, "acquire", err)
	return grant.Remaining
}

// A child whose record is changed runs by it soon: calls wait meanwhile, and nothing
// else is stopped. The same again changes nothing.
func TestApplyChangesWhatRuns(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		n1 := start(t, config("n1", nats, limiter(7), public("other", hooks{})))
		n2 := start(t, config("n2", nats, limiter(7)))
		if got := remaining(t, n2); got != 6 {
			t.Fatalf("got %d left, want 6 of 7", got)
		}
		other := get(t, n1.Ref("other"))
		op := operatorAt(t, n2)
		first := op.change(limiter(9))
		if first.Revision == 0 {
			t.Errorf("got %+v, want a revision", first)
		}
		op.await("limiter", runsNewest)
		if got := remaining(t, n1); got != 8 {
			t.Errorf("got %d left, want 8 of 9", got)
		}
		if again := op.change(limiter(9)); again != first {
			t.Errorf("the same again: got %+v, want %+v", again, first)
		}
		if got := get(t, n2.Ref("other")); got != other {
			t.Errorf("other: got %+v, want %+v, which nobody changed", got, other)
		}
		// It goes where its new record sends it, and back, in one change after the other.
		for _, to := range []string{"n2", "n1", "n2"} {
			op.change(on(to, limiter(9)))
			if c := op.await("limiter", runsNewest); c.Node != to {
				t.Errorf("got %+v, want it on %s", c, to)
			}
			if got := remaining(t, n1); got != 8 {
				t.Errorf("on %s: got %d left, want 8", to, got)
			}
		}
		// A type and a policy are changed likewise; what no node can run is not started.
		op.change(supervisor.Child{Name: "limiter", Run: Crasher.With(func() {}), Scope: supervisor.Cluster})
		if c := op.await("limiter", func(c node.ChildInfo) bool { return c.State == "unplaceable" }); !strings.Contains(c.Reason, "config") {
			t.Errorf("got %+v, want the reason that its config has functions", c)
		}
	})
}

// A record that has changed since it was read is not written over.
func TestApplyComparesAndSets(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		n1 := start(t, config("n1", nats, limiter(7)))
		op := operatorAt(t, n1)
		read := op.await("limiter", known).Seq
		op.change(limiter(8))
		for _, seq := range []uint64{read, 0} {
			if _, err := op.apply(limiter(9), seq); !errors.Is(err, node.ErrChanged) {
				t.Errorf("over %d: got %v, want ErrChanged", seq, err)
			}
		}
		_, err := op.apply(limiter(9), op.seqs["limiter"])
		noErr(t, "apply", err)
		_, err = genserver.Call(soon(t), op.admin, node.RemoveChild{Name: "limiter", Seq: read})
		if !errors.Is(err, node.ErrChanged) {
			t.Errorf("remove over an old one: got %v, want ErrChanged", err)
		}
		_, err = genserver.Call(soon(t), op.admin, node.ApplyChild{Record: []byte("{}")})
		if !errors.Is(err, node.ErrBadRecord) {
			t.Errorf("apply of nothing: got %v, want ErrBadRecord", err)
		}
	})
}

// A child that is on no record yet is started; one that was removed is stopped and
// forgotten, and is there again once somebody brings it.
func TestApplyAndRemove(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		cfg := config("n1", nats, public("other", hooks{}))
		cfg.Types = []genserver.Type{ratelimit.Limiter}
		n1 := start(t, cfg)
		cfg = config("n2", nats)
		cfg.Types = []genserver.Type{ratelimit.Limiter}
		n2 := start(t, cfg)
		op := operatorAt(t, n2)
		_, err := op.apply(limiter(5), 0)
		noErr(t, "apply", err)
		op.await("limiter", runsNewest)
		if got := remaining(t, n1); got != 4 {
			t.Errorf("got %d left, want 4 of 5", got)
		}
		op.remove("limiter")
		op.await("limiter", isStopped)
		_, err = genserver.Call(soon(t), n1.Ref("limiter"), ratelimit.Acquire{})
		wantErr(t, "call", err, genserver.ErrNoProcess, true)
		for _, n := range []*node.Node{n1, n2} {
			servers, err := genserver.Call(soon(t), n.Ref(node.AdminName), node.ListServers{})
			if err != nil || slices.ContainsFunc(servers.Servers, func(s node.ServerInfo) bool { return s.Name == "limiter" }) {
				t.Errorf("%s: got %+v, %v, want no limiter listed", n.Name(), servers.Servers, err)
			}
		}
		_, err = genserver.Call(soon(t), op.admin, node.RestartServer{Name: "limiter"})
		if !errors.Is(err, node.ErrNoServer) {
			t.Errorf("restart: got %v, want ErrNoServer", err)
		}
		_, err = genserver.Call(soon(t), op.admin, node.RemoveChild{Name: "limiter"})
		noErr(t, "remove again", err)
		start(t, config("n3", nats, limiter(3)))
		if got := remaining(t, n1); got != 2 {
			t.Errorf("brought again: got %d left, want 2 of 3", got)
		}
		op.remove("limiter")
		_, err = op.apply(limiter(8), 0)
		noErr(t, "apply again", err)
		op.await("limiter", runsNewest)
		if got := remaining(t, n1); got != 7 {
			t.Errorf("applied again: got %d left, want 7 of 8", got)
		}
	})
}

// What an operator has stopped stays so though its record is changed, and runs by the
// newest once it is started again, where it was and where it was not.
func TestApplyToWhatIsStopped(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		leader := start(t, config("n1", nats))
		n2 := start(t, config("n2", nats, limiter(7)))
		op := operatorAt(t, leader)
		at := map[string]genserver.Ref{"where it was": n2.Ref(node.AdminName), "at the leader": leader.Ref(node.AdminName)}
		for _, where := range []string{"where it was", "at the leader"} {
			_, err := genserver.Call(soon(t), n2.Ref(node.AdminName), node.StopServer{Name: "limiter"})
			noErr(t, "stop", err)
			capacity := map[string]int{"where it was": 9, "at the leader": 11}[where]
			op.change(limiter(capacity))
			<-time.After(time.Second)
			op.await("limiter", isStopped)
			if where == "at the leader" { // whose node does not list it any more
				stop(t, n2)
				n2 = start(t, config("n2", nats, limiter(7)))
			}
			for ctx := soon(t); ctx.Err() == nil; <-time.After(20 * time.Millisecond) { // until the leader has heard of the end
				if _, err = genserver.Call(ctx, at[where], node.InspectServer{Name: "limiter"}); err == nil {
					break
				}
			}
			row, err := genserver.Call(soon(t), at[where], node.RestartServer{Name: "limiter"})
			if err != nil || row.State != "running" && row.State != "starting" || row.Node != "n2" && row.Node != "" {
				t.Errorf("restart %s: got %+v, %v, want it running on n2, or about to", where, row, err)
			}
			if got := remaining(t, leader); got != capacity-1 {
				t.Errorf("restarted %s: got %d left, want %d", where, got, capacity-1)
			}
		}
	})
}

// A new leader finishes what the old one has not begun.
func TestApplyOutlivesTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		n1 := start(t, config("n1", m))
		n2, n3 := start(t, config("n2", m, limiter(7))), start(t, config("n3", m, limiter(7)))
		remaining(t, n3)
		op := operatorAt(t, n3)
		op.change(limiter(9))
		stop(t, n1)
		op.await("limiter", runsNewest)
		if got := remaining(t, n2); got != 8 {
			t.Errorf("got %d left, want 8 of 9", got)
		}
	})
}

// A node carries out an order to stop only if the record says otherwise than what runs.
func TestOldOrdersAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n1 := start(t, config("n1", node.NewMemory(), limiter(7)))
		op := operatorAt(t, n1)
		for _, capacity := range []int{7, 8} {
			op.change(limiter(capacity))
			op.await("limiter", runsNewest)
			remaining(t, n1)
			if err := node.OrderStop(t.Context(), n1, "limiter"); !errors.Is(err, node.ErrNotStopped) {
				t.Errorf("got %v, want the order refused", err)
			}
			if got := remaining(t, n1); got != capacity-2 {
				t.Errorf("got %d left, want %d of the same life", got, capacity-2)
			}
		}
	})
}

// A child that has ended by itself runs again by a changed record; its end does not
// mark the record that is newer than what ended.
func TestApplyToWhatIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n1 := start(t, config("n1", node.NewMemory(), func() supervisor.Child {
			c := limiter(7)
			c.Restart = supervisor.Transient
			return c
		}()))
		noErr(t, "end", n1.Ref("limiter").Stop(t.Context(), nil))
		op := operatorAt(t, n1)
		op.await("limiter", isStopped)
		if rec, _ := node.Record(t.Context(), n1, "limiter"); !rec.Done {
			t.Errorf("got %+v, want it done", rec)
		}
		op.change(limiter(9))
		op.await("limiter", runsNewest)
		if got := remaining(t, n1); got != 8 {
			t.Errorf("got %d left, want 8 of 9", got)
		}
	})
}

// What differed at a node's start is told as long as it does.
func TestDifferencesGoWithTheRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		start(t, config("n1", m, limiter(7)))
		log := &logBook{}
		cfg := config("n2", m, limiter(9))
		cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
		n2 := start(t, cfg)
		if !strings.Contains(log.String(), "civitas apply") {
			t.Errorf("got the log\n%s\nwant it to name the remedy", log)
		}
		differs := func() []node.Difference {
			status, err := genserver.Call(context.Background(), n2.Ref(node.AdminName), node.AskStatus{})
			noErr(t, "status", err)
			return status.Differs
		}
		if got := differs(); len(got) != 1 {
			t.Errorf("got %v, want one", got)
		}
		operatorAt(t, n2).change(limiter(9))
		if got := differs(); len(got) != 0 {
			t.Errorf("got %v after the change, want none", got)
		}
	})
}

// Of a supervisor only what is beside its config can be changed.
func TestApplyToASupervisor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		sup := func() supervisor.Child {
			return supervisor.Child{Name: "sup", Run: tree(public("a", hooks{}), public("b", hooks{}))}
		}
		n1, n2 := start(t, config("n1", m, sup())), start(t, config("n2", m, sup()))
		if got := owners(t, n2, "a", "b"); got["n1"] != 2 {
			t.Errorf("got %v, want both on n1", got)
		}
		op := operatorAt(t, n2)
		op.change(on("n2", sup()))
		op.await("sup", runsNewest)
		if got := owners(t, n1, "a", "b"); got["n2"] != 2 {
			t.Errorf("got %v, want both on n2", got)
		}
	})
}
