package nodetest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/goleak"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/node/nodetest"
	"github.com/civitas-go/civitas/services/ratelimit"
	"github.com/civitas-go/civitas/supervisor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limiters is a tree with a rate limiter, and another below a supervisor of its own.
var limiters = supervisor.Spec{Children: []supervisor.Child{
	{Name: "limiter", Run: ratelimit.Limiter.With(ratelimit.Config{}), Scope: supervisor.Cluster},
	{Name: "below", Run: supervisor.Spec{Children: []supervisor.Child{
		{Name: "deep", Run: ratelimit.Limiter.With(ratelimit.Config{})},
	}}},
}}

func acquire(t *testing.T, to genserver.Ref, n, remaining int) {
	t.Helper()
	want := ratelimit.Grant{OK: true, Remaining: remaining}
	if got, err := genserver.Call(t.Context(), to, ratelimit.Acquire{N: n}); err != nil || got != want {
		t.Errorf("acquire from %s: got %+v, %v; want %+v", to, got, err, want)
	}
}

func TestUpInMilliseconds(t *testing.T) {
	t.Parallel()
	began := time.Now()
	n := nodetest.Start(t, node.Config{Tree: limiters})
	acquire(t, n.Ref("limiter"), 1, 99)
	took := time.Since(began)
	t.Logf("up and called after %v", took)
	if took > 5*time.Second { // as nobody knows what else the machine does
		t.Errorf("got a node after %v, want milliseconds", took)
	}
}

func TestTenMinutesInVirtualTime(t *testing.T) {
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		n := nodetest.Start(t, node.Config{NATS: node.NewMemory(), Tree: limiters})
		acquire(t, n.Ref("limiter"), 95, 5)
		<-time.After(10 * time.Minute)
		synctest.Wait()
		acquire(t, n.Ref("limiter"), 1, 99) // refilled, a second at a time
	})
	took := time.Since(began)
	t.Logf("ten minutes in %v", took)
	if took > time.Minute {
		t.Errorf("ten minutes of virtual time: took %v, want milliseconds", took)
	}
}

// onBoth runs a test with memory in virtual time, and with NATS in real time.
func onBoth(t *testing.T, test func(t *testing.T, nats node.Connector)) {
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, node.NewMemory()) })
	})
	t.Run("nats", func(t *testing.T) {
		t.Parallel()
		test(t, nodetest.NATS(t))
	})
}

func TestNodesThatAreJoined(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		n1 := nodetest.Start(t, node.Config{Name: "n1", NATS: nats, Tree: limiters})
		n2 := nodetest.Start(t, node.Config{Name: "n2", NATS: nats})
		acquire(t, n2.Ref("limiter"), 10, 90)
		acquire(t, n1.Ref("limiter"), 10, 80)
		acquire(t, n2.Ref("deep").On("n1"), 1, 99)
	})
}

func TestKillAndCrash(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		n := nodetest.Start(t, node.Config{NATS: nats, Tree: limiters})
		first := n.Generation("limiter")
		acquire(t, n.Ref("limiter"), 10, 90)
		if dead := n.Kill("limiter"); dead != first {
			t.Errorf("kill: got generation %d, want %d", dead, first)
		}
		second := n.Next("limiter", first)
		if second <= first || second != n.Generation("limiter") {
			t.Errorf("next: got generation %d, want one after %d", second, first)
		}
		acquire(t, n.Ref("limiter"), 10, 90) // a full bucket
		dead := n.Crash("limiter", errors.New("out of ideas"))
		if third := n.Next("limiter", dead); dead != second || third <= second {
			t.Errorf("crash: got generations %d and %d, want %d and a later one", dead, third, second)
		}
		acquire(t, n.Ref("limiter"), 10, 90)
	})
}

// A server below a supervisor that is restarted itself is found again.
func TestNextBelowARestartedSupervisor(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		n := nodetest.Start(t, node.Config{NATS: nats, Tree: limiters})
		deep := n.Generation("deep")
		above := n.Kill("below")
		n.Next("below", above)
		n.Next("deep", deep)
		acquire(t, n.Ref("deep"), 1, 99)
	})
}

func TestNextWaitsForTheBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tree := limiters
		tree.Backoff = supervisor.Backoff{Growth: supervisor.Constant, Base: 15 * time.Second}
		n := nodetest.Start(t, node.Config{Tree: tree})
		began := time.Now()
		n.Next("limiter", n.Kill("limiter"))
		if took := time.Since(began); took < 15*time.Second || took > 15*time.Second+20*time.Millisecond {
			t.Errorf("got the next one after %v, want just after the backoff of 15s", took)
		}
	})
}

func TestSpans(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		n1 := nodetest.Start(t, node.Config{Name: "n1", NATS: nats, Tree: limiters})
		n2 := nodetest.Start(t, node.Config{Name: "n2", NATS: nats})
		acquire(t, n2.Ref("limiter"), 1, 99)
		if span := n1.Span("limiter", "acquire"); span.Name != "civitas.genserver.call" {
			t.Errorf("got span %s, want civitas.genserver.call", span.Name)
		}
		if got := n2.Spans(); len(got) != 0 {
			t.Errorf("on the caller's node: got %d spans, want none", len(got))
		}
		if got := n1.Spans(); len(got) == 0 {
			t.Error("on the limiter's node: got no spans, want some")
		}
	})
}

// The test's own stop is the test's to judge.
func TestStopByTheTest(t *testing.T) {
	fake := &fakeT{TB: t}
	n := nodetest.Start(fake, node.Config{Tree: stuckTree(nil)})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.Stop(ctx); err == nil {
		t.Error("stop with an ended context: got nil, want word of what had to be killed")
	}
	fake.end()
	if len(fake.errors) > 0 {
		t.Errorf("got %v, want no failure", fake.errors)
	}
}

func TestANodeThatDoesNotStartFailsTheTest(t *testing.T) {
	fake := &fakeT{TB: t}
	fake.run(func() { nodetest.Start(fake, node.Config{Name: "not a token"}) })
	fake.end()
	fake.want(t, "Name")
}

func TestANodeThatDoesNotStopFailsTheTest(t *testing.T) {
	fake, leave := &fakeT{TB: t}, make(chan struct{})
	entered := make(chan struct{})
	n := nodetest.Start(fake, node.Config{Tree: stuckTree(leave), StopTimeout: 100 * time.Millisecond})
	err := n.Ref("stuck").Cast(t.Context(), block{Entered: entered})
	if err != nil {
		t.Fatalf("cast: got %v, want nil", err)
	}
	<-entered
	time.AfterFunc(500*time.Millisecond, func() { close(leave) }) // else it is a leak too
	fake.end()
	fake.want(t, "stuck")
}

func TestALeakFailsTheTest(t *testing.T) {
	fake, leave, left := &fakeT{TB: t}, make(chan struct{}), make(chan struct{})
	n := nodetest.Start(fake, node.Config{Tree: stuckTree(leave)})
	err := n.Ref("stuck").Cast(t.Context(), leak{Left: left})
	if err != nil {
		t.Fatalf("cast: got %v, want nil", err)
	}
	fake.end()
	fake.want(t, "goroutines are left", "plantedLeak")
	close(leave)
	<-left
}

// Goroutines of other tests are none of this one's.
func TestOthersGoroutinesAreNoLeak(t *testing.T) {
	leave, left := make(chan struct{}), make(chan struct{})
	other, one := &fakeT{TB: t}, &fakeT{TB: t}
	nodetest.Start(other, node.Config{})
	go func() { plantedLeak(leave); close(left) }()
	nodetest.Start(one, node.Config{Tree: limiters})
	one.end()
	one.want(t)
	close(leave)
	<-left
	other.end()
	other.want(t)
}

func TestSpansOfAnotherProvider(t *testing.T) {
	fake := &fakeT{TB: t}
	n := nodetest.Start(fake, node.Config{TracerProvider: noop.NewTracerProvider()})
	fake.run(func() { n.Spans() })
	fake.want(t, "TracerProvider")
	fake.errors = nil
	fake.end()
	fake.want(t)
}

