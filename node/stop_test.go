package node_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/supervisor"
)

// A node that other nodes and plain clients are busy with stops: every call
// gets its reply, or an error that says it was not delivered, and that is true.
func TestStopUnderLoad(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		var handled sync.Map
		h := hooks{handled: func(x int) { handled.Store(x, true) }}
		n1 := start(t, config("n1", nats, local("relay", hooks{})))
		n2 := start(t, config("n2", nats, public("count", hooks{}), supervisor.Child{
			Name: "counter", Run: Counter.With(h), Scope: supervisor.Cluster,
		}))
		const callers, perCaller = 8, 400
		var (
			wg, warm         sync.WaitGroup
			replies, refused atomic.Int64
		)
		warm.Add(callers)
		for c := range callers {
			wg.Go(func() {
				for i := range perCaller {
					if i == 20 {
						warm.Done()
					}
					x := c*perCaller + i
					_, err := genserver.Call(t.Context(), n1.Ref("counter"), Count{X: x}, genserver.WithTimeout(15*time.Second))
					if err == nil {
						replies.Add(1)
						continue
					}
					refused.Add(1)
					_, ran := handled.Load(x)
					if !genserver.NotDelivered(err) {
						t.Errorf("call %d: got %v, want a reply or an undelivered error", x, err)
					} else if ran {
						t.Errorf("call %d: got %v, and it was handled", x, err)
					}
				}
			})
		}
		warm.Wait()
		stop(t, n2)
		wg.Wait()
		if replies.Load() < 20*callers || refused.Load() == 0 {
			t.Errorf("got %d replies and %d errors, want the stop to fall into the load", replies.Load(), refused.Load())
		}
		if _, err := genserver.Call(t.Context(), n1.Ref("counter"), Count{}); !genserver.NotDelivered(err) {
			t.Errorf("call after the stop: got %v, want an undelivered error", err)
		}
	})
}

// Count is a call that says it was handled.
type Count struct {
	genserver.Returns[Value]
	X int `json:"x"`
}

func (Count) Op() string { return "count" }

var Counter = genserver.Define("test.Counter", newBox,
	genserver.HandleCall(func(b *box, _ *genserver.Context, c Count) (Value, error) {
		b.handled(c.X)
		return Value{X: c.X}, nil
	}))

// What was sent before the stop began is handled, though nobody waits for it.
func TestStopHandlesWhatWasSent(t *testing.T) {
	t.Parallel()
	url := startNATS(t)
	const casts = 900
	var handled atomic.Int64
	h := held()
	h.handled = func(int) { handled.Add(1) }
	n2 := start(t, config("n2", node.URL(url), public("box", h), public("other", h)))
	n1 := start(t, config("n1", node.URL(url)))
	nc, err := natsgo.Connect(url)
	noErr(t, "connect", err)
	defer nc.Close()
	running := callAsync(n1.Ref("box"), Hold{})
	receive(t, "the handler", h.entered)
	for range casts / 3 {
		noErr(t, "cast", n1.Ref("box").Cast(t.Context(), Put{}))
		noErr(t, "cast", n1.Ref("other").Cast(t.Context(), Put{}))
		noErr(t, "publish", nc.Publish("civitas.dev.s.box", []byte(`{"type":"put"}`)))
	}
	_, err = genserver.Call(t.Context(), n1.Ref("other"), Get{}) // n1's casts have left
	noErr(t, "call", err)
	noErr(t, "flush", nc.FlushWithContext(soon(t)))
	stopped := make(chan error, 1)
	go func() { stopped <- n2.Stop(soon(t)) }()
	close(h.gate)
	noErr(t, "running call", receive(t, "running call", running))
	noErr(t, "stop", receive(t, "stop", stopped))
	if got := handled.Load(); got != casts {
		t.Errorf("got %d casts handled, want all %d", got, casts)
	}
}

// While a node drains it takes no new work from outside; its own servers still
// talk to each other.
func TestDrainingRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		h := held()
		n1, n2 := start(t, config("n1", m)), start(t, config("n2", m, public("box", h)))
		running := callAsync(n1.Ref("box"), Hold{})
		receive(t, "the handler", h.entered)
		stopped := make(chan error, 1)
		go func() { stopped <- n2.Stop(soon(t)) }()
		synctest.Wait()
		for _, from := range []*node.Node{n1, n2} {
			_, err := genserver.Call(t.Context(), from.Ref("box"), Get{})
			wantErr(t, "call a draining node from "+from.Name(), err, genserver.ErrDraining, true)
		}
		close(h.gate)
		noErr(t, "running call", receive(t, "running call", running))
		noErr(t, "stop", receive(t, "stop", stopped))
	})
}

