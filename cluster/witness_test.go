package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
)

// fakeNATS has servers whose connections end when told to.
type fakeNATS struct {
	mu      sync.Mutex
	servers []string
	next    uint64
	conns   map[cluster.Witness]*fakeConn
	ended   []cluster.Witness
	told    map[int]func(cluster.Witness)
	quiet   bool // nobody is told
	mum     error
	asked   int
}

func newFakeNATS(servers ...string) *fakeNATS {
	return &fakeNATS{servers: servers, conns: map[cluster.Witness]*fakeConn{}, told: map[int]func(cluster.Witness){}}
}

// fakeLinks are one node's.
type fakeLinks struct {
	*fakeNATS
	mu     sync.Mutex
	silent bool // it gets no PONG
	mute   error
}

type fakeConn struct {
	links   *fakeLinks
	witness cluster.Witness
	once    sync.Once
	done    chan struct{}
}

func (l *fakeLinks) DialWitness(_ context.Context, except []string) (cluster.WitnessConn, error) {
	n := l.fakeNATS
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.servers {
		if !slices.Contains(except, s) {
			n.next++
			c := &fakeConn{links: l, witness: cluster.Witness{Server: s, Client: n.next}, done: make(chan struct{})}
			n.conns[c.witness] = c
			return c, nil
		}
	}
	return nil, errors.New("no other server")
}

func (l *fakeLinks) Disconnects(_ context.Context, fn func(cluster.Witness), state func(error)) (func(), error) {
	l.mu.Lock()
	mute := l.mute
	l.mu.Unlock()
	if mute != nil {
		return nil, mute
	}
	state(nil)
	n := l.fakeNATS
	n.mu.Lock()
	defer n.mu.Unlock()
	n.next++
	id := int(n.next) //nolint:gosec // it is small
	n.told[id] = fn
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.told, id)
	}, nil
}

func (l *fakeLinks) hush(silent bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent = silent
}

func (l *fakeLinks) Ended(_ context.Context, all []cluster.Witness) (ended []cluster.Witness, err error) {
	l.fakeNATS.mu.Lock()
	defer l.fakeNATS.mu.Unlock()
	l.asked++
	for _, w := range all {
		if slices.Contains(l.ended, w) && l.mum == nil {
			ended = append(ended, w)
		}
	}
	return ended, l.mum
}

func (c *fakeConn) Witness() cluster.Witness { return c.witness }
func (c *fakeConn) Done() <-chan struct{}    { return c.done }
func (c *fakeConn) Close()                   { c.links.end(c.witness) }

