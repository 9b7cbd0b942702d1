package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
)

// After a claim that was unknown for a while, the epoch is that of a write that
// was acknowledged, and the record's.
func TestUnknownClaimIsSettled(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string][]fault{
		"done":                {unknownDone},
		"lost":                {unknownLost},
		"lost twice":          {unknownLost, unknownLost},
		"lost, then away":     {unknownLost, unavailable, unavailable},
		"away":                {unavailable, unavailable},
		"away, then done":     {unavailable, unknownDone},
		"late, then it works": {unknownLate},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &faultStore{Store: cluster.NewMemory().Open()}
			r := join(t, s, "n1")
			s.once("create", faults...)
			epoch := claim(t, r, "a")
			s.release() // what was late comes now, and is refused
			e, err := s.Get(t.Context(), own("a"))
			if err != nil || e.Seq != epoch {
				t.Errorf("got record's sequence %d, error %v, want the epoch %d", e.Seq, err, epoch)
			}
			release(t, r, "a")
		})
	}
}

// The first write arrives while the claim is looking: the record names us, and
// a write of ours on top of it settles that.
func TestLateClaimIsWrittenAgain(t *testing.T) {
	t.Parallel()
	s := &faultStore{Store: cluster.NewMemory().Open()}
	r := join(t, s, "n1")
	creates := 0
	s.on(func(op string, _ cluster.Key) fault {
		if op == "create" {
			if creates++; creates == 1 {
				return unknownLate
			}
			go s.release()
			return unavailable // until the late one has arrived
		}
		return none
	})
	epoch := claim(t, r, "a")
	e, err := s.Get(t.Context(), own("a"))
	if err != nil || e.Seq != epoch || epoch < 3 { // node, late create, update
		t.Errorf("got epoch %d, record's sequence %d, error %v, want both the update's", epoch, e.Seq, err)
	}
}

func TestUnknownClaimOfAnothersName(t *testing.T) {
	t.Parallel()
	m := cluster.NewMemory()
	claim(t, join(t, m.Open(), "n2"), "a")
	s := &faultStore{Store: m.Open()}
	r := join(t, s, "n1")
	s.once("create", unknownLost)
	_, err := r.Claim(t.Context(), "a")
	wantCode(t, err, genserver.ErrNameTaken, "a", false)
}

// A claim that stays unknown is not owned; its record goes away by itself.
func TestUnsettledClaimIsRemoved(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]fault{"done": unknownDone, "late": unknownLate, "lost": unknownLost} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := cluster.NewMemory()
			s := &faultStore{Store: m.Open()}
			r, other := join(t, s, "n1"), join(t, m.Open(), "n2")
			s.on(func(op string, k cluster.Key) fault {
				switch {
				case k.Kind != cluster.KindOwner:
					return none
				case op == "create":
					return f
				default:
					return unavailable
				}
			})
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, err := r.Claim(ctx, "a")
			wantCode(t, err, genserver.ErrUnavailable, "a", false)
			wantText(t, err, "outcome unknown")

			s.on(nil)
			eventually(t, "another can claim it", func() bool {
				_, err := other.Claim(t.Context(), "a")
				return err == nil
			})
			s.release()
			leave(t, other)
			leave(t, r)
			for _, k := range []cluster.Key{own("a"), {Kind: cluster.KindNode, Name: "n1"}} {
				if _, err := m.Open().Get(t.Context(), k); !errors.Is(err, cluster.ErrNotFound) {
					t.Errorf("%s after Leave: got %v, want not found", k, err)
				}
			}
		})
	}
}

func TestUnknownReleaseIsFinished(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]fault{"done": unknownDone, "lost": unknownLost, "late": unknownLate, "away": unavailable} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := cluster.NewMemory()
			s := &faultStore{Store: m.Open()}
			r, other := join(t, s, "n1"), join(t, m.Open(), "n2")
			old := claim(t, r, "a")
			first := true
			s.on(func(op string, _ cluster.Key) fault {
				if op == "delete" && first {
					first = false
					return f
				}
				if op == "delete" || op == "get" {
					return unavailable
				}
				return none
			})
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			wantCode(t, r.Release(ctx, "a"), genserver.ErrUnavailable, "a", false)
			s.on(nil)
			if f == unknownLost { // claimed anew by the same node, above what it has released
				if epoch := claim(t, r, "a"); epoch <= old {
					t.Errorf("got epoch %d, want more than %d", epoch, old)
				}
				release(t, r, "a")
			}
			eventually(t, "another can claim it", func() bool {
				_, err := other.Claim(t.Context(), "a")
				return err == nil
			})
		})
	}
}

// Leave finishes what a claim under way has begun.
func TestLeaveDuringClaim(t *testing.T) {
	t.Parallel()
	m := cluster.NewMemory()
	s := &faultStore{Store: m.Open()}
	r := join(t, s, "n1")
	claim(t, r, "b")
	began := make(chan struct{})
	var once sync.Once
	s.on(func(op string, k cluster.Key) fault {
		if op == "create" && k == own("a") {
			once.Do(func() { close(began) })
			return unknownDone
		}
		if op == "get" && k == own("a") {
			return unavailable
		}
		return none
	})
	failed := make(chan error, 1)
	go func() {
		_, err := r.Claim(t.Context(), "a")
		failed <- err
	}()
	<-began
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, <-failed, genserver.ErrUnavailable, "a", false)
	s.on(nil)
	leave(t, r)
	other := join(t, m.Open(), "n1")
	claim(t, other, "a")
	claim(t, other, "b")
}

