package supervisor_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

// inCluster is inWorld with cluster-wide names.
func inCluster(t *testing.T, f func(t *testing.T, w *world, router *claimRouter)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		router := &claimRouter{}
		w := newWorld(t, genserver.Config{Router: router})
		f(t, w, router)
		w.close()
		if held := router.holds(); len(held) > 0 {
			t.Errorf("names held in the end: got %v, want none", held)
		}
		if twice := router.twice(); twice != "" {
			t.Error(twice)
		}
	})
}

func (w *world) clusterChild(name string) supervisor.Child {
	c := w.child(name)
	c.Scope = supervisor.Cluster
	return c
}

// asked calls a probe; the answer comes later.
func (w *world) asked(name string) <-chan answer {
	done := make(chan answer, 1)
	go func() {
		got, err := genserver.Call(context.Background(), w.sys.Ref(name), incr{}, genserver.WithTimeout(time.Hour))
		done <- answer{got, err, w.now()}
	}()
	synctest.Wait()
	return done
}

type answer struct {
	count count
	err   error
	at    time.Duration
}

// Between two lives of a cluster-wide name calls and casts wait, in order.
func TestCallsWaitForTheNextLife(t *testing.T) {
	inCluster(t, func(t *testing.T, w *world, router *claimRouter) {
		root := w.start(supervisor.Spec{
			Backoff:  supervisor.Backoff{Growth: supervisor.Constant, Base: 3 * time.Second},
			Children: []supervisor.Child{w.clusterChild("a"), w.child("local")},
		})
		_ = w.crash("a", "oops")
		w.forget()
		if err := w.sys.Ref("a").Cast(context.Background(), hint{Text: "early cast"}); err != nil {
			t.Errorf("cast: got %v, want nil", err)
		}
		first := w.asked("a")
		second := w.asked("a")
		if got, want := <-first, (answer{count{2, 1}, nil, 3 * time.Second}); got != want {
			t.Errorf("first call: got %+v, want %+v", got, want)
		}
		if got, want := <-second, (answer{count{2, 2}, nil, 3 * time.Second}); got != want {
			t.Errorf("second call: got %+v, want %+v", got, want)
		}
		w.wantNotes("a: init", "a: early cast")

		_ = w.crash("local", "oops")
		w.wantGone("local") // a node's own name makes nobody wait
		if got := router.claims(); got != 1 {
			t.Errorf("claims: got %d, want 1 for both lives", got)
		}
		w.stop(root)
	})
}

// Who waits for a name when it is given back knows at once.
func TestReleaseAtTheEnd(t *testing.T) {
	inCluster(t, func(t *testing.T, w *world, router *claimRouter) {
		done := w.clusterChild("done")
		done.Restart = supervisor.Transient
		root := w.start(supervisor.Spec{
			Backoff:  supervisor.Backoff{Growth: supervisor.Constant, Base: time.Minute},
			Children: []supervisor.Child{done, w.clusterChild("a")},
		})
		_ = w.crash("done", "normal")
		w.wantGone("done")
		if got, want := router.holds(), []string{"a"}; !slices.Equal(got, want) {
			t.Errorf("names held: got %v, want %v", got, want)
		}
		_ = w.crash("a", "oops")
		waiting := w.asked("a")
		<-time.After(time.Second)
		w.stop(root)
		if got := <-waiting; !errors.Is(got.err, genserver.ErrNoProcess) || got.at != time.Second {
			t.Errorf("call that waited for a: got %+v, want ErrNoProcess at 1s", got)
		}
		w.wantGone("a")
	})
}

// A start that fails gives back what was claimed for it.
func TestReleaseAfterFailedStart(t *testing.T) {
	inCluster(t, func(t *testing.T, w *world, router *claimRouter) {
		router.slow = time.Second
		w.onInit["b"] = func(*genserver.Context, int) error { return errBroken }
		_, err := w.sys.Start(context.Background(), "root", supervisor.Spec{Children: []supervisor.Child{
			w.clusterChild("a"),
			{Name: "sub", Run: supervisor.Spec{Children: []supervisor.Child{w.clusterChild("b")}}},
		}}, genserver.SpawnOptions{})
		if !errors.Is(err, errBroken) {
			t.Errorf("start: got %v, want errBroken", err)
		}
		if got := router.holds(); len(got) > 0 {
			t.Errorf("names held: got %v, want none", got)
		}
		if got, want := w.now(), time.Second; got != want {
			t.Errorf("the start took: got %v, want %v, as long as the release", got, want)
		}
	})
}

