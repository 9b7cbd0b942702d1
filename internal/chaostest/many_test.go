//go:build unix

package chaostest

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/proctest"
	"github.com/civitas-go/civitas/node"
)

// Many names are placed on three nodes, and those of a killed one on the others,
// whatever becomes of the coordinator meanwhile: in the end each runs once, and
// answers. CIVITAS_CHAOS_NAMES is how many, 600 by default. How long it takes is logged:
// on a busy machine that is no measure of anything.
func TestManyNames(t *testing.T) {
	many, err := strconv.Atoi(os.Getenv("CIVITAS_CHAOS_NAMES"))
	if err != nil {
		many = 600
	}
	if testing.Short() {
		t.Skip("it starts processes")
	}
	for _, c := range []struct {
		name string
		do   func(w *crowd)
	}{
		{"a node is killed", func(w *crowd) {
			w.await("placed", w.all)
			w.kill(w.other(w.coordinator()))
			w.await("a node's names moved", w.all)
		}},
		{"the coordinator is killed", func(w *crowd) {
			w.await("placed", w.all)
			w.kill(w.coordinator())
			w.await("the coordinator's names moved", w.all)
		}},
		{"the coordinator is killed while it places", func(w *crowd) {
			w.await("a third placed", w.some(1, 3))
			w.kill(w.coordinator())
			w.await("all placed in spite of it", w.all)
		}},
		{"the coordinator is killed while it moves", func(w *crowd) {
			w.await("placed", w.all)
			w.kill(w.other(w.coordinator()))
			w.await("some moved", w.some(3, 4))
			w.kill(w.coordinator())
			w.await("all moved to the last node", w.all)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &crowd{world: newWorld(t, fault{servers: 1, events: true}), dead: map[string]bool{}}
			for i := range many {
				w.names = append(w.names, fmt.Sprintf("c%d", i))
			}
			w.start()
			c.do(w)
			w.callAll()
		})
	}
}

// crowd is a world of many names.
type crowd struct {
	*world
	names []string
	dead  map[string]bool // lives that were killed
}

// start has the last node bring the names, and does not wait until they are placed.
func (w *crowd) start() {
	last := len(w.members) - 1
	for _, m := range w.members[:last] {
		m.process = w.world.start("host", m.env(nil)...)
	}
	<-time.After(2 * time.Second) // until the leader has heard of them
	w.broken = now()
	life, env := w.life("host", w.members[last].env(w.names))
	w.members[last].process = proctest.Launch(w.t, life, env)
}

func (w *crowd) kill(node string) {
	m := w.member(node)
	w.dead[m.process.Life()] = true
	w.broken = now()
	m.process.Signal(w.t, syscall.SIGKILL)
}

// other is a living node that is another.
func (w *crowd) other(than string) string {
	for _, m := range w.members {
		if m.name != than && !w.dead[m.process.Life()] {
			return m.name
		}
	}
	w.t.Fatal("no other node lives")
	return ""
}

// all is that every name has an owner that lives; some, that this share has.
func (w *crowd) all(placed int) bool { return placed == len(w.names) }

func (w *crowd) some(of, in int) func(int) bool {
	return func(placed int) bool { return placed*in >= len(w.names)*of }
}

// await waits until so many names are where they live.
func (w *crowd) await(what string, enough func(placed int) bool) {
	w.t.Helper()
	for {
		last, on := map[string]start{}, map[string]int{}
		placed, latest := 0, time.Duration(0)
		for _, s := range w.starts() {
			last[s.name] = s
		}
		for _, s := range last {
			if !w.dead[s.life] {
				placed, latest = placed+1, max(latest, s.at)
				on[s.life]++
			}
		}
		if enough(placed) {
			w.t.Logf("%s: %d names on %v, the last after %v", what, placed, on, (latest - w.broken).Round(time.Millisecond))
			return
		}
		if now() > w.broken+2*time.Minute {
			w.t.Fatalf("%s: got %d of %d names, on %v\n%s", what, placed, len(w.names), on, w.said())
		}
		<-time.After(100 * time.Millisecond)
	}
}

// callAll calls every name once: the newest of its servers has to answer.
func (w *crowd) callAll() {
	w.t.Helper()
	epochs := map[string]uint64{}
	for _, s := range w.starts() {
		epochs[s.name] = s.epoch
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	n, err := node.Start(ctx, node.Config{
		Name: "caller", NATS: node.NATS{URL: w.members[0].links[0].url(), Auth: auth}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() {
		if err := n.Stop(context.WithoutCancel(ctx)); err != nil {
			w.t.Error(err)
		}
	}()
	var wg sync.WaitGroup
	slots := make(chan struct{}, 64)
	for _, name := range w.names {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			got, err := genserver.Call(ctx, n.Ref(name), Count{ID: "once." + name}, genserver.WithTimeout(20*time.Second))
			if err != nil || got.Epoch < epochs[name] {
				w.t.Errorf("call of %s: got %+v, %v, want an answer in epoch %d", name, got, err, epochs[name])
			}
		})
	}
	wg.Wait()
}
