//go:build unix

// Package chaostest breaks a cluster of three nodes and its NATS, each a process
// of its own, under load, and measures what becomes of every call and how soon
// the names are served again.
//
// The recorder is outside of what is broken: each process appends to a file,
// with the host's monotonic clock, what its handlers started and what its calls
// came to. `make chaos` prints the table.
package chaostest

import (
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/internal/proctest"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVar); role != "" {
		os.Exit(proctest.Child(role, roles[role]))
	}
	goleak.VerifyTestMain(m)
}

// fault is what happens to a node, or to NATS, in a try.
type fault struct {
	name    string
	servers int  // NATS servers
	events  bool // they tell disconnect events
	// victim is the node that is broken, and loses what it owns; nil for none.
	victim func(w *world, owned map[string]cluster.Ownership) string
	// within is how long what it owned may be without an owner, at most; wide, for
	// busy machines.
	within time.Duration
	// amid: the victim is in the middle of a handler, and goes on with it later.
	amid  bool
	tries int // of a full run
	do    func(w *world, victim *member) (heal func())
}

func ownerOf(name string) func(*world, map[string]cluster.Ownership) string {
	return func(_ *world, owned map[string]cluster.Ownership) string { return owned[name].Node }
}

func coordinator(w *world, _ map[string]cluster.Ownership) string { return w.coordinator() }

func freeze(d time.Duration) func(*world, *member) func() {
	return func(w *world, owner *member) func() {
		owner.process.Signal(w.t, syscall.SIGSTOP)
		return func() {
			w.until(w.broken + d)
			owner.process.Signal(w.t, syscall.SIGCONT)
			w.revive(owner)
		}
	}
}

func kill(w *world, owner *member) func() {
	owner.process.Signal(w.t, syscall.SIGKILL)
	return func() { w.revive(owner) }
}

func cut(w *world, owner *member) func() {
	owner.hold(true)
	return func() {
		owner.hold(false)
		w.revive(owner)
	}
}

var faults = []fault{
	{"the owner is killed", 1, true, ownerOf(watched), 10 * time.Second, false, 20, kill},
	{"the owner stands still for 5 s", 1, true, ownerOf(scribe), 15 * time.Second, true, 5, freeze(5 * time.Second)},
	{"the owner's packets are dropped", 1, true, ownerOf(watched), 15 * time.Second, false, 5, cut},
	{"the owner stands still for 14 s", 1, true, ownerOf(scribe), 15 * time.Second, true, 3, freeze(14 * time.Second)},
	{"the owner stands still for 30 s", 1, true, ownerOf(scribe), 15 * time.Second, true, 2, freeze(30 * time.Second)},
	{"the owner is killed, without events", 1, false, ownerOf(watched), 40 * time.Second, false, 3, kill},
	{"NATS is away for 60 s", 1, true, nil, 0, false, 1, func(w *world, _ *member) func() {
		w.stopServer(0)
		return func() {
			w.until(w.broken + time.Minute)
			w.startServer(0)
		}
	}},
	{"the owner is killed, of three NATS servers", 3, true, ownerOf(watched), 20 * time.Second, false, 5, kill},
	{"the records' NATS server of three is killed", 3, true, nil, 0, false, 10, func(w *world, _ *member) func() {
		i := w.leader()
		w.killServer(i)
		return func() {
			w.until(w.broken + 10*time.Second)
			w.startServer(i)
		}
	}},
	{"the coordinator is killed", 1, true, coordinator, 10 * time.Second, false, 10, kill},
	{"the coordinator is killed, of three NATS servers", 3, true, coordinator, 20 * time.Second, false, 10, kill},
}

// TestChaos runs with CIVITAS_CHAOS=1: all faults, as often as they say, or with
// CIVITAS_CHAOS_FAULT=n the one of that number.
func TestChaos(t *testing.T) {
	if os.Getenv("CIVITAS_CHAOS") == "" {
		t.Skip("make chaos runs it")
	}
	only, err := strconv.Atoi(os.Getenv("CIVITAS_CHAOS_FAULT"))
	if err != nil {
		only = -1
	}
	var rows []row
	for i, f := range faults {
		if only >= 0 && i != only {
			continue
		}
		t.Run(f.name, func(t *testing.T) { rows = append(rows, run(t, f)) })
	}
	t.Logf("\n%s", table(rows))
}

// run breaks the same thing again and again.
func run(t *testing.T, f fault) row {
	w := newWorld(t, f)
	w.startMembers(names)
	w.settle()
	for range f.tries {
		w.try(f)
	}
	w.end()
	return w.judge(f)
}