// Names below a nested supervisor are kept while that is started again,
// whatever ended it, and given back once it is gone for good.
func TestNamesBelowNestedSupervisor(t *testing.T) {
	for _, tt := range []struct {
		name     string
		shutdown time.Duration
		crash    string
	}{
		{"it escalates", 0, "b"},
		{"a round stops it", 0, "a"},
		{"a round kills it", supervisor.BrutalKill, "a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inCluster(t, func(t *testing.T, w *world, router *claimRouter) {
				root := w.start(supervisor.Spec{
					Strategy: supervisor.OneForAll,
					Backoff:  supervisor.Backoff{Growth: supervisor.Constant, Base: time.Second},
					Children: []supervisor.Child{w.child("a"), {
						Name: "sub", Shutdown: tt.shutdown,
						Run: supervisor.Spec{
							MaxRestarts: supervisor.NoRestarts,
							Children:    []supervisor.Child{w.clusterChild("b"), w.clusterChild("c")},
						},
					}},
				})
				_ = w.crash(tt.crash, "oops")
				for _, name := range []string{"b", "c"} {
					if got, want := <-w.asked(name), (answer{count{2, 1}, nil, time.Second}); got != want {
						t.Errorf("call to %s: got %+v, want %+v", name, got, want)
					}
				}
				if got := router.claims(); got != 2 {
					t.Errorf("claims: got %d, want 2, one for each name", got)
				}
				w.stop(root)
				if got := router.holds(); len(got) > 0 {
					t.Errorf("names held: got %v, want none", got)
				}
			})
		})
	}
}

// A temporary supervisor that crashed takes its names with it.
func TestNamesOfTemporarySupervisor(t *testing.T) {
	inCluster(t, func(t *testing.T, w *world, router *claimRouter) {
		root := w.start(supervisor.Spec{Children: []supervisor.Child{{
			Name: "sub", Restart: supervisor.Temporary,
			Run: supervisor.Spec{MaxRestarts: supervisor.NoRestarts, Children: []supervisor.Child{w.clusterChild("a")}},
		}}})
		_ = w.crash("a", "oops")
		w.wantGone("a", "sub")
		if got := router.holds(); len(got) > 0 {
			t.Errorf("names held: got %v, want none", got)
		}
		w.stop(root)
	})
}

// A child whose name is being given back is started again only after that: the
// release must not hit its next life.
func TestRestartWaitsForRelease(t *testing.T) {
	for _, stopped := range []bool{false, true} {
		inCluster(t, func(t *testing.T, w *world, router *claimRouter) {
			router.slow = 3 * time.Second
			done := w.clusterChild("done")
			done.Restart = supervisor.Transient
			root := w.start(supervisor.Spec{
				Strategy: supervisor.OneForAll, Children: []supervisor.Child{done, w.child("a")},
			})
			_ = w.crash("done", "normal")
			_ = w.crash("a", "oops")
			w.wantNotes("done: init", "a: init", "done: normal", "a: panic: oops")
			if stopped {
				if got := w.stop(root); got != router.slow {
					t.Errorf("the stop took: got %v, want %v, the time of the release", got, router.slow)
				}
				w.wantNotes()
				return
			}
			<-time.After(router.slow)
			w.wantNotes("done: init", "a: init")
			w.wantCount("done", 2, 1)
			if got := router.claims(); got != 2 {
				t.Errorf("claims: got %d, want 2", got)
			}
			w.stop(root)
		})
	}
}

// A release that the cluster does not answer is given up.
func TestReleaseTimeout(t *testing.T) {
	inCluster(t, func(t *testing.T, w *world, router *claimRouter) {
		router.slow = time.Minute
		root := w.start(supervisor.Spec{Children: []supervisor.Child{w.clusterChild("a")}})
		if got, want := w.stop(root), 5*time.Second; got != want {
			t.Errorf("the stop took: got %v, want %v", got, want)
		}
		<-time.After(time.Minute)
	})
}

// Without a cluster, cluster-wide means this process; calls wait all the same.
func TestClusterScopeAlone(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		root := w.start(supervisor.Spec{
			Backoff:  supervisor.Backoff{Growth: supervisor.Constant, Base: time.Second},
			Children: []supervisor.Child{w.clusterChild("a")},
		})
		_ = w.crash("a", "oops")
		if got, want := <-w.asked("a"), (answer{count{2, 1}, nil, time.Second}); got != want {
			t.Errorf("call: got %+v, want %+v", got, want)
		}
		w.stop(root)
		w.wantGone("a")
	})
}
