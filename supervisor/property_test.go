package supervisor_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

// TestRandomTrees grows trees of any shape, lets their servers crash, hang and
// be killed at random, and stops the root at some moment, which may be in the
// midst of anything. Afterwards nothing must be left.
func TestRandomTrees(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := &plan{rt: rt}
		p.spec = p.tree(2)
		for range rapid.IntRange(0, 25).Draw(rt, "steps") {
			p.steps = append(p.steps, p.step())
		}
		p.release = rapid.SampledFrom([]time.Duration{0, 700 * time.Millisecond}).Draw(rt, "release")
		p.kill = rapid.IntRange(0, 3).Draw(rt, "kill") == 0

		// A draw and a failure belong to rapid's goroutine, not the bubble's.
		var faults []string
		synctest.Test(t, func(t *testing.T) { faults = p.run(t) })
		if len(faults) > 0 {
			rt.Fatalf("got %q, want no faults", faults)
		}
	})
}

// plan is all that chance decides, before anything runs.
type plan struct {
	rt    *rapid.T
	spec  func(*world) supervisor.Spec
	names []string // of the probes
	sups  int
	inits map[string][]string // what an init does, life by life
	ends  map[string]string   // what a terminate does
	steps []step
	kill  bool // the root is killed in the end

	release time.Duration // the time a release takes
}

type step struct {
	at   time.Duration // after the step before
	name string
	how  string
}

var scopes = []genserver.Scope{genserver.Local, genserver.Cluster}

// tree draws a supervisor; the probes are made once there is a world.
func (p *plan) tree(depth int) func(*world) supervisor.Spec {
	rt := p.rt
	spec := supervisor.Spec{
		Strategy:    supervisor.Strategy(rapid.IntRange(0, 2).Draw(rt, "strategy")),
		MaxRestarts: rapid.SampledFrom([]int{supervisor.NoRestarts, 1, 3, 100}).Draw(rt, "max restarts"),
	}
	if growth := supervisor.Growth(rapid.IntRange(0, 3).Draw(rt, "growth")); growth != supervisor.NoBackoff {
		spec.Backoff = supervisor.Backoff{Growth: growth, Base: 300 * time.Millisecond, Max: time.Second, Jitter: 0.25}
	}
	var runs []func(*world) genserver.Runnable
	for range rapid.IntRange(0, 4).Draw(rt, "children") {
		c := supervisor.Child{
			Restart:  supervisor.Restart(rapid.IntRange(0, 2).Draw(rt, "restart")),
			Shutdown: rapid.SampledFrom([]time.Duration{0, supervisor.BrutalKill, time.Second}).Draw(rt, "shutdown"),
		}
		var run func(*world) genserver.Runnable
		if depth > 0 && rapid.IntRange(0, 2).Draw(rt, "nested") == 0 {
			p.sups++
			c.Name = fmt.Sprintf("sup%d", p.sups)
			below := p.tree(depth - 1)
			run = func(w *world) genserver.Runnable { return below(w) }
		} else {
			c.Name = p.probe()
			c.Scope = rapid.SampledFrom(scopes).Draw(rt, "scope")
			run = func(w *world) genserver.Runnable { return probeType.With(w) }
		}
		spec.Children = append(spec.Children, c)
		runs = append(runs, run)
	}
	return func(w *world) supervisor.Spec {
		made := spec
		made.Children = nil
		for i, c := range spec.Children {
			c.Run = runs[i](w)
			made.Children = append(made.Children, c)
		}
		return made
	}
}

// probe draws what the lives of a probe are like.
func (p *plan) probe() string {
	name := fmt.Sprintf("p%d", len(p.names))
	p.names = append(p.names, name)
	if p.inits == nil {
		p.inits, p.ends = map[string][]string{}, map[string]string{}
	}
	p.inits[name] = rapid.SliceOfN(rapid.SampledFrom([]string{"", "", "", "", "slow", "fail", "panic", "hang"}), 6, 6).Draw(p.rt, "inits")
	p.ends[name] = rapid.SampledFrom([]string{"", "", "", "slow", "stuck"}).Draw(p.rt, "terminate")
	return name
}

func (p *plan) step() step {
	s := step{at: rapid.SampledFrom([]time.Duration{0, 0, 1, 200 * time.Millisecond, time.Second, 10 * time.Second}).Draw(p.rt, "at")}
	if len(p.names) > 0 {
		s.name = rapid.SampledFrom(p.names).Draw(p.rt, "who")
		s.how = rapid.SampledFrom([]string{"normal", "error", "panic", "goexit", "stick", "kill"}).Draw(p.rt, "how")
	}
	return s
}

func (p *plan) run(t *testing.T) []string {
	router := &claimRouter{slow: p.release, patience: 2000}
	w := newWorld(t, genserver.Config{Router: router})
	for _, name := range p.names {
		w.onInit[name] = func(ctx *genserver.Context, life int) error { return p.init(ctx, w, name, life) }
		w.onTerminate[name] = func() { p.terminate(w, name) }
	}
	root, err := w.sys.Spawn("root", p.spec(w), genserver.SpawnOptions{})
	if err != nil {
		return []string{err.Error()}
	}
	for _, s := range p.steps {
		<-time.After(s.at)
		if s.at > 0 {
			synctest.Wait()
		}
		p.take(w, s)
	}
	if p.kill {
		root.Kill()
	} else {
		root.RequestStop(genserver.Shutdown)
	}
	<-root.Exited()
	return append(p.leftovers(w, router), w.faults...)
}

// init is what a probe's init does in one of its lives.
func (p *plan) init(ctx *genserver.Context, w *world, name string, life int) error {
	what := ""
	if life <= len(p.inits[name]) {
		what = p.inits[name][life-1]
	}
	switch what {
	case "slow":
		<-time.After(500 * time.Millisecond)
	case "fail":
		return errBroken
	case "panic":
		panic("oops")
	case "hang":
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (p *plan) terminate(w *world, name string) {
	switch p.ends[name] {
	case "slow":
		<-time.After(300 * time.Millisecond)
	case "stuck":
		<-w.gate
	}
}

func (p *plan) take(w *world, s step) {
	ref := w.sys.Ref(s.name)
	switch s.how {
	case "":
	case "kill":
		if process := w.process(s.name); process != nil {
			process.Kill()
		}
	case "stick":
		go func() { _, _ = genserver.Call(context.Background(), ref, stick{}) }()
	default:
		go func() { _, _ = genserver.Call(context.Background(), ref, end{How: s.how}) }()
	}
}

// leftovers are what the root's end must not leave, at once or an hour later.
func (p *plan) leftovers(w *world, router *claimRouter) (faults []string) {
	check := func(when string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for name, process := range w.last {
			if process.Reason() == nil {
				faults = append(faults, fmt.Sprintf("%s %s: got %v alive, want it gone", when, name, process))
			}
		}
	}
	synctest.Wait()
	check("at the end")
	w.open()
	<-time.After(time.Hour)
	synctest.Wait()
	check("an hour later")
	// A name that was being claimed when its server was killed is given back
	// without anybody's waiting for it; a root that was killed gives nothing back.
	if held := router.holds(); len(held) > 0 && !p.kill {
		faults = append(faults, fmt.Sprintf("got names %v held, want none", held))
	}
	for _, name := range append([]string{"root"}, p.names...) {
		err := w.sys.Ref(name).Stop(context.Background(), nil)
		if !isNoProcess(err) {
			faults = append(faults, fmt.Sprintf("stop %s: got %v, want ErrNoProcess", name, err))
		}
	}
	if twice := router.twice(); twice != "" {
		faults = append(faults, twice)
	}
	return faults
}
