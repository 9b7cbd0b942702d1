package genserver_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

func startCluster(t testing.TB, s *genserver.System, name string, r genserver.Runnable) *genserver.Process {
	t.Helper()
	p, err := s.Start(context.Background(), name, r, genserver.SpawnOptions{Scope: genserver.Cluster})
	if err != nil {
		t.Fatalf("start %s: got %v, want nil", name, err)
	}
	return p
}

// What arrives for a cluster-wide name between two lives of its server is
// handled by the next one, in order.
func TestCallsBetweenTwoLivesWait(t *testing.T) {
	t.Parallel()
	for _, routed := range []bool{false, true} {
		t.Run(fmt.Sprintf("router=%v", routed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cfg, claims := genserver.Config{}, 0
				if routed {
					cfg.Router = &fakeRouter{claim: func(context.Context, string) (genserver.Claim, error) {
						claims++
						return &fakeClaim{epoch: 42}, nil
					}}
				}
				s := newSystem(t, cfg)
				p := startCluster(t, s, "p", orderTypes["typed"].With(struct{}{}))
				noErr(t, "stop", p.Stop(t.Context(), nil))

				ref, ctx := s.Ref("p"), t.Context()
				results, unknown := make(chan error, 2), make(chan error, 1)
				noErr(t, "cast", ref.Cast(ctx, Say{From: 1, N: 1}, genserver.Strict()))
				go func() { _, err := genserver.Call(ctx, ref, Ask{From: 1, N: 2}); results <- err }()
				synctest.Wait()
				noErr(t, "send", ref.Send(ctx, genserver.Map{"type": "hint", "from": 1, "n": 3}, genserver.Strict()))
				go func() {
					_, err := genserver.Call(ctx, ref, genserver.Map{"type": "ask", "from": 1, "n": 4})
					results <- err
				}()
				synctest.Wait()
				go func() {
					_, err := genserver.Call(ctx, ref, Unknown{})
					unknown <- err
				}()
				synctest.Wait()
				_, err := genserver.Call(ctx, ref, Ask{From: 1, N: 99}, genserver.WithTimeout(time.Second))
				wantErr(t, "call that gives up", err, genserver.ErrTimeout, true)
				if len(results) != 0 {
					t.Errorf("got %d answers between two lives, want 0", len(results))
				}

				q := startCluster(t, s, "p", orderTypes["typed"].With(struct{}{}))
				noErr(t, "call", <-results)
				noErr(t, "untyped call", <-results)
				wantErr(t, "call of an unknown op", <-unknown, genserver.ErrUnknownOp, true)
				_, err = genserver.Call(ctx, ref, Ask{From: 1, N: 5})
				noErr(t, "call of the next life", err)
				if q.Reason() != nil {
					t.Errorf("got the end %v, want a living server", q.Reason())
				}
				if routed && claims != 1 {
					t.Errorf("got %d claims, want 1: the name stays held", claims)
				}
			})
		})
	}
}

// Messages that wait are Go values still, whatever is in them.
func TestWaitingMessagesAreNotCopied(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		startCluster(t, s, "p", Puppet.With(hooks{})).Kill()
		var got []string
		say := func(what string) func(*genserver.Context) error {
			return func(*genserver.Context) error { got = append(got, what); return nil }
		}
		noErr(t, "cast", s.Ref("p").Cast(t.Context(), Tell{Fn: say("cast")}))
		noErr(t, "send", s.Ref("p").Send(t.Context(), Note{Fn: say("info")}))
		answered := make(chan Done, 1)
		go func() {
			rep, err := genserver.Call(t.Context(), s.Ref("p"), Do{Fn: func(c *genserver.Context) (Done, error) { return Done{7}, say("call")(c) }})
			noErr(t, "call", err)
			answered <- rep
		}()
		synctest.Wait()
		startCluster(t, s, "p", Puppet.With(hooks{}))
		if got, want := <-answered, (Done{7}); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
		if want := []string{"cast", "info", "call"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestReleaseFailsWhoWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		claim := &fakeClaim{epoch: 7}
		s := newSystem(t, genserver.Config{Router: &fakeRouter{claim: func(context.Context, string) (genserver.Claim, error) { return claim, nil }}})
		p := startCluster(t, s, "p", Puppet.With(hooks{}))
		inside(t, s, "p", func(c *genserver.Context) {
			if got := c.Epoch(); got != 7 {
				t.Errorf("got epoch %d, want 7", got)
			}
		})
		p.Kill()
		waiting := callAsync(t.Context(), s.Ref("p"), Do{})
		noErr(t, "cast", s.Ref("p").Cast(t.Context(), Tell{}))
		synctest.Wait()
		noErr(t, "release", s.Release(t.Context(), "p"))
		wantErr(t, "waiting call", <-waiting, genserver.ErrNoProcess, true)
		if got := s.Stats().Dropped; got != 1 {
			t.Errorf("got %d dropped, want 1", got)
		}
		if got := claim.releases(); got != 1 {
			t.Errorf("got %d releases, want 1", got)
		}
		_, err := genserver.Call(t.Context(), s.Ref("p"), Do{})
		wantErr(t, "call after release", err, genserver.ErrNoProcess, true)
		noErr(t, "second release", s.Release(t.Context(), "p"))
		noErr(t, "release of nothing", s.Release(t.Context(), "nobody"))
	})
}

