package node_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/transport"
)

// storeCut is a connector whose records can be out of reach.
type storeCut struct {
	node.Connector
	cut   atomic.Bool
	deaf  atomic.Bool // watches alone see nothing
	hang  atomic.Bool // reads wait for their contexts
	store cluster.Store
}

func (c *storeCut) Connect(ctx context.Context, o node.LinkOptions) (*node.Link, error) {
	link, err := c.Connector.Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	c.store = link.Store
	link.Store = cutStore{link.Store, c}
	return link, nil
}

type cutStore struct {
	cluster.Store
	c *storeCut
}

func (s cutStore) away() error {
	if s.c.cut.Load() {
		return cluster.ErrUnavailable
	}
	return nil
}

func (s cutStore) Get(ctx context.Context, k cluster.Key) (cluster.Entry, error) {
	if s.c.hang.Load() {
		<-ctx.Done()
		return cluster.Entry{}, cluster.ErrUnavailable
	}
	if err := s.away(); err != nil {
		return cluster.Entry{}, err
	}
	return s.Store.Get(ctx, k)
}

func (s cutStore) Create(ctx context.Context, k cluster.Key, v []byte) (uint64, error) {
	if err := s.away(); err != nil {
		return 0, err
	}
	return s.Store.Create(ctx, k, v)
}

func (s cutStore) Update(ctx context.Context, k cluster.Key, v []byte, expect uint64) (uint64, error) {
	if err := s.away(); err != nil {
		return 0, err
	}
	return s.Store.Update(ctx, k, v, expect)
}

func (s cutStore) Delete(ctx context.Context, k cluster.Key, expect uint64) error {
	if err := s.away(); err != nil {
		return err
	}
	return s.Store.Delete(ctx, k, expect)
}

func (s cutStore) Watch(ctx context.Context, kind cluster.Kind, fn func(cluster.Change)) (func(), error) {
	return s.Store.Watch(ctx, kind, func(ch cluster.Change) {
		if s.away() == nil && !s.c.deaf.Load() {
			fn(ch)
		}
	})
}

// While its node does not reach the records, a cluster-wide server pauses, and
// goes on with its state when it does; a node-local one does not notice.
func TestServersPauseWithoutTheRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		cut := &storeCut{Connector: m}
		n1 := start(t, config("n1", cut, public("box", hooks{}), local("own", hooks{})))
		n2 := start(t, config("n2", m))
		noErr(t, "cast", n2.Ref("box").Cast(t.Context(), Put{X: 7}))
		before := get(t, n2.Ref("box"))
		cut.cut.Store(true)
		<-time.After(5 * time.Second)
		get(t, n2.Ref("box"))              // the lease holds still
		<-time.After(15 * time.Second / 2) // and not for so long that it is declared dead
		for _, from := range []*node.Node{n1, n2} {
			_, err := genserver.Call(t.Context(), from.Ref("box"), Get{}, genserver.WithTimeout(time.Second/2))
			if !errors.Is(err, genserver.ErrTimeout) {
				t.Errorf("call from %s while the gate is closed: got %v, want a timeout", from.Name(), err)
			}
		}
		if err := n1.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "pause") {
			t.Errorf("ready: got %v, want that servers pause", err)
		}
		get(t, n2.Ref("own").On("n1"))
		waiting := callAsync(n2.Ref("box"), Get{}, genserver.WithTimeout(time.Minute))
		<-time.After(time.Second / 2)
		cut.cut.Store(false)
		noErr(t, "the call that waited", receive(t, "the call that waited", waiting))
		if after := get(t, n2.Ref("box")); after != before {
			t.Errorf("got %+v after the pause, want %+v", after, before)
		}
		noErr(t, "ready", n1.Ready(t.Context()))
	})
}

