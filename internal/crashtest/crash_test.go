//go:build unix

// Package crashtest has two nodes and a NATS server crash, stop, freeze, restart
// and lose each other under load, each a process of its own, and checks that
// every call and cast told the truth about what became of it.
package crashtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/civitas-go/civitas/internal/proctest"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVar); role != "" {
		os.Exit(child(role))
	}
	goleak.VerifyTestMain(m)
}

// fault is something that happens to a world, and is over when it returns.
type fault struct {
	name string
	do   func(w *world)
}

// moment is how long what is frozen or cut off stays so.
const moment = 700 * time.Millisecond

// faults are in the order of the runs; the gate has the first ones.
var faults = []fault{
	{"the server's node is killed", func(w *world) { w.kill(&w.server); w.startServer() }},
	{"NATS is restarted", func(w *world) { w.stop(&w.nats); w.startNATS() }},
	{"the caller's link is cut", func(w *world) { w.cut(w.callerLink) }},
	{"the server's node is frozen", func(w *world) { w.freeze(w.server) }},
	{"the caller is killed", func(w *world) { w.kill(&w.caller); w.startCaller() }},
	{"NATS is killed", func(w *world) { w.kill(&w.nats); w.startNATS() }},
	{"the server's link is cut", func(w *world) { w.cut(w.serverLink) }},
	{"the server's node is restarted", func(w *world) { w.stop(&w.server); w.startServer() }},
	{"the caller is frozen", func(w *world) { w.freeze(w.caller) }},
	{"NATS is frozen", func(w *world) { w.freeze(w.nats) }},
	{"the caller is restarted", func(w *world) { w.stop(&w.caller); w.startCaller() }},
	{"both links are cut", func(w *world) { w.cut(w.serverLink, w.callerLink) }},
	{"the server's node is killed while NATS is away", func(w *world) {
		w.kill(&w.nats)
		w.kill(&w.server)
		w.startNATS()
		w.startServer()
	}},
}

// TestCrashes: 20 runs by CIVITAS_CRASH_RUNS=20.
func TestCrashes(t *testing.T) {
	runs := 5
	if testing.Short() {
		runs = 2
	}
	if n, err := strconv.Atoi(os.Getenv("CIVITAS_CRASH_RUNS")); err == nil {
		runs = n
	}
	w := newWorld(t)
	w.startNATS()
	w.startServer()
	w.startCaller()
	w.awaitReplies()
	for n := range runs {
		f := faults[n%len(faults)]
		began := time.Now()
		f.do(w)
		over := time.Now()
		w.awaitReplies()
		t.Logf("run %d: %s: over after %v, replies again %v later", n+1, f.name,
			over.Sub(began).Round(time.Millisecond), time.Since(over).Round(time.Millisecond))
	}
	w.stop(&w.caller)
	w.stop(&w.server)
	w.stop(&w.nats)
	w.judge()
}

// world is the processes, and the files that they write.
type world struct {
	t          *testing.T
	dir        string
	port       int
	serverLink *proxy
	callerLink *proxy

	nats, server, caller *proctest.Process
	lives                int
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir(), port: proctest.FreePort(t)}
	target := fmt.Sprintf("127.0.0.1:%d", w.port)
	w.serverLink, w.callerLink = newProxy(t, target), newProxy(t, target)
	return w
}

func (w *world) startNATS() {
	w.nats = w.start("nats", "CIVITAS_CRASH_PORT="+strconv.Itoa(w.port))
}

func (w *world) startServer() {
	w.server = w.start("server", "CIVITAS_CRASH_URL="+w.serverLink.url())
}

func (w *world) startCaller() {
	w.caller = w.start("caller", "CIVITAS_CRASH_URL="+w.callerLink.url())
}

// start returns when the process says that it is ready.
func (w *world) start(role string, env ...string) *proctest.Process {
	w.t.Helper()
	w.lives++
	life := fmt.Sprintf("%s-%02d", role, w.lives)
	return proctest.Start(w.t, life, append(env, roleVar+"="+role, "CIVITAS_CRASH_DIR="+w.dir, "CIVITAS_CRASH_LIFE="+life))
}

func (w *world) kill(p **proctest.Process) {
	w.t.Helper()
	(*p).Signal(w.t, syscall.SIGKILL)
	(*p).Await(w.t)
}

// stop ends a process in good order: it fails if it left anything behind.
func (w *world) stop(p **proctest.Process) {
	w.t.Helper()
	(*p).Signal(w.t, syscall.SIGTERM)
	if err := (*p).Await(w.t); err != nil {
		w.t.Errorf("stop of %s: got %v, want nil; it said\n%s", (*p).Life(), err, (*p).Said())
	}
}

func (w *world) freeze(p *proctest.Process) {
	w.t.Helper()
	p.Signal(w.t, syscall.SIGSTOP)
	<-time.After(moment)
	p.Signal(w.t, syscall.SIGCONT)
}

func (w *world) cut(links ...*proxy) {
	for _, l := range links {
		l.cut()
	}
	<-time.After(moment)
	for _, l := range links {
		l.heal()
	}
}

// awaitReplies returns when calls are answered that were made after now.
func (w *world) awaitReplies() {
	w.t.Helper()
	file := filepath.Join(w.dir, w.caller.Life()+outcomes)
	size := int64(0)
	if info, err := os.Stat(file); err == nil {
		size = info.Size()
	}
	for deadline := time.Now().Add(time.Minute); ; {
		if replies(w.t, file, size) >= 50 {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("got no replies for a minute; the caller said\n%s\nthe server said\n%s", w.caller.Said(), w.server.Said())
		}
		<-time.After(10 * time.Millisecond)
	}
}

func replies(t *testing.T, file string, from int64) int {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) || int64(len(data)) < from {
		t.Fatalf("read %s: %v", file, err)
	}
	return strings.Count(string(data[min(from, int64(len(data))):]), " "+replied+"\n")
}

// judge compares what the callers were told with what the servers did.
func (w *world) judge() {
	w.t.Helper()
	ran := map[string]int{}
	for _, line := range w.lines(ledgers) {
		ran[line[1]]++
	}
	for id, n := range ran {
		if n != 1 {
			w.t.Errorf("%s ran %d times, want once at most", id, n)
		}
	}
	told := map[string]int{}
	for _, line := range w.lines(outcomes) {
		if len(line) < 3 {
			continue // the last word of one that was killed
		}
		kind, id, outcome := line[0], line[1], line[2]
		told[kind+" "+outcome]++
		switch {
		case outcome == replied && ran[id] != 1:
			w.t.Errorf("call %s was answered and ran %d times, want once", id, ran[id])
		case outcome == undelivered && ran[id] != 0:
			w.t.Errorf("%s %s is told to be undelivered, and ran: %v", kind, id, line)
		case outcome == wrong:
			w.t.Errorf("%s %s: %v", kind, id, line[3:])
		}
	}
	w.t.Logf("told %v, %d ran", told, len(ran))
	for _, some := range []string{"call " + replied, "call " + unknown, "call " + undelivered, "cast " + sent, "cast " + undelivered} {
		if told[some] == 0 && !testing.Short() {
			w.t.Errorf("got none of %q, want some: that was no load", some)
		}
	}
}

// lines are those of all books of a kind, as fields.
func (w *world) lines(kind string) (lines [][]string) {
	w.t.Helper()
	proctest.EachLine(w.t, w.dir, kind, func(_ string, fields []string) {
		if len(fields) >= 2 {
			lines = append(lines, fields)
		}
	})
	return lines
}