// A handler that does not end: the others terminate, the names are free, and
// the stop says who it was.
func TestStopWithAStuckHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := node.NewMemory()
		h := held()
		var book logBook
		var ends []string
		cfg := config("n2", m,
			local("first", hooks{terminate: func(reason error) { ends = append(ends, "first: "+reason.Error()) }}),
			public("stuck", h))
		cfg.Logger = slog.New(slog.NewTextHandler(&book, nil))
		n1, n2 := start(t, config("n1", m)), start(t, cfg)
		running := callAsync(n1.Ref("stuck"), Hold{}, genserver.WithTimeout(time.Hour))
		receive(t, "the handler", h.entered)

		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		err := n2.Stop(ctx)
		if err == nil {
			t.Fatal("stop with a stuck handler: got nil, want an error")
		}
		wantText(t, "stop with a stuck handler", err, "stop node n2", "drain", "stuck")
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("stop: got an end after %v, want it within its context, 20s", took)
		}
		wantErr(t, "the stuck call", receive(t, "the stuck call", running), genserver.ErrExit, false)
		if len(ends) != 1 {
			t.Errorf("the child beside it: got ends %q, want it to terminate", ends)
		}
		if log := book.String(); !strings.Contains(log, "did not stop in time") || !strings.Contains(log, "stuck") {
			t.Errorf("log: got %q, want the stuck server named", log)
		}
		// Its names are free, though its goroutine still runs.
		stop(t, start(t, config("n2", m, public("stuck", hooks{}))))
		close(h.gate)
	})
}

// A context that has ended makes the stop hard from the first.
func TestHardStop(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		h := held()
		n1 := start(t, config("n1", nats))
		n2 := start(t, config("n2", nats, public("stuck", h), public("box", hooks{})))
		running := callAsync(n1.Ref("stuck"), Hold{}, genserver.WithTimeout(time.Hour))
		receive(t, "the handler", h.entered)
		queued := callAsync(n1.Ref("stuck"), Get{}, genserver.WithTimeout(time.Hour))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		err := n2.Stop(ctx)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("hard stop: got %v, want it to match context.Canceled", err)
		}
		if took := time.Since(began); took > 20*time.Second { // of the hour; a busy machine has others to serve
			t.Errorf("hard stop: took %v, want it at once", took)
		}
		wantErr(t, "the stuck call", receive(t, "the stuck call", running), genserver.ErrExit, false)
		if err := receive(t, "the queued call", queued); !genserver.NotDelivered(err) {
			t.Errorf("the queued call: got %v, want an undelivered error", err)
		}
		stop(t, start(t, config("n2", nats, public("stuck", hooks{}), public("box", hooks{}))))
		close(h.gate)
	})
}

func TestStopTwiceAndAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, nats node.Connector) {
		n := start(t, config("n1", nats, public("box", hooks{})))
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { stop(t, n) })
		}
		wg.Wait()
		stop(t, n)
		receive(t, "Done", n.Done())
		noErr(t, "Err", n.Err())
	})
}

// A second Stop does not wait longer than its own context.
func TestSecondStopGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := held()
		n := start(t, config("n1", nil, local("box", h)))
		running := callAsync(n.Ref("box"), Hold{}, genserver.WithTimeout(time.Hour))
		receive(t, "the handler", h.entered)
		first := make(chan error, 1)
		go func() { first <- n.Stop(context.Background()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := n.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("second stop: got %v, want its own deadline", err)
		}
		close(h.gate)
		noErr(t, "running call", receive(t, "running call", running))
		noErr(t, "first stop", receive(t, "first stop", first))
	})
}

// Without a deadline, a stop has the config's.
func TestStopWithoutADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := held()
		cfg := config("n1", nil, local("box", h))
		cfg.StopTimeout = 4 * time.Second
		n := start(t, cfg)
		running := callAsync(n.Ref("box"), Hold{}, genserver.WithTimeout(time.Hour))
		receive(t, "the handler", h.entered)
		began := time.Now()
		if err := n.Stop(context.Background()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("stop: got %v, want a deadline's error", err)
		}
		if took := time.Since(began); took != 4*time.Second {
			t.Errorf("stop: took %v, want Config.StopTimeout, 4s", took)
		}
		wantErr(t, "running call", receive(t, "running call", running), genserver.ErrExit, false)
		close(h.gate)
	})
}