func TestKillOfNobodyFailsTheTest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // as it waits for 20 s
		fake := &fakeT{TB: t}
		n := nodetest.Start(fake, node.Config{Name: "n1"})
		fake.run(func() { n.Kill("nobody") })
		fake.want(t, "node n1", "nobody", "20s")
		fake.errors = nil
		fake.end()
		fake.want(t)
	})
}

func TestLogsGoToTheTest(t *testing.T) {
	fake := &fakeT{TB: t}
	n := nodetest.Start(fake, node.Config{Tree: limiters})
	n.Next("limiter", n.Crash("limiter", errors.New("out of ideas")))
	fake.end()
	n.System().Logger().Error("late") // which would be a panic of the test's
	if got := fake.out.String(); !strings.Contains(got, "out of ideas") || strings.Contains(got, "late") {
		t.Errorf("got the log %q, want the crash in it, and nothing after the end", got)
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		fake := &fakeT{TB: b}
		nodetest.Start(fake, node.Config{Tree: limiters})
		fake.end()
		if len(fake.errors) > 0 {
			b.Fatal(fake.errors)
		}
	}
}

// stuckTree has a server that does what a server must not.
func stuckTree(leave chan struct{}) supervisor.Spec {
	return supervisor.Spec{Children: []supervisor.Child{
		{Name: "stuck", Run: Stuck.With(leave), Shutdown: 50 * time.Millisecond},
	}}
}

type (
	stuck struct{ leave chan struct{} }
	// block keeps the handler.
	block struct {
		genserver.OneWay
		Entered chan struct{} `json:"-"`
	}
	// leak leaves a goroutine behind.
	leak struct {
		genserver.OneWay
		Left chan struct{} `json:"-"`
	}
)

func (block) Op() string { return "block" }
func (leak) Op() string  { return "leak" }

// Stuck is the Type of the server in stuckTree.
var Stuck = genserver.Define("test.Stuck",
	func(_ *genserver.Context, leave chan struct{}) (*stuck, error) { return &stuck{leave}, nil },
	genserver.HandleCast(func(s *stuck, _ *genserver.Context, m block) error {
		close(m.Entered)
		<-s.leave
		return nil
	}),
	genserver.HandleCast(func(s *stuck, _ *genserver.Context, m leak) error {
		go func() { plantedLeak(s.leave); close(m.Left) }()
		return nil
	}))

func plantedLeak(leave <-chan struct{}) { <-leave }

// fakeT is a test whose failures are this test's to look at.
type fakeT struct {
	testing.TB
	cleanups []func()
	errors   []string
	out      strings.Builder
}

type failNow struct{}

func (f *fakeT) Cleanup(fn func()) { f.cleanups = append(f.cleanups, fn) }
func (f *fakeT) Helper()           {}
func (f *fakeT) Output() io.Writer { return &f.out }

func (f *fakeT) Errorf(format string, args ...any) {
	f.errors = append(f.errors, fmt.Sprintf(format, args...))
}

func (f *fakeT) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	panic(failNow{})
}

func (f *fakeT) Fatal(args ...any) { f.Fatalf("%s", fmt.Sprint(args...)) }

// run runs what may fail the test at once.
func (f *fakeT) run(fn func()) {
	defer func() {
		if p := recover(); p != nil && p != (failNow{}) {
			panic(p)
		}
	}()
	fn()
}

// end ends the test.
func (f *fakeT) end() {
	for len(f.cleanups) > 0 {
		last := f.cleanups[len(f.cleanups)-1]
		f.cleanups = f.cleanups[:len(f.cleanups)-1]
		last()
	}
}

// want checks that the test has failed once, with all words in it; none, and
// it must not have failed.
func (f *fakeT) want(t testing.TB, words ...string) {
	t.Helper()
	if len(words) == 0 && len(f.errors) == 0 {
		return
	}
	if len(f.errors) != 1 {
		t.Errorf("got failures %q, want one with %q", f.errors, words)
		return
	}
	for _, w := range words {
		if !strings.Contains(f.errors[0], w) {
			t.Errorf("got failure %q, want %q in it", f.errors[0], w)
		}
	}
}
