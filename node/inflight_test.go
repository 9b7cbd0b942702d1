package node_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/transport"
)

// briskly are times for tests in real time. They bear a machine that is busy for
// a second or so.
var briskly = cluster.Timing{Lease: 2 * time.Second, Renew: 100 * time.Millisecond}

// frozen is a node whose process was stopped: what it's sent arrives, its session is
// renewed no more, and at times it sends one more thing.
type frozen struct {
	*cluster.Registry
	conn     transport.Conn
	subjects transport.Subjects
	got      chan *genserver.Incoming
	epoch    uint64
}

// freeze makes a node that owns a server and is frozen from then on.
func freeze(t *testing.T, nats node.Connector, name, server string) *frozen {
	t.Helper()
	link, err := nats.Connect(t.Context(), node.LinkOptions{Node: name, Cluster: "dev", Logger: quiet})
	noErr(t, "connect", err)
	t.Cleanup(func() { noErr(t, "disconnect", link.Close(soon(t))) })
	f := &frozen{conn: link.Conn, got: make(chan *genserver.Incoming, 1000)}
	f.Registry, err = cluster.Join(t.Context(), link.Store, cluster.NodeInfo{Node: name, Timing: briskly})
	noErr(t, "join", err)
	f.epoch, err = f.Claim(t.Context(), server)
	noErr(t, "claim", err)
	f.subjects, err = transport.NewSubjects("dev")
	noErr(t, "subjects", err)
	_, err = transport.ServeNode(link.Conn, f.subjects, f.Incarnation(), quiet, func(in *genserver.Incoming, _ uint64, _ transport.Origin) { f.got <- in })
	noErr(t, "serve", err)
	noErr(t, "flush", link.Conn.Flush(soon(t)))
	noErr(t, "close", f.Close())
	return f
}

// send sends a message as its server of that epoch.
func (f *frozen) send(t *testing.T, to *node.Node, kind genserver.Kind, m genserver.Message, epoch uint64) error {
	t.Helper()
	route := transport.Route{Subject: f.subjects.Node(to.Incarnation(), "box"), From: f.Incarnation()}
	out := &genserver.Outgoing{Message: m, Envelope: genserver.Envelope{
		To: "box", Kind: kind, Op: m.Op(), From: "frozen", FromNode: "ghost", FromEpoch: epoch,
	}}
	if kind != genserver.KindCall {
		return transport.Publish(f.conn, route, out)
	}
	_, err := transport.Request(soon(t), f.conn, route, out)
	return err
}

func briskConfig(name string, nats node.Connector, h hooks) node.Config {
	cfg := config(name, nats, public("box", h))
	cfg.Timing = briskly
	return cfg
}