// A node that was declared dead ends its cluster-wide servers as fenced and then
// its tree, and says so; the name is served by its new owner.
func TestDeclaredDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		cut := &storeCut{Connector: m}
		var box *genserver.Process
		ends := make(chan string, 10)
		h := born(&box, hooks{terminate: func(reason error) { ends <- "box: " + reason.Error() }})
		log := &logBook{}
		cfg := config("n1", cut, public("box", h), local("own", hooks{terminate: func(reason error) { ends <- "own: " + reason.Error() }}))
		cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
		n1 := start(t, cfg)
		ran := make(chan error, 1)
		go func() { ran <- n1.Run(context.Background()) }()
		cut.cut.Store(true)
		n2 := start(t, config("n2", m, public("box", hooks{}))) // which judges n1, in its time
		<-time.After(17 * time.Second)
		if box.Reason() != nil {
			t.Errorf("got the end %v before n1 has read of its death, want a pause", box.Reason())
		}
		cut.cut.Store(false)
		err := receive(t, "the end of n1", ran)
		if !errors.Is(err, genserver.ErrFenced) {
			t.Fatalf("run: got %v, want fenced", err)
		}
		wantText(t, "run", err, "node n1 was declared dead", "ses."+n1.Incarnation())
		if !errors.Is(box.Reason(), genserver.ErrFenced) {
			t.Errorf("box: got the end %v, want fenced", box.Reason())
		}
		if got := <-ends; got != "own: shutdown" || len(ends) > 0 {
			t.Errorf("got the end %q and %d more, want own's shutdown alone", got, len(ends))
		}
		if got := get(t, n2.Ref("box")).Node; got != "n2" {
			t.Errorf("owner: got %s, want n2", got)
		}
		if text := log.String(); strings.Contains(text, "crashed") {
			t.Errorf("got a crash in the log, want none:\n%s", text)
		}
	})
}

// A name whose record was taken away is lost, though the session lives.
func TestNameLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		cut := &storeCut{Connector: m}
		var box *genserver.Process
		n1 := start(t, config("n1", cut, public("box", born(&box, hooks{})), public("other", hooks{})))
		key := cluster.Key{Kind: cluster.KindOwner, Name: "box"}
		e, err := cut.store.Get(t.Context(), key)
		noErr(t, "read the record", err)
		noErr(t, "remove the record", cut.store.Delete(t.Context(), key, e.Seq))
		<-box.Exited()
		if !errors.Is(box.Reason(), genserver.ErrFenced) {
			t.Errorf("got the end %v, want fenced", box.Reason())
		}
		n2 := start(t, config("n2", m, public("box", hooks{})))
		for _, n := range []*node.Node{n1, n2} {
			if got := get(t, n.Ref("box")).Node; got != "n2" {
				t.Errorf("owner seen by %s: got %s, want n2", n.Name(), got)
			}
			if got := get(t, n.Ref("other")).Node; got != "n1" {
				t.Errorf("other's owner seen by %s: got %s, want n1", n.Name(), got)
			}
		}
		stop(t, n1)
		if got := get(t, n2.Ref("box")).Node; got != "n2" {
			t.Errorf("owner after n1's stop: got %s, want n2", got)
		}
	})
}

// A message that was sent to an earlier ownership is not handled by the present one.
func TestOldEpochsAreRefused(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		n1 := start(t, config("n1", nats, public("box", hooks{})))
		var epoch uint64
		n2 := start(t, config("n2", nats, public("late", hooks{init: func(ctx *genserver.Context) error { epoch = ctx.Epoch(); return nil }})))
		get(t, n1.Ref("late"))
		link, err := nats.Connect(t.Context(), node.LinkOptions{Node: "x", Cluster: "dev", Logger: quiet})
		noErr(t, "connect", err)
		subjects, err := transport.NewSubjects("dev")
		noErr(t, "subjects", err)
		for e, want := range map[uint64]error{epoch - 1: genserver.ErrMoved, epoch: nil, 0: nil} {
			_, err := transport.Request(soon(t), link.Conn, transport.Route{Subject: subjects.Node(n2.Incarnation(), "late"), Epoch: e},
				&genserver.Outgoing{Envelope: genserver.Envelope{To: "late", Kind: genserver.KindCall, Op: "get"}, Message: Get{}})
			if want == nil {
				noErr(t, "call", err)
				continue
			}
			wantErr(t, "call with an old epoch", err, want, true)
		}
		dropped := n2.System().Stats().Dropped
		noErr(t, "cast", transport.Publish(link.Conn, transport.Route{Subject: subjects.Node(n2.Incarnation(), "late"), Epoch: epoch - 1},
			&genserver.Outgoing{Envelope: genserver.Envelope{To: "late", Kind: genserver.KindCast, Op: "put"}, Message: Put{X: 9}}))
		noErr(t, "flush", link.Conn.Flush(soon(t)))
		noErr(t, "disconnect", link.Close(soon(t)))
		for until := time.Now().Add(20 * time.Second); n2.System().Stats().Dropped == dropped && time.Now().Before(until); {
			<-time.After(time.Millisecond)
		}
		if got := get(t, n2.Ref("late")).X; got != 0 {
			t.Errorf("got x = %d, want the cast of an old epoch dropped", got)
		}
		if got := n2.System().Stats().Dropped - dropped; got != 1 {
			t.Errorf("got %d dropped, want 1", got)
		}
	})
}