func TestWaitingIsBounded(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{})
	startCluster(t, s, "p", Puppet.With(hooks{})).Kill()
	for range genserver.DefaultMailbox {
		noErr(t, "cast", s.Ref("p").Cast(t.Context(), Tell{}, genserver.Strict()))
	}
	wantErr(t, "cast", s.Ref("p").Cast(t.Context(), Tell{}, genserver.Strict()), genserver.ErrOverloaded, true)
	_, err := genserver.Call(t.Context(), s.Ref("p"), Do{})
	wantErr(t, "call", err, genserver.ErrOverloaded, true)
}

func TestLocalNamesDoNotWait(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{})
	p := start(t, s, "p", Puppet.With(hooks{}))
	p.Kill()
	_, err := genserver.Call(t.Context(), s.Ref("p"), Do{})
	wantErr(t, "call", err, genserver.ErrNoProcess, true)
	q := start(t, s, "q", Puppet.With(hooks{}))
	inside(t, s, q.Name(), func(c *genserver.Context) {
		if got := c.Epoch(); got != 0 {
			t.Errorf("got epoch %d of a local name, want 0", got)
		}
	})
}

func TestClaimRefused(t *testing.T) {
	t.Parallel()
	taken := &genserver.Error{Code: "name_taken", Server: "p", Text: "n2 has it", Undelivered: true}
	s := newSystem(t, genserver.Config{Router: &fakeRouter{claim: func(context.Context, string) (genserver.Claim, error) { return nil, taken }}})
	_, err := s.Start(t.Context(), "p", Puppet.With(hooks{init: func(*genserver.Context) error {
		t.Error("got an init without the name")
		return nil
	}}), genserver.SpawnOptions{Scope: genserver.Cluster})
	wantErr(t, "start", err, genserver.ErrNameTaken, true)
	if want := "start p: p: name is taken: n2 has it"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	start(t, s, "p", Puppet.With(hooks{})) // a local name needs no claim
}

// Names between two lives are given back when the System stops.
func TestStopReleasesEveryName(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		claims := map[string]*fakeClaim{"living": {}, "dead": {}}
		s := newSystem(t, genserver.Config{Router: &fakeRouter{claim: func(_ context.Context, name string) (genserver.Claim, error) { return claims[name], nil }}})
		startCluster(t, s, "living", Puppet.With(hooks{}))
		startCluster(t, s, "dead", Puppet.With(hooks{})).Kill()
		waiting := callAsync(t.Context(), s.Ref("dead"), Do{}, genserver.WithTimeout(time.Hour))
		synctest.Wait()
		noErr(t, "stop", s.Stop(t.Context()))
		wantErr(t, "waiting call", <-waiting, genserver.ErrNoProcess, true)
		for name, claim := range claims {
			if got := claim.releases(); got != 1 {
				t.Errorf("%s: got %d releases, want 1", name, got)
			}
		}
	})
}

func TestDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		start(t, s, "a", Puppet.With(hooks{}))
		start(t, s, "b", Puppet.With(hooks{}))
		var done []string
		work := func(what string) Tell {
			return Tell{Fn: func(*genserver.Context) error { pass(time.Second); done = append(done, what); return nil }}
		}
		for _, what := range []string{"one", "two", "three"} {
			noErr(t, "cast", s.Ref("a").Cast(t.Context(), work(what)))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if err := s.Drain(ctx); fmt.Sprint(err) != "drain: a#1 still has work: context deadline exceeded" {
			t.Errorf("drain: got %v, want who still has work", err)
		}
		_, err := genserver.Call(t.Context(), s.Ref("a"), Do{})
		wantErr(t, "call while draining", err, genserver.ErrDraining, true)
		wantErr(t, "cast while draining", s.Ref("a").Cast(t.Context(), Tell{}), genserver.ErrDraining, true)
		wantErr(t, "info while draining", s.Ref("a").Send(t.Context(), Note{}), genserver.ErrDraining, true)
		noErr(t, "drain", s.Drain(t.Context()))
		if want := []string{"one", "two", "three"}; !slices.Equal(done, want) {
			t.Errorf("got %v done, want %v", done, want)
		}
	})
}