func (c *fakeConn) Ping(ctx context.Context) error {
	c.links.mu.Lock()
	silent := c.links.silent
	c.links.mu.Unlock()
	if !silent {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// end is that of a connection, and everyone is told.
func (n *fakeNATS) end(w cluster.Witness) {
	n.mu.Lock()
	c := n.conns[w]
	delete(n.conns, w)
	var fns []func(cluster.Witness)
	for _, fn := range n.told {
		if !n.quiet {
			fns = append(fns, fn)
		}
	}
	if c != nil {
		n.ended = append(n.ended, w)
	}
	n.mu.Unlock()
	if c == nil {
		return
	}
	c.once.Do(func() { close(c.done) })
	for _, fn := range fns {
		fn(w)
	}
}

// of are the witnesses of a node.
func (n *fakeNATS) of(l *fakeLinks) (ws []cluster.Witness) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for w, c := range n.conns {
		if c.links == l {
			ws = append(ws, w)
		}
	}
	return ws
}

func joinLinked(t *testing.T, s cluster.Store, node string, l cluster.Links) *cluster.Registry {
	t.Helper()
	r, err := cluster.Join(t.Context(), s, cluster.NodeInfo{Node: node, Links: l})
	if err != nil {
		t.Fatalf("join as %s: %v", node, err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// A node that has died is succeeded within a second where its witnesses' ends
// are told, and no sooner than its gate has closed.
func TestFastDeath(t *testing.T) {
	t.Parallel()
	for _, servers := range [][]string{{"A"}, {"A", "B"}, {"A", "B", "C"}} {
		t.Run(fmt.Sprint(len(servers)), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, nats := cluster.NewMemory(), newFakeNATS(servers...)
				links := &fakeLinks{fakeNATS: nats}
				r1, r2 := joinLinked(t, m.Open(), "n1", links), joinLinked(t, m.Open(), "n2", &fakeLinks{fakeNATS: nats})
				old := claim(t, r1, "a")
				<-time.After(3*time.Second + 50*time.Millisecond)
				if got, want := len(nats.of(links)), min(2, len(servers)); got != want {
					t.Fatalf("got %d witnesses, want %d", got, want)
				}
				down := make(chan error, 1)
				r2.Follow(r1.Incarnation(), func(reason error) { down <- reason })
				<-time.After(time.Second)

				began := time.Now()
				if err := r1.Close(); err != nil { // as a crash would
					t.Fatal(err)
				}
				if reason := <-down; !errors.Is(reason, genserver.ErrNodeDown) {
					t.Errorf("follower: got %v, want ErrNodeDown", reason)
				}
				if took := time.Since(began); took < 700*time.Millisecond || took > 800*time.Millisecond {
					t.Errorf("got the verdict after %v, want it after 0.7s", took)
				}
				if epoch := claim(t, r2, "a"); epoch <= old {
					t.Errorf("epoch: got %d after %d, want more", epoch, old)
				}
				leave(t, r2)
			})
		})
	}
}

// A death of which nobody was told is known soon, too: NATS is asked. Where it does not
// say, the silence has to last.
func TestUnnoticedDeath(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		mum           error
		least, atMost time.Duration
		before        bool // the other node was there before
	}{
		{name: "a node alone that is started anew", least: 1700 * time.Millisecond, atMost: 2 * time.Second},
		{name: "the words were lost", before: true, least: 700 * time.Millisecond, atMost: 3500 * time.Millisecond},
		{name: "NATS does not say", mum: errors.New("denied"), least: 14 * time.Second, atMost: 16 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, nats := cluster.NewMemory(), newFakeNATS("A", "B")
				nats.quiet, nats.mum = true, c.mum
				r1 := joinLinked(t, m.Open(), "n1", &fakeLinks{fakeNATS: nats})
				old := claim(t, r1, "a")
				var r2 *cluster.Registry
				down := make(chan error, 1)
				if c.before {
					r2 = joinLinked(t, m.Open(), "n2", &fakeLinks{fakeNATS: nats})
					r2.Follow(r1.Incarnation(), func(reason error) { down <- reason })
				}
				<-time.After(10 * time.Second)
				if nats.asked > 0 {
					t.Errorf("got %d questions about nodes that live, want none", nats.asked)
				}
				if err := r1.Close(); err != nil { // as a crash would
					t.Fatal(err)
				}
				began := time.Now()
				if c.before {
					<-down
				} else {
					r2 = joinLinked(t, m.Open(), "n2", &fakeLinks{fakeNATS: nats})
				}
				if epoch := claim(t, r2, "a"); epoch <= old {
					t.Errorf("epoch: got %d after %d, want more", epoch, old)
				}
				if took := time.Since(began); took < c.least || took > c.atMost {
					t.Errorf("got the name after %v, want it after %v to %v", took, c.least, c.atMost)
				}
				leave(t, r2)
			})
		})
	}
}

// That NATS can't be asked is said once, with what to do; that it did not answer, not
// at all: it may the next time.
func TestUnaskedIsSaidOnce(t *testing.T) {
	t.Parallel()
	for mum, want := range map[error]int{
		fmt.Errorf("%w: not permitted", cluster.ErrNotAsked): 1,
		errors.New("no connection"):                          0,
	} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			m, nats := cluster.NewMemory(), newFakeNATS("A", "B")
			nats.quiet, nats.mum = true, mum
			r1 := joinLinked(t, m.Open(), "n1", &fakeLinks{fakeNATS: nats})
			<-time.After(5 * time.Second)
			if err := r1.Close(); err != nil { // as a crash would
				t.Fatal(err)
			}
			r2, err := cluster.Join(t.Context(), m.Open(), cluster.NodeInfo{
				Node: "n2", Links: &fakeLinks{fakeNATS: nats}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
			})
			if err != nil {
				t.Fatal(err)
			}
			down := make(chan error, 1)
			r2.Follow(r1.Incarnation(), func(reason error) { down <- reason })
			<-down
			leave(t, r2)
			if got := strings.Count(log.String(), mum.Error()); got != want || nats.asked < 5 {
				t.Errorf("%v: got it said %d times in %d questions, want %d times in many", mum, got, nats.asked, want)
			}
		})
	}
}

