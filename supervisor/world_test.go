package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

// world is a System of probes in a bubble of virtual time, with a record of
// what happened in it.
type world struct {
	t     testing.TB
	sys   *genserver.System
	began time.Time
	// gate is what stuck handlers wait for; see open.
	gate chan struct{}
	// onInit and onTerminate are run by the probe of that name, in its life of
	// that number. Set them before the start.
	onInit      map[string]func(ctx *genserver.Context, life int) error
	onTerminate map[string]func()

	mu     sync.Mutex
	lines  []string
	faults []string
	lives  map[string]int
	last   map[string]*genserver.Process // the latest generation of each name
}

// inWorld runs a test in a world.
func inWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	t.Run("bubble", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, genserver.Config{})
			f(t, w)
			w.close()
		})
	})
}

func newWorld(t testing.TB, cfg genserver.Config) *world {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &world{
		t: t, sys: genserver.NewSystem(cfg), began: time.Now(), gate: make(chan struct{}),
		onInit: map[string]func(*genserver.Context, int) error{}, onTerminate: map[string]func(){},
		lives: map[string]int{}, last: map[string]*genserver.Process{},
	}
}

// close ends what is left, and checks what must hold in every test.
func (w *world) close() {
	w.t.Helper()
	w.open()
	if err := w.sys.Stop(context.Background()); err != nil {
		w.t.Errorf("stop the system: got %v, want nil", err)
	}
	synctest.Wait()
	for _, fault := range w.faults {
		w.t.Error(fault)
	}
}

// open lets stuck handlers go on, then all later ones.
func (w *world) open() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.gate:
	default:
		close(w.gate)
	}
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, fmt.Sprintf(format, args...))
}

// wantNotes compares what was noted since the last time.
func (w *world) wantNotes(want ...string) {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	got := w.lines
	w.lines = nil
	w.mu.Unlock()
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("got %q, want %q (-want +got):\n%s", got, want, diff)
	}
}

func (w *world) forget() {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = nil
}

// now is the time since the world began.
func (w *world) now() time.Duration { return time.Since(w.began) }

func (w *world) process(name string) *genserver.Process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last[name]
}

// born notes a new life, and that the one before has ended.
func (w *world) born(p *genserver.Process) (life int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if before := w.last[p.Name()]; before != nil && before.Reason() == nil {
		w.faults = append(w.faults, fmt.Sprintf("got %v and %v alive, want one generation", before, p))
	}
	w.last[p.Name()] = p
	w.lives[p.Name()]++
	return w.lives[p.Name()]
}

// child is a probe to be supervised.
func (w *world) child(name string) supervisor.Child {
	return supervisor.Child{Name: name, Run: probeType.With(w)}
}

func (w *world) children(names ...string) []supervisor.Child {
	var all []supervisor.Child
	for _, name := range names {
		all = append(all, w.child(name))
	}
	return all
}

// start starts a supervisor named root.
func (w *world) start(spec supervisor.Spec) *genserver.Process {
	w.t.Helper()
	root, err := w.sys.Start(context.Background(), "root", spec, genserver.SpawnOptions{})
	if err != nil {
		w.t.Fatalf("start root: got %v, want nil", err)
	}
	return root
}

// stop stops a process, and returns how long that took.
func (w *world) stop(p *genserver.Process) time.Duration {
	w.t.Helper()
	began := w.now()
	if err := p.Stop(context.Background(), genserver.Shutdown); err != nil {
		w.t.Errorf("stop %v: got %v, want nil", p, err)
	}
	return w.now() - began
}

// count is the probe's reply to incr: its life's number, and the calls it has
// had in that life.
func (w *world) count(name string) count {
	w.t.Helper()
	got, err := genserver.Call(context.Background(), w.sys.Ref(name), incr{})
	if err != nil {
		w.t.Errorf("call %s: got %v, want nil", name, err)
	}
	return got
}

func (w *world) wantCount(name string, life, n int) {
	w.t.Helper()
	if got, want := w.count(name), (count{life, n}); got != want {
		w.t.Errorf("count of %s: got %+v, want %+v", name, got, want)
	}
}

// wantGone checks that a name has no server.
func (w *world) wantGone(names ...string) {
	w.t.Helper()
	for _, name := range names {
		_, err := genserver.Call(context.Background(), w.sys.Ref(name), incr{})
		if !errors.Is(err, genserver.ErrNoProcess) {
			w.t.Errorf("call %s: got %v, want ErrNoProcess", name, err)
		}
	}
}