// Callers of a node that dies know at once when another has declared it dead,
// however long they would have waited; nobody of them judges. Those who call
// afterwards reach the new owner.
func TestCallersOfADeadNodeKnowAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		ghost := freeze(t, nats, "ghost", "box")
		cfg := config("n1", nats)
		cfg.Timing = briskly
		n1 := start(t, cfg)
		const callers = 256
		long := genserver.WithTimeout(10 * time.Minute)
		ends := make(chan error, callers)
		for i := range callers {
			to := n1.Ref("box")
			if i%2 == 1 {
				to = n1.Ref("other").On("ghost") // by the node's name
			}
			go func() {
				_, err := genserver.Call(context.Background(), to, Get{}, long)
				ends <- err
			}()
		}
		for range callers {
			for receive(t, "a call", ghost.got).To == "_bundle" { // n1 asks what the ghost can
			}
		}
		<-time.After(2 * time.Second) // the ghost's lease, and nobody has judged
		if len(ends) > 0 {
			t.Fatalf("got %v before anyone has judged, want the call to wait", <-ends)
		}

		link, err := nats.Connect(t.Context(), node.LinkOptions{Node: "judge", Cluster: "dev", Logger: quiet})
		noErr(t, "connect", err)
		defer func() { noErr(t, "disconnect", link.Close(soon(t))) }()
		judge, err := cluster.Join(t.Context(), link.Store, cluster.NodeInfo{Node: "judge", Timing: briskly})
		noErr(t, "join", err)
		verdict := make(chan struct{})
		judge.Follow(ghost.Incarnation(), func(error) { close(verdict) })
		receive(t, "the verdict", verdict)
		began := time.Now()
		noErr(t, "the judge leaves", judge.Leave(soon(t)))
		for range callers {
			err := receive(t, "the end of a call", ends)
			wantErr(t, "a call in flight", err, genserver.ErrNodeDown, false)
			wantText(t, "a call in flight", err, "ghost", ghost.Incarnation(), "declared dead")
		}
		took := time.Since(began)
		t.Logf("the last of %d callers knew %v after the verdict", callers, took)
		if took > 5*time.Second {
			t.Errorf("the last caller knew %v after the verdict, want it at once", took)
		}

		// Casts do not.
		for _, ref := range []genserver.Ref{n1.Ref("box"), n1.Ref("other").On("ghost")} {
			err := ref.Cast(t.Context(), Put{X: 1}, genserver.Strict())
			wantErr(t, "a cast to "+ref.String(), err, genserver.ErrNoProcess, true)
		}

		// Calls that have not been delivered wait for whoever comes next.
		early := callAsync(n1.Ref("box"), Get{}, long)
		n3 := start(t, briskConfig("n3", nats, hooks{}))
		noErr(t, "a call made before there was an owner", receive(t, "the early call", early))
		if got := get(t, n1.Ref("box")).Node; got != n3.Name() {
			t.Errorf("owner: got %s, want n3", got)
		}
		noErr(t, "a cast to the new owner", n1.Ref("box").Cast(t.Context(), Put{X: 5}, genserver.Strict()))
		if got := get(t, n1.Ref("box")).X; got != 5 {
			t.Errorf("after the cast: got x = %d, want 5", got)
		}
		_, err = genserver.Call(t.Context(), n1.Ref("other").On("ghost"), Get{}, genserver.WithTimeout(time.Second))
		if !genserver.NotDelivered(err) || !errors.Is(err, genserver.ErrNoProcess) && !errors.Is(err, genserver.ErrUnavailable) {
			t.Errorf("a call to the dead node: got %v, want an undelivered one", err)
		}
	})
}

// A node that was declared dead, and does not know yet, is heard no more: not what its
// cluster-wide servers send, nor what they answer.
func TestTheDeadAreNotHeard(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		ghost := freeze(t, nats, "ghost", "frozen")
		n1 := start(t, briskConfig("n1", nats, hooks{}))
		answer := callAsync(n1.Ref("frozen"), Get{}, genserver.WithTimeout(10*time.Minute))
		in := receive(t, "the call", ghost.got)
		for in.To == "_bundle" {
			in = receive(t, "the call", ghost.got)
		}
		// Until it's known to be dead, it's heard.
		noErr(t, "cast", ghost.send(t, n1, genserver.KindCast, Put{X: 1}, ghost.epoch))
		noErr(t, "call", ghost.send(t, n1, genserver.KindCall, Get{}, ghost.epoch))
		if got := get(t, n1.Ref("box")).X; got != 1 {
			t.Errorf("before the verdict: got x = %d, want 1", got)
		}

		cfg := config("n3", nats, public("frozen", hooks{})) // which judges
		cfg.Timing = briskly
		start(t, cfg)
		wantErr(t, "the call in flight", receive(t, "the call in flight", answer), genserver.ErrNodeDown, false)
		in.Reply.Reply(Value{X: 9}, nil) // to nobody

		dropped := n1.System().Stats().Dropped
		refused := node.Refused(n1)
		noErr(t, "cast", ghost.send(t, n1, genserver.KindCast, Put{X: 2}, ghost.epoch))
		err := ghost.send(t, n1, genserver.KindCall, Get{}, ghost.epoch)
		wantErr(t, "a call of the dead", err, genserver.ErrFenced, true)
		wantText(t, "a call of the dead", err, "frozen", "ghost", "declared dead")
		if got := get(t, n1.Ref("box")).X; got != 1 {
			t.Errorf("after the verdict: got x = %d, want 1", got)
		}
		if got := n1.System().Stats().Dropped - dropped; got != 1 {
			t.Errorf("got %d dropped, want 1", got)
		}
		if got := node.Refused(n1) - refused; got != 2 {
			t.Errorf("got %d refused, want 2", got)
		}
		if got := get(t, n1.Ref("frozen")).Node; got != "n3" {
			t.Errorf("owner: got %s, want n3", got)
		}
	})
}