func TestLeaveSaysWhatIsLeft(t *testing.T) {
	t.Parallel()
	s := &faultStore{Store: cluster.NewMemory().Open()}
	r := join(t, s, "n1")
	for i := range 15 {
		claim(t, r, fmt.Sprintf("s%d", i))
	}
	s.on(func(string, cluster.Key) fault { return unavailable })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	wantText(t, r.Leave(ctx), "leave as node n1", "and 5 more")
	s.on(nil)
	leave(t, r)
}

// A join without acknowledgement leaves nothing that the next one trips over.
func TestUnknownJoin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &faultStore{Store: cluster.NewMemory().Open()}
		s.on(func(op string, _ cluster.Key) fault {
			if op == "create" {
				return unknownLate
			}
			return none
		})
		_, err := cluster.Join(t.Context(), s, cluster.NodeInfo{Node: "n1"})
		wantCode(t, err, genserver.ErrUnavailable, "", false)
		wantText(t, err, "nothing is left")
		s.on(nil)
		s.release()
		leave(t, join(t, s, "n1"))
	})
}

// While the store is away an unknown name cannot be told from a missing one: the
// caller waits as long as it can.
func TestResolveWhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := cluster.NewMemory()
		s := &faultStore{Store: m.Open()}
		r, other := join(t, s, "n1"), join(t, m.Open(), "n2")
		epoch := claim(t, other, "a")
		synctest.Wait() // the watch has seen it before it is asked for
		s.on(func(string, cluster.Key) fault { return unavailable })

		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := r.Resolve(ctx, "a")
		wantCode(t, err, genserver.ErrUnavailable, "a", true)
		if got := time.Since(began); got != 3*time.Second {
			t.Errorf("got an answer after %v, want at the deadline", got)
		}
		began = time.Now()
		_, err = r.Resolve(context.WithoutCancel(t.Context()), "a")
		wantCode(t, err, genserver.ErrUnavailable, "a", true)
		if got := time.Since(began); got != 5*time.Second {
			t.Errorf("got an answer after %v, want 5s", got)
		}
		time.AfterFunc(time.Second, func() { s.on(nil) })
		wantOwner(t, r, "a", other, epoch)
		leave(t, other)
		leave(t, r)
	})
}

// Whatever the store does, no two nodes own a name at once, and epochs grow.
func TestOneOwnerUnderFaults(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { oneOwnerUnderFaults(t, seed) })
		})
	}
}

func oneOwnerUnderFaults(t *testing.T, seed uint64) {
	const nodes, names, rounds = 4, 3, 60
	var (
		m     = cluster.NewMemory()
		mu    sync.Mutex
		owner = map[string]int{}
		epoch = map[string]uint64{}
		wg    sync.WaitGroup
	)
	for n := range nodes {
		rng := rand.New(rand.NewPCG(seed, uint64(n)))
		var faults sync.Mutex
		fates := rand.New(rand.NewPCG(seed, uint64(n+100)))
		s := &faultStore{Store: m.Open()}
		r := join(t, s, fmt.Sprintf("n%d", n))
		s.on(func(string, cluster.Key) fault {
			faults.Lock()
			defer faults.Unlock()
			if fates.IntN(2) == 0 {
				return none
			}
			return fault(fates.IntN(int(unknownLate) + 1))
		})
		wg.Go(func() {
			defer leave(t, r)
			defer s.on(nil)
			mine := map[string]bool{}
			for range rounds {
				name := fmt.Sprintf("s%d", rng.IntN(names))
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rng.IntN(200))*time.Millisecond)
				if mine[name] {
					mu.Lock()
					delete(owner, name)
					mu.Unlock()
					delete(mine, name)
					_ = r.Release(ctx, name)
				} else if e, err := r.Claim(ctx, name); err == nil {
					mu.Lock()
					if other, held := owner[name]; held {
						t.Errorf("%s: nodes %d and %d own it at once", name, other, n)
					}
					if e <= epoch[name] {
						t.Errorf("%s: got epoch %d after %d", name, e, epoch[name])
					}
					owner[name], epoch[name] = n, e
					mu.Unlock()
					mine[name] = true
				}
				cancel()
				<-time.After(time.Duration(rng.IntN(50)) * time.Millisecond) // fake time, to mix the nodes
				if rng.IntN(3) == 0 {
					s.release()
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for name := range mine {
				delete(owner, name)
			}
		})
	}
	wg.Wait()
	for i := range names {
		if e, err := m.Open().Get(t.Context(), own(fmt.Sprintf("s%d", i))); !errors.Is(err, cluster.ErrNotFound) {
			t.Errorf("after all have left: got %s, error %v, want no record", e.Value, err)
		}
	}
}