// crash ends a probe, and returns what its caller got.
func (w *world) crash(name, how string) error {
	_, err := genserver.Call(context.Background(), w.sys.Ref(name), end{How: how})
	synctest.Wait()
	return err
}

// wantReason waits for a process's end.
func (w *world) wantReason(p *genserver.Process, want error) {
	w.t.Helper()
	<-p.Exited()
	if got := p.Reason(); !errors.Is(got, want) {
		w.t.Errorf("reason of %v: got %v, want %v", p, got, want)
	}
}

// errBroken is the probes' own error.
var errBroken = genserver.NewError("test.broken", "it is broken")

// probe is a server that notes its life.
type probe struct {
	w    *world
	life int
	n    int
}

type (
	incr  struct{ genserver.Returns[count] }
	count struct{ Life, N int }
	end   struct {
		genserver.Returns[struct{}]
		How string
	}
	// stick has a handler that ignores its context; it sends to its own name
	// once it goes on.
	stick struct{ genserver.Returns[struct{}] }
	hint  struct {
		genserver.OneWay
		Text string
	}
	tick struct {
		genserver.Signal
		Text string
	}
)

// finish ends a probe as one whose work is done.
type finish struct{ genserver.Signal }

func (finish) Op() string { return "finish" }

func (incr) Op() string  { return "incr" }
func (end) Op() string   { return "end" }
func (stick) Op() string { return "stick" }
func (hint) Op() string  { return "hint" }
func (tick) Op() string  { return "tick" }

var probeType = genserver.Define("test.Probe", newProbe,
	genserver.HandleCall((*probe).incr),
	genserver.HandleCall((*probe).end),
	genserver.HandleCall((*probe).stick),
	genserver.HandleCast((*probe).hint),
	genserver.HandleInfo((*probe).tick),
	genserver.HandleInfo(func(*probe, *genserver.Context, finish) error { return genserver.Stop(nil) }),
	genserver.HandleTerminate((*probe).terminate))

func newProbe(ctx *genserver.Context, w *world) (*probe, error) {
	name := ctx.Self().Name()
	life := w.born(ctx.Process())
	if f := w.onInit[name]; f != nil {
		if err := f(ctx, life); err != nil {
			w.note("%s: init failed", name)
			return nil, err
		}
	}
	w.note("%s: init", name)
	return &probe{w: w, life: life}, nil
}

func (p *probe) incr(*genserver.Context, incr) (count, error) {
	p.n++
	return count{p.life, p.n}, nil
}

func (p *probe) end(_ *genserver.Context, e end) (struct{}, error) {
	switch e.How {
	case "normal":
		return struct{}{}, genserver.Stop(nil)
	case "shutdown":
		return struct{}{}, genserver.Stop(genserver.Shutdown)
	case "error":
		return struct{}{}, genserver.Stop(fmt.Errorf("lost: %w", errBroken))
	case "goexit":
		runtime.Goexit()
	}
	panic(e.How)
}

func (p *probe) stick(ctx *genserver.Context, _ stick) (struct{}, error) {
	ctx.SendAfter(time.Minute, tick{Text: "early timer"})
	<-p.w.gate
	self := ctx.Self()
	if err := self.Cast(ctx, hint{Text: "late cast"}); !errors.Is(err, genserver.ErrFenced) {
		p.w.note("late cast: got %v, want ErrFenced", err)
	}
	if err := self.Send(ctx, tick{Text: "late info"}); !errors.Is(err, genserver.ErrFenced) {
		p.w.note("late info: got %v, want ErrFenced", err)
	}
	ctx.SendAfter(0, tick{Text: "late timer"})
	ctx.SendAfter(time.Minute, tick{Text: "late long timer"})
	return struct{}{}, nil
}

func (p *probe) hint(ctx *genserver.Context, h hint) error {
	p.w.note("%s: %s", ctx.Self().Name(), h.Text)
	return nil
}

func (p *probe) tick(ctx *genserver.Context, t tick) error {
	p.w.note("%s: %s", ctx.Self().Name(), t.Text)
	return nil
}

func (p *probe) terminate(ctx *genserver.Context, reason error) {
	name := ctx.Self().Name()
	if f := p.w.onTerminate[name]; f != nil {
		f()
	}
	p.w.note("%s: %v", name, reason)
}