// A living node that loses its witnesses has others at once, and loses nothing
// else.
func TestWitnessesAreReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, nats := cluster.NewMemory(), newFakeNATS("A", "B")
		links := &fakeLinks{fakeNATS: nats}
		r1, r2 := joinLinked(t, m.Open(), "n1", links), joinLinked(t, m.Open(), "n2", &fakeLinks{fakeNATS: nats})
		epoch := claim(t, r1, "a")
		stop := r2.Follow(r1.Incarnation(), func(reason error) { t.Errorf("the living node: got %v", reason) })
		<-time.After(3 * time.Second)
		for range 20 {
			for _, w := range nats.of(links) {
				nats.end(w)
			}
			<-time.After(300 * time.Millisecond)
			if !r1.Gate().Open() {
				t.Error("gate 300ms after the witnesses were lost: got closed, want open")
			}
		}
		<-time.After(time.Minute)
		wantOwner(t, r2, "a", r1, epoch)
		stop()
		leave(t, r1)
		leave(t, r2)
	})
}

// Silent witnesses close the gate when the last PONG holds no more. Once they are
// given up and a version names none, the lease opens it again.
func TestSilentWitnesses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, nats := cluster.NewMemory(), newFakeNATS("A", "B")
		links := &fakeLinks{fakeNATS: nats}
		r1, r2 := joinLinked(t, m.Open(), "n1", links), joinLinked(t, m.Open(), "n2", &fakeLinks{fakeNATS: nats})
		claim(t, r1, "a")
		<-time.After(3*time.Second + 50*time.Millisecond)
		links.hush(true)
		began := time.Now()
		<-time.After(350 * time.Millisecond)
		if !r1.Gate().Open() {
			t.Error("gate after 350ms of silence: got closed, want open")
		}
		<-time.After(300 * time.Millisecond)
		if r1.Gate().Open() {
			t.Error("gate after 650ms of silence: got open, want closed")
		}
		<-time.After(2 * time.Second)
		if !r1.Gate().Open() {
			t.Errorf("gate after %v of silence: got closed, want open by the lease", time.Since(began))
		}
		links.hush(false)
		<-time.After(2 * time.Second)
		if got := len(nats.of(links)); got != 2 || !r1.Gate().Open() {
			t.Errorf("with PONGs again: got %d witnesses, gate open %v, want 2 and open", got, r1.Gate().Open())
		}
		leave(t, r1)
		leave(t, r2)
	})
}

// Without events a node names no witnesses, and asks again.
func TestNoEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, nats := cluster.NewMemory(), newFakeNATS("A", "B")
		links := &fakeLinks{fakeNATS: nats, mute: fmt.Errorf("%w: none came", cluster.ErrNoEvents)}
		r := joinLinked(t, m.Open(), "n1", links)
		<-time.After(20 * time.Second)
		if err := r.Events(); !errors.Is(err, cluster.ErrNoEvents) {
			t.Errorf("Events: got %v, want ErrNoEvents", err)
		}
		if got := len(nats.of(links)); got != 0 {
			t.Errorf("got %d witnesses, want none", got)
		}
		if !r.Gate().Open() {
			t.Error("gate: got closed, want open")
		}
		links.mu.Lock()
		links.mute = nil
		links.mu.Unlock()
		<-time.After(20 * time.Second)
		if err := r.Events(); err != nil {
			t.Errorf("Events, when there are some: got %v, want nil", err)
		}
		if got := len(nats.of(links)); got != 2 {
			t.Errorf("got %d witnesses, want 2", got)
		}
		if !r.Gate().Open() {
			t.Error("gate: got closed, want open")
		}
		leave(t, r)
	})
}