// What an earlier ownership of a name has sent is not let in once a later one was heard.
func TestOldEpochsOfSendersAreNotHeard(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		ghost := freeze(t, nats, "ghost", "frozen")
		n1 := start(t, briskConfig("n1", nats, hooks{}))
		for _, c := range []struct {
			epoch uint64
			want  error
		}{{7, nil}, {7, nil}, {9, nil}, {8, genserver.ErrFenced}, {9, nil}, {0, nil}} { // 0 is of a node-local server
			err := ghost.send(t, n1, genserver.KindCall, Get{}, c.epoch)
			if c.want == nil {
				noErr(t, "call", err)
				continue
			}
			wantErr(t, "a call of an old epoch", err, c.want, true)
		}
		if got := node.Refused(n1); got != 1 {
			t.Errorf("got %d refused, want 1", got)
		}
	})
}

// The messages of a cluster-wide server bear its right to send, those of others none.
func TestSendersShowTheirRight(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		link, err := nats.Connect(t.Context(), node.LinkOptions{Node: "x", Cluster: "dev", Logger: quiet})
		noErr(t, "connect", err)
		defer func() { noErr(t, "disconnect", link.Close(soon(t))) }()
		subjects, err := transport.NewSubjects("dev")
		noErr(t, "subjects", err)
		registry, err := cluster.Join(t.Context(), link.Store, cluster.NodeInfo{Node: "x"})
		noErr(t, "join", err)
		defer func() { noErr(t, "leave", registry.Leave(soon(t))) }()
		got := make(chan transport.Origin, 10)
		_, err = transport.ServeNode(link.Conn, subjects, registry.Incarnation(), quiet, func(in *genserver.Incoming, _ uint64, from transport.Origin) {
			if in.Kind == genserver.KindCast {
				got <- from
			}
		})
		noErr(t, "serve", err)
		noErr(t, "flush", link.Conn.Flush(soon(t)))

		var epoch uint64
		n1 := start(t, config("n1", nats, local("own", hooks{}),
			public("box", hooks{init: func(ctx *genserver.Context) error { epoch = ctx.Epoch(); return nil }})))
		for server, want := range map[string]transport.Origin{"own": {}, "box": {Incarnation: n1.Incarnation(), Epoch: epoch}} {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			_, _ = genserver.Call(ctx, n1.Ref(server), Pass{To: "y", ToNode: "x", X: 1}) // of whose call nobody takes notice
			cancel()
			if origin := receive(t, "the cast", got); origin != want {
				t.Errorf("%s: got the origin %+v, want %+v", server, origin, want)
			}
		}
		noErr(t, "cast from outside of any server", n1.Ref("y").On("x").Cast(t.Context(), Put{}))
		if origin := receive(t, "the cast", got); origin != (transport.Origin{}) {
			t.Errorf("outside of any server: got the origin %+v, want none", origin)
		}
	})
}

// Who has left answers no more; what it answered before is waited for a moment.
func TestCallersOfANodeThatLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		ghost := freeze(t, m, "ghost", "box")
		n1 := start(t, config("n1", m))
		long := genserver.WithTimeout(10 * time.Minute)
		answered, unanswered := callAsync(n1.Ref("box"), Get{}, long), callAsync(n1.Ref("box"), Get{}, long)
		var calls []*genserver.Incoming
		for len(calls) < 2 {
			if in := receive(t, "a call", ghost.got); in.To == "box" {
				calls = append(calls, in)
			}
		}
		noErr(t, "leave", ghost.Leave(t.Context()))
		left := time.Now()
		<-time.After(time.Second / 2)
		calls[0].Reply.Reply(Value{}, nil)
		var errs []error
		for _, c := range []<-chan error{answered, unanswered} {
			if err := receive(t, "a call", c); err != nil {
				errs = append(errs, err)
			}
		}
		if took := time.Since(left); len(errs) != 1 || took > 2*time.Second {
			t.Fatalf("got the errors %v after %v, want one after a second", errs, took)
		}
		wantErr(t, "the call without an answer", errs[0], genserver.ErrNodeDown, false)
		wantText(t, "the call without an answer", errs[0], ghost.Incarnation(), "has left")
	})
}
