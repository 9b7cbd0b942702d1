package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
)

// bundle is one set of records and the handles to it.
type bundle struct{ open func() *faultStore }

func onEachStore(t *testing.T, run func(t *testing.T, b bundle)) {
	t.Helper()
	t.Parallel()
	for name, open := range stores(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			handle := open(t)
			run(t, bundle{open: func() *faultStore {
				s := handle()
				t.Cleanup(func() { _ = s.Close() })
				return &faultStore{Store: s}
			}})
		})
	}
}

const often = 20 * time.Millisecond // rounds of the background in tests

func join(t *testing.T, s cluster.Store, node string) *cluster.Registry {
	t.Helper()
	r, err := cluster.JoinEvery(t.Context(), s, cluster.NodeInfo{Node: node}, often)
	if err != nil {
		t.Fatalf("Join(%s): %v", node, err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func claim(t *testing.T, r *cluster.Registry, name string) uint64 {
	t.Helper()
	epoch, err := r.Claim(t.Context(), name)
	if err != nil {
		t.Fatalf("Claim(%s): %v", name, err)
	}
	return epoch
}

func release(t *testing.T, r *cluster.Registry, name string) {
	t.Helper()
	if err := r.Release(t.Context(), name); err != nil {
		t.Fatalf("Release(%s): %v", name, err)
	}
}

func leave(t *testing.T, r *cluster.Registry) {
	t.Helper()
	if err := r.Leave(t.Context()); err != nil {
		t.Fatalf("Leave: %v", err)
	}
}

func wantOwner(t *testing.T, r *cluster.Registry, name string, of *cluster.Registry, epoch uint64) {
	t.Helper()
	got, err := r.Resolve(t.Context(), name)
	if want := (cluster.Owner{Node: of.Node(), Incarnation: of.Incarnation(), Epoch: epoch}); err != nil || got != want {
		t.Errorf("Resolve(%s): got %+v, error %v, want %+v", name, got, err, want)
	}
}

func wantCode(t *testing.T, err error, want *genserver.Error, server string, notDelivered bool) {
	t.Helper()
	var e *genserver.Error
	if !errors.As(err, &e) || !errors.Is(err, want) || e.Server != server || genserver.NotDelivered(err) != notDelivered {
		t.Errorf("got %#v, want code %s, server %q, not delivered %v", err, want.Code, server, notDelivered)
	}
}

func TestNodeNameIsBorneOnce(t *testing.T) {
	onEachStore(t, func(t *testing.T, b bundle) {
		s := b.open()
		first := join(t, s.Store, "n1")
		_, err := cluster.Join(t.Context(), b.open().Store, cluster.NodeInfo{Node: "n1"})
		wantCode(t, err, genserver.ErrNameTaken, "", false)
		host, _ := os.Hostname()
		wantText(t, err, "join as node n1", first.Incarnation(), host, fmt.Sprint("pid ", os.Getpid()), time.Now().UTC().Format("2006-01-02T"), "another name")
		leave(t, first)
		leave(t, first) // again is harmless
		second := join(t, b.open(), "n1")
		if second.Incarnation() == first.Incarnation() {
			t.Error("got the same incarnation twice")
		}
		leave(t, second)
	})
}

func TestBadNodeName(t *testing.T) {
	t.Parallel()
	_, err := cluster.Join(t.Context(), cluster.NewMemory().Open(), cluster.NodeInfo{Node: "a.b"})
	wantText(t, err, `node name "a.b"`)
}

func TestNameIsOwnedOnce(t *testing.T) {
	onEachStore(t, func(t *testing.T, b bundle) {
		n1, n2 := join(t, b.open(), "n1"), join(t, b.open(), "n2")
		first := claim(t, n1, "rate.limiter")
		_, err := n2.Claim(t.Context(), "rate.limiter")
		wantCode(t, err, genserver.ErrNameTaken, "rate.limiter", false)
		wantText(t, err, "node n1", n1.Incarnation(), fmt.Sprint("epoch ", first))
		_, err = n1.Claim(t.Context(), "rate.limiter")
		wantCode(t, err, genserver.ErrNameTaken, "rate.limiter", false)

		release(t, n2, "rate.limiter") // not its own: nothing happens
		wantOwner(t, n2, "rate.limiter", n1, first)
		release(t, n1, "rate.limiter")
		release(t, n1, "rate.limiter")
		second := claim(t, n2, "rate.limiter")
		if second <= first {
			t.Errorf("got epoch %d after %d, want more", second, first)
		}
		if _, err := n1.Claim(t.Context(), "bad name"); err == nil {
			t.Error("Claim of a malformed name: got nil, want an error")
		}
		leave(t, n2)
		claim(t, n1, "rate.limiter")
	})
}

// A process that ends without Leave keeps its names until it is known to be dead.
func TestCloseLeavesTheRecords(t *testing.T) {
	onEachStore(t, func(t *testing.T, b bundle) {
		n1, n2 := join(t, b.open(), "n1"), join(t, b.open(), "n2")
		claim(t, n1, "a")
		if err := n1.Close(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := n2.Claim(ctx, "a")
		wantCode(t, err, genserver.ErrNameTaken, "a", false)
		_, err = n1.Claim(t.Context(), "b")
		wantCode(t, err, genserver.ErrUnavailable, "b", true)
		wantCode(t, n1.Release(t.Context(), "a"), genserver.ErrUnavailable, "a", true)
		_, err = n1.Resolve(t.Context(), "a")
		wantCode(t, err, genserver.ErrUnavailable, "a", true)
		leave(t, n1) // cleans up even now
		claim(t, n2, "a")
	})
}

func TestResolve(t *testing.T) {
	onEachStore(t, func(t *testing.T, b bundle) {
		s1 := b.open()
		n1, n2 := join(t, s1, "n1"), join(t, b.open(), "n2")
		_, err := n1.Resolve(t.Context(), "a")
		wantCode(t, err, genserver.ErrNoProcess, "a", true)
		_, err = n1.Resolve(t.Context(), "a b")
		wantCode(t, err, genserver.ErrNoProcess, "a b", true)

		epoch := claim(t, n2, "a") // found at once: that it was unknown is not remembered
		wantOwner(t, n1, "a", n2, epoch)
		wantOwner(t, n2, "a", n2, epoch)

		// The watch brings the next owner.
		release(t, n2, "a")
		n3 := join(t, b.open(), "n3")
		epoch = claim(t, n3, "a")
		eventually(t, "the new owner is known", func() bool {
			o, err := n1.Resolve(t.Context(), "a")
			return err == nil && o.Epoch == epoch
		})
		wantOwner(t, n1, "a", n3, epoch)
		release(t, n3, "a")
		eventually(t, "the name is unknown again", func() bool {
			_, err := n1.Resolve(t.Context(), "a")
			return errors.Is(err, genserver.ErrNoProcess)
		})
	})
}

func TestResolveNode(t *testing.T) {
	onEachStore(t, func(t *testing.T, b bundle) {
		n1, n2 := join(t, b.open(), "n1"), join(t, b.open(), "n2")
		for range 2 {
			got, err := n1.ResolveNode(t.Context(), "n2")
			if err != nil || got != n2.Incarnation() {
				t.Errorf("got %q, error %v, want %q", got, err, n2.Incarnation())
			}
			n1.ForgetNode("n2", n2.Incarnation())
		}
		_, err := n1.ResolveNode(t.Context(), "n9")
		wantCode(t, err, genserver.ErrNoProcess, "", true)
		_, err = n1.ResolveNode(t.Context(), "n.9")
		wantCode(t, err, genserver.ErrNoProcess, "", true)
		leave(t, n2)
		eventually(t, "the node is gone", func() bool {
			_, err := n1.ResolveNode(t.Context(), "n2")
			return errors.Is(err, genserver.ErrNoProcess)
		})
	})
}

func TestForgetReadsAgain(t *testing.T) {
	onEachStore(t, func(t *testing.T, b bundle) {
		s := b.open()
		s.deaf.Store(true)
		n1, err := cluster.Join(t.Context(), s, cluster.NodeInfo{Node: "n1"}) // no background within this test
		if err != nil {
			t.Fatal(err)
		}
		defer leave(t, n1)
		n2, n3 := join(t, b.open(), "n2"), join(t, b.open(), "n3")
		old := claim(t, n2, "a")
		wantOwner(t, n1, "a", n2, old)
		release(t, n2, "a")
		epoch := claim(t, n3, "a")
		wantOwner(t, n1, "a", n2, old) // the copies were lost

		n1.Forget("a", n3.Incarnation()) // not whom it knows
		wantOwner(t, n1, "a", n2, old)
		n1.Forget("a", n2.Incarnation())
		wantOwner(t, n1, "a", n3, epoch)
	})
}

// A route in doubt is kept while the store is away, and corrected by a read as soon
// as it's back.
func TestDoubtReadsAgain(t *testing.T) {
	onEachStore(t, func(t *testing.T, b bundle) {
		s := b.open()
		s.deaf.Store(true)
		n1, err := cluster.Join(t.Context(), s, cluster.NodeInfo{Node: "n1"}) // no round of the background within this test
		if err != nil {
			t.Fatal(err)
		}
		defer leave(t, n1)
		n2, n3 := join(t, b.open(), "n2"), join(t, b.open(), "n3")
		old := claim(t, n2, "a")
		wantOwner(t, n1, "a", n2, old)
		release(t, n2, "a")
		epoch := claim(t, n3, "a")

		s.on(func(string, cluster.Key) fault { return unavailable })
		before := s.reads.Load()
		n1.Doubt("a", n2.Incarnation())
		eventually(t, "the doubted name is read", func() bool { return s.reads.Load() > before })
		wantOwner(t, n1, "a", n2, old) // the store is away

		s.on(nil)
		n1.Doubt("a", n3.Incarnation()) // not whom it knows
		wantOwner(t, n1, "a", n2, old)
		n1.Doubt("a", n2.Incarnation())
		eventually(t, "the doubted name is corrected", func() bool {
			o, err := n1.Resolve(t.Context(), "a")
			return err == nil && o.Epoch == epoch && o.Incarnation == n3.Incarnation()
		})
	})
}

// A copy that does not follow on the one before has the name read: others may
// have been lost, too.
func TestGapIsRepairedByARead(t *testing.T) {
	onEachStore(t, func(t *testing.T, b bundle) {
		s := b.open()
		n1, err := cluster.Join(t.Context(), s, cluster.NodeInfo{Node: "n1"}) // no round of the background within this test
		if err != nil {
			t.Fatal(err)
		}
		defer leave(t, n1)
		store := b.open()
		k := cluster.Key{Kind: cluster.KindOwner, Name: "a"}
		value, err := cluster.OwnerRecord{Incarnation: "I", Node: "n2"}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		write := func(expect uint64) uint64 {
			seq, err := store.Update(t.Context(), k, value, expect)
			if err != nil {
				t.Fatal(err)
			}
			return seq
		}
		known := func(epoch uint64) func() bool {
			return func() bool {
				o, err := n1.Resolve(t.Context(), "a")
				return err == nil && o.Epoch == epoch
			}
		}
		seq, err := store.Create(t.Context(), k, value)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the name is known", known(seq))
		before := s.reads.Load()
		seq = write(seq)
		eventually(t, "the next copy is seen", known(seq))
		if got := s.reads.Load(); got != before {
			t.Errorf("copies without a gap: got %d reads, want none", got-before)
		}
		s.deaf.Store(true)
		seq = write(seq)
		eventually(t, "the copy is lost", func() bool { return s.unseen.Load() > 0 })
		s.deaf.Store(false)
		before = s.reads.Load()
		seq = write(seq)
		eventually(t, "the copy after the gap is seen", known(seq))
		eventually(t, "the name is read", func() bool { return s.reads.Load() > before })
	})
}

func TestLostCopiesAreRepaired(t *testing.T) {
	onEachStore(t, func(t *testing.T, b bundle) {
		s := b.open()
		s.deaf.Store(true)
		n1, n2, n3 := join(t, s, "n1"), join(t, b.open(), "n2"), join(t, b.open(), "n3")
		wantOwner(t, n1, "a", n2, claim(t, n2, "a"))
		release(t, n2, "a")
		epoch := claim(t, n3, "a")
		eventually(t, "the background has read the name", func() bool {
			o, err := n1.Resolve(t.Context(), "a")
			return err == nil && o.Epoch == epoch
		})
		leave(t, n3)
		eventually(t, "the background has dropped the name", func() bool {
			_, err := n1.Resolve(t.Context(), "a")
			return errors.Is(err, genserver.ErrNoProcess)
		})
	})
}

func TestCachedResolveReadsNothing(t *testing.T) {
	t.Parallel()
	m := cluster.NewMemory()
	s := &faultStore{Store: m.Open()}
	n1, err := cluster.Join(t.Context(), s, cluster.NodeInfo{Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	defer leave(t, n1)
	n2 := join(t, m.Open(), "n2")
	epoch := claim(t, n2, "a")

	// Many who ask at once share one read, or find what it brought.
	before := s.reads.Load()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { wantOwner(t, n1, "a", n2, epoch) })
	}
	wg.Wait()
	if got := s.reads.Load() - before; got != 1 {
		t.Errorf("got %d reads, want 1", got)
	}
}

// A read that was overtaken by a watched change must not bring the old state back.
func TestWatchOvertakesRead(t *testing.T) {
	t.Parallel()
	m := cluster.NewMemory()
	n2, n3 := join(t, m.Open(), "n2"), join(t, m.Open(), "n3")
	claim(t, n2, "a")
	s := &slowReads{Store: m.Open(), read: make(chan struct{}), answer: make(chan struct{}), seen: make(chan uint64, 100)}
	n1 := join(t, s, "n1")

	got := make(chan cluster.Owner, 1)
	go func() {
		o, _ := n1.Resolve(t.Context(), "a")
		got <- o
	}()
	<-s.read // the old state is read, but not answered
	release(t, n2, "a")
	epoch := claim(t, n3, "a")
	for seen := range s.seen {
		if seen == epoch {
			break
		}
	}
	close(s.answer)
	if o := <-got; o.Epoch != epoch || o.Incarnation != n3.Incarnation() {
		t.Errorf("got %+v, want n3's epoch %d", o, epoch)
	}
}

type slowReads struct {
	cluster.Store
	read, answer chan struct{}
	seen         chan uint64
}

func (s *slowReads) Get(ctx context.Context, k cluster.Key) (cluster.Entry, error) {
	e, err := s.Store.Get(ctx, k)
	s.read <- struct{}{}
	<-s.answer
	return e, err
}

func (s *slowReads) Watch(ctx context.Context, kind cluster.Kind, fn func(cluster.Change)) (func(), error) {
	return s.Store.Watch(ctx, kind, func(c cluster.Change) {
		fn(c)
		s.seen <- c.Seq
	})
}

func TestConcurrentClaims(t *testing.T) {
	onEachStore(t, func(t *testing.T, b bundle) {
		const nodes, names = 6, 10
		var (
			mu   sync.Mutex
			wins = map[string]int{}
			wg   sync.WaitGroup
		)
		for i := range nodes {
			r := join(t, b.open(), fmt.Sprintf("n%d", i))
			for j := range names {
				name := fmt.Sprintf("s%d", j)
				wg.Go(func() {
					switch _, err := r.Claim(t.Context(), name); {
					case err == nil:
						mu.Lock()
						defer mu.Unlock()
						wins[name]++
					case !errors.Is(err, genserver.ErrNameTaken):
						t.Errorf("Claim: got %v, want nil or name taken", err)
					}
				})
			}
		}
		wg.Wait()
		for name, n := range wins {
			if n != 1 || len(wins) != names {
				t.Errorf("%s: got %d owners (%d names owned), want 1 (%d)", name, n, len(wins), names)
			}
		}
	})
}

func BenchmarkResolveCached(b *testing.B) {
	m := cluster.NewMemory()
	r, err := cluster.Join(b.Context(), m.Open(), cluster.NodeInfo{Node: "n1"})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Claim(b.Context(), "rate_limiter"); err != nil {
		b.Fatal(err)
	}
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := r.Resolve(b.Context(), "rate_limiter"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		ctx := b.Context()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := r.Resolve(ctx, "rate_limiter"); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}