// Work that wanders from server to server is waited for, however it runs
// ahead of where Drain looks.
func TestDrainWaitsForWorkThatServersHandEachOther(t *testing.T) {
	t.Parallel()
	for range 20 {
		s := newSystem(t, genserver.Config{})
		names := []string{"a", "b", "c", "d", "e"}
		for _, name := range names {
			start(t, s, name, Puppet.With(hooks{}))
		}
		const hops = 2000
		at := 0
		var hop Tell
		hop.Fn = func(c *genserver.Context) error {
			if at++; at == hops {
				return nil
			}
			return c.Ref(names[at*7%len(names)]).Cast(c, hop)
		}
		noErr(t, "cast", s.Ref("a").Cast(t.Context(), hop))
		noErr(t, "drain", s.Drain(t.Context()))
		if at != hops {
			t.Fatalf("got drained after %d hops, want %d", at, hops)
		}
	}
}

func TestSystemStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		for i := range 20 {
			start(t, s, fmt.Sprintf("good%d", i), Puppet.With(hooks{}))
		}
		stuck := start(t, s, "stuck", Puppet.With(hooks{terminate: func(*genserver.Context, error) { t.Error("got a terminate after a kill") }}))
		release := hold(t, s, "stuck")
		defer release()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := s.Stop(ctx)
		if got, want := fmt.Sprint(err), stuck.String()+" did not stop and was killed"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		_, err = s.Spawn("late", Puppet.With(hooks{}), genserver.SpawnOptions{})
		wantErr(t, "spawn", err, genserver.ErrDraining, true)
		noErr(t, "second stop", s.Stop(t.Context()))
	})
}

// A start that races with Stop is refused or stopped; nothing is left behind.
func TestStopRacesWithSpawn(t *testing.T) {
	t.Parallel()
	for range 200 {
		s := newSystem(t, genserver.Config{})
		spawned := make(chan *genserver.Process, 1)
		go func() {
			p, err := s.Spawn("p", Puppet.With(hooks{}), genserver.SpawnOptions{})
			if err != nil {
				wantErr(t, "spawn", err, genserver.ErrDraining, true)
			}
			spawned <- p
		}()
		noErr(t, "stop", s.Stop(t.Context()))
		if p := <-spawned; p != nil && p.Reason() == nil {
			t.Fatal("got a process that outlives Stop, want none")
		}
	}
}

// slowRouter claims slowly, and refuses a name that it has given already.
type slowRouter struct {
	genserver.Router
	mu      sync.Mutex
	given   map[string]bool
	claims  chan struct{} // a claim has begun
	proceed chan struct{}
}

func (r *slowRouter) Claim(_ context.Context, name string) (genserver.Claim, error) {
	r.mu.Lock()
	if r.given[name] {
		r.mu.Unlock()
		return nil, genserver.ErrNameTaken
	}
	r.given[name] = true
	r.mu.Unlock()
	r.claims <- struct{}{}
	<-r.proceed
	return slowClaim{r, name}, nil
}

type slowClaim struct {
	r    *slowRouter
	name string
}

func (c slowClaim) Epoch() uint64        { return 1 }
func (c slowClaim) Gate() genserver.Gate { return nil }

func (c slowClaim) Release(context.Context) error {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	delete(c.r.given, c.name)
	return nil
}

// A process that is killed while it claims its name gives it back before its
// successor claims it.
func TestClaimOfAKilledProcessIsNotInTheWay(t *testing.T) {
	t.Parallel()
	r := &slowRouter{given: map[string]bool{}, claims: make(chan struct{}, 2), proceed: make(chan struct{})}
	sys := genserver.NewSystem(genserver.Config{Router: r})
	first, err := sys.Spawn("name", Puppet.With(hooks{}), genserver.SpawnOptions{Scope: genserver.Cluster})
	if err != nil {
		t.Fatal(err)
	}
	<-r.claims
	first.Kill()
	started := make(chan error)
	go func() {
		_, err := sys.Start(t.Context(), "name", Puppet.With(hooks{}), genserver.SpawnOptions{Scope: genserver.Cluster})
		started <- err
	}()
	close(r.proceed)
	if err := <-started; err != nil {
		t.Errorf("got %v from the successor's start, want nil", err)
	}
	if err := sys.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
