package genserver_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/civitas-go/civitas/genserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Do, Tell and Note carry what the server shall do, so that each test says in
// one place what happens on both sides.
type (
	Do struct {
		genserver.Returns[Done]
		Fn func(*genserver.Context) (Done, error) `json:"-"`
	}
	Done struct {
		N int `json:"n"`
	}
	Tell struct {
		genserver.OneWay
		Fn func(*genserver.Context) error `json:"-"`
	}
	Note struct {
		genserver.Signal
		Fn func(*genserver.Context) error `json:"-"`
	}
)

func (Do) Op() string   { return "do" }
func (Tell) Op() string { return "tell" }
func (Note) Op() string { return "note" }

// puppet is the state of a server whose messages say what it does.
type puppet struct{ hooks hooks }

// hooks are the puppet's hooks.
type hooks struct {
	init      func(*genserver.Context) error
	terminate func(*genserver.Context, error)
}

func newPuppet(ctx *genserver.Context, s hooks) (*puppet, error) {
	if s.init != nil {
		if err := s.init(ctx); err != nil {
			return nil, err
		}
	}
	return &puppet{s}, nil
}

func (*puppet) do(ctx *genserver.Context, m Do) (Done, error) {
	if m.Fn == nil {
		return Done{}, nil
	}
	return m.Fn(ctx)
}

func (*puppet) tell(ctx *genserver.Context, m Tell) error {
	if m.Fn == nil {
		return nil
	}
	return m.Fn(ctx)
}

func (*puppet) note(ctx *genserver.Context, m Note) error {
	if m.Fn == nil {
		return nil
	}
	return m.Fn(ctx)
}

func (p *puppet) end(ctx *genserver.Context, reason error) {
	if p.hooks.terminate != nil {
		p.hooks.terminate(ctx, reason)
	}
}

func puppetHandlers(more ...genserver.Handler[puppet]) []genserver.Handler[puppet] {
	return append(more,
		genserver.HandleCall((*puppet).do),
		genserver.HandleCast((*puppet).tell),
		genserver.HandleInfo((*puppet).note),
		genserver.HandleTerminate((*puppet).end),
	)
}

var (
	Puppet     = genserver.Define("test.Puppet", newPuppet, puppetHandlers()...)
	FastPuppet = genserver.Define("test.FastPuppet", newPuppet, puppetHandlers(genserver.NonBlocking[puppet]())...)
	TinyPuppet = genserver.Define("test.TinyPuppet", newPuppet, puppetHandlers(genserver.Mailbox[puppet](3))...)
)

// bothPaths runs a test on a server that has its own goroutine, and on one
// whose caller runs the handler.
func bothPaths(t *testing.T, test func(t *testing.T, typ *genserver.TypeOf[hooks])) {
	t.Run("goroutine", func(t *testing.T) { test(t, Puppet) })
	t.Run("inline", func(t *testing.T) { test(t, FastPuppet) })
}

// logBook keeps what the runtime logs.
type logBook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logBook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// newSystem makes a System that ends with the test, quiet unless told otherwise.
func newSystem(t testing.TB, cfg genserver.Config) *genserver.System {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := genserver.NewSystem(cfg)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Errorf("stop the system: got %v, want nil", err)
		}
	})
	return s
}

func start(t testing.TB, s *genserver.System, name string, r genserver.Runnable) *genserver.Process {
	t.Helper()
	p, err := s.Start(context.Background(), name, r, genserver.SpawnOptions{})
	if err != nil {
		t.Fatalf("start %s: got %v, want nil", name, err)
	}
	return p
}

// wantErr checks an error's sentinel and whether it may be sent again.
func wantErr(t testing.TB, what string, err, kind error, notDelivered bool) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s: got error %v, want %v", what, err, kind)
	}
	if got := genserver.NotDelivered(err); got != notDelivered {
		t.Errorf("%s: got NotDelivered(%v) = %v, want %v", what, err, got, notDelivered)
	}
}

func noErr(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: got error %v, want nil", what, err)
	}
}

// wait is for an event of another goroutine that is sure to come.
func wait(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: got nothing in 10s", what)
	}
}

// hold keeps a server in a handler until release is called, and says when it
// is there.
func hold(t testing.TB, s *genserver.System, name string) (release func()) {
	t.Helper()
	entered, leave := make(chan struct{}), make(chan struct{})
	err := s.Ref(name).Cast(context.Background(), Tell{Fn: func(*genserver.Context) error {
		close(entered)
		<-leave
		return nil
	}})
	noErr(t, "hold "+name, err)
	wait(t, "hold "+name, entered)
	return sync.OnceFunc(func() { close(leave) })
}

// pass lets time pass; only for bubbles, where it is virtual.
func pass(d time.Duration) { <-time.After(d) }

// flush waits until a server has handled what was sent to it before.
func flush(t testing.TB, s *genserver.System, name string) {
	t.Helper()
	_, err := genserver.Call(context.Background(), s.Ref(name), Do{})
	noErr(t, "flush "+name, err)
}

// callAsync starts a call in a goroutine; the result comes by the channel.
func callAsync(ctx context.Context, r genserver.Ref, m Do, opts ...genserver.Option) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := genserver.Call(ctx, r, m, opts...)
		done <- err
	}()
	return done
}

// watcher records a process's notices.
type watcher struct {
	mu     sync.Mutex
	events []string
	exited chan error
}

func newWatcher() *watcher { return &watcher{exited: make(chan error, 8)} }

func (w *watcher) note(event string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, event)
}

func (w *watcher) ProcessStarted(*genserver.Process) { w.note("started") }

func (w *watcher) ProcessExited(_ *genserver.Process, reason error) {
	w.note("exited: " + reason.Error())
	w.exited <- reason
}

func (w *watcher) seen() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.events...)
}

// allocations is how many allocations fn makes at least: a collection in the
// midst of a run empties the pools, which is not fn's doing, so the best of
// several runs counts.
func allocations(fn func()) float64 {
	least := testing.AllocsPerRun(500, fn)
	for range 9 {
		least = min(least, testing.AllocsPerRun(500, fn))
	}
	return least
}
