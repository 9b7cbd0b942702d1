package genserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/civitas-go/civitas/internal/name"
)

// Config is a System's. Its zero value is one process on its own.
type Config struct {
	// Node names this node; empty where there is only one.
	Node string
	// Router carries messages to other nodes; nil for none.
	Router Router
	// Codec converts between a Map and a handler's own type; nil for [JSON].
	Codec Codec
	// Logger takes what the runtime has to say; nil for slog.Default().
	Logger *slog.Logger
	// TracerProvider makes the spans; nil for the global one, as it is when
	// the System is made.
	TracerProvider trace.TracerProvider
	// MeterProvider takes the metrics; nil for the global one, as it is when
	// the System is made. [System.Stop] ends what it observes.
	MeterProvider metric.MeterProvider
	// Notices is told what supervisors do, from their goroutines: it must not
	// block. Nil for nobody.
	Notices func(Notice)
}

// System is the process table of one program: where servers start, are found
// by name, and end. Its methods may be called from anywhere.
type System struct {
	node    string
	router  Router
	codec   Codec
	log     *slog.Logger
	tracer  trace.Tracer // nil where nobody traces
	metrics *metrics     // nil where nobody measures
	notices func(Notice) // nil where nobody is told

	// Those who send read what is above and these, so what is written often is below.
	procs    *table
	draining atomic.Bool // takes no calls from outside of its servers
	closed   atomic.Bool // starts nothing any more

	hosts   sync.Map // *definition to *host
	gens    atomic.Uint64
	names   claims
	stats   counters
	dumps   dumps
	resting atomic.Int32 // servers that do; see Process.rest
}

// host is a Type in one System.
type host struct {
	def   *definition
	calls map[string]callEntry
	typed []callEntry // the same, but for Map's, which is not found by its type
	few   [2][]*entry // the same of casts and of infos, where they are few

	metrics *typeMetrics // nil where nobody measures

	full string // what a full mailbox has to say
}

// fewTypes is how many types are quicker to look through than a map.
const fewTypes = 8

// handlerOf finds the handler of a cast or an info.
func (h *host) handlerOf(kind Kind, m Message) (e *entry, known bool) {
	for _, e := range h.few[kind-KindCast] {
		if e.takes(m) {
			return e, true
		}
	}
	return lookup(h.entries(kind), h.def.op(m))
}

func (h *host) entries(kind Kind) map[string]*entry {
	if kind == KindCast {
		return h.def.casts
	}
	return h.def.infos
}

// NewSystem makes an empty System. It has no goroutines of its own; Stop ends
// its servers.
func NewSystem(cfg Config) *System {
	s := &System{node: cfg.Node, router: cfg.Router, codec: cfg.Codec, log: cfg.Logger, notices: cfg.Notices, procs: newTable()}
	if s.codec == nil {
		s.codec = JSON
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.tracer = tracerOf(cfg.TracerProvider)
	s.measure(cfg.MeterProvider)
	s.names.held, s.names.turns, s.names.lost = map[string]*heldName{}, map[string]chan struct{}{}, map[string]uint64{}
	return s
}

// Node is this node's name.
func (s *System) Node() string { return s.node }

// Logger is where the System logs.
func (s *System) Logger() *slog.Logger { return s.log }

// Ref addresses a server by name, here or, for a cluster-wide name, wherever
// it is.
func (s *System) Ref(name string) Ref { return Ref{sys: s, name: name} }

// Scope is how far a name is known.
type Scope uint8

const (
	// Local names are this node's; other nodes may have the same.
	Local Scope = iota
	// Cluster names have one owner in the whole cluster. Between two lives of
	// the server the name is still held, and calls to it wait.
	Cluster
)

// String is the scope's word in topology files.
func (s Scope) String() string {
	if s == Cluster {
		return "cluster"
	}
	return "local"
}

// SpawnOptions are how a supervisor starts a process.
type SpawnOptions struct {
	// Scope is how far the name is known. Default [Local].
	Scope Scope
	// Watcher is told of the start and the end. Default none.
	Watcher Watcher
	// Cause is the crash that this start follows. Default none.
	Cause Cause
	// OnPartition is of a cluster-wide server. Default [Pause].
	OnPartition OnPartition
}

// Spawn starts a process and returns before its init has run. Its error is
// ErrNameTaken, ErrDraining in a System that is stopping, or a bad name; no
// Watcher is told of it. It's for supervisors; others use [System.Start].
//
// A cluster-wide name is claimed first, and stays claimed after the process's
// end until [System.Release].
func (s *System) Spawn(serverName string, r Runnable, o SpawnOptions) (*Process, error) {
	if err := name.Check(serverName); err != nil && !name.Runtime(serverName) {
		return nil, fmt.Errorf("start a server: %w", err)
	}
	if r == nil {
		return nil, fmt.Errorf("start %s: nothing to run: Runnable is nil", serverName)
	}
	spec := r.GenServer()
	if spec.def == nil {
		return nil, fmt.Errorf("start %s: nothing to run: the zero Spec; use a Type's With", serverName)
	}
	p := &Process{sys: s, host: s.host(spec.def), name: serverName, gen: s.gens.Add(1), born: time.Now().UnixNano(), watch: o.Watcher, wide: o.Scope == Cluster, keeps: o.OnPartition == Keep}
	p.ctx = &Context{p: p, msg: header{op: "init"}}
	if err := s.enter(p); err != nil {
		return nil, err
	}
	var cause *Cause
	if o.Cause.span.IsValid() {
		crash := o.Cause // so that most have none on the heap
		cause = &crash
	}
	go p.start(spec.config, cause)
	return p, nil
}

// handlerFor finds the handler of a call: by the request's type if it can, which
// needs no Op, and for a few types is quicker than a map. It is nil where the one
// that is known has other types.
func handlerFor[Req CallMessage[Rep], Rep any](h *host, r Req) (op *callOp[Req, Rep], known bool) {
	for _, e := range h.typed {
		if op, ok := e.(*callOp[Req, Rep]); ok {
			return op, true
		}
	}
	e, known := lookup(h.calls, h.def.op(r))
	op, _ = e.(*callOp[Req, Rep])
	return op, known
}

func (s *System) host(d *definition) *host {
	if h, ok := s.hosts.Load(d); ok {
		return h.(*host)
	}
	h := &host{
		def:   d,
		calls: make(map[string]callEntry, len(d.calls)),
		full:  fmt.Sprintf("%d messages wait", d.mailbox),
	}
	for op, e := range d.calls {
		e = e.hosted()
		h.calls[op] = e
		if op != "" {
			h.typed = append(h.typed, e)
		}
	}
	for kind := KindCast; kind <= KindInfo; kind++ {
		if entries := h.entries(kind); len(entries) <= fewTypes {
			h.few[kind-KindCast] = ownTypes(entries)
		}
	}
	if s.metrics != nil {
		h.metrics = s.metrics.ofType(d)
	}
	actual, _ := s.hosts.LoadOrStore(d, h)
	return actual.(*host)
}

// ownTypes are the handlers but for the fallback.
func ownTypes(entries map[string]*entry) (own []*entry) {
	for op, e := range entries {
		if op != "" {
			own = append(own, e)
		}
	}
	return own
}

// Start starts a server without a supervisor and waits for its init. If ctx
// ends first, the server is killed. When the server ends, for whatever reason,
// nothing restarts it.
//
// The error is, or has in it, that of [System.Spawn], what init returned or
// panicked with, or ctx's; no server has been left behind then.
func (s *System) Start(ctx context.Context, name string, r Runnable, o SpawnOptions) (*Process, error) {
	w := &startWatcher{next: o.Watcher, started: make(chan error, 1)}
	o.Watcher = w
	p, err := s.Spawn(name, r, o)
	if err != nil {
		return nil, err
	}
	select {
	case err := <-w.started:
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", name, err)
		}
		p.mu.Lock()
		p.watch = w.next // w has done its work
		p.mu.Unlock()
		return p, nil
	case <-ctx.Done():
		p.Kill()
		return nil, fmt.Errorf("start %s: %w", name, ctx.Err())
	}
}

// startWatcher turns a Watcher's notices into Start's answer.
type startWatcher struct {
	next    Watcher
	started chan error
}

func (w *startWatcher) ProcessStarted(p *Process) {
	w.tell(nil)
	if w.next != nil {
		w.next.ProcessStarted(p)
	}
}

// tell has Start know the first notice.
func (w *startWatcher) tell(err error) {
	select {
	case w.started <- err:
	default:
	}
}

func (w *startWatcher) ProcessExited(p *Process, reason error) {
	w.tell(reason)
	if w.next != nil {
		w.next.ProcessExited(p, reason)
	}
}

// Drain refuses new calls and casts from outside of the servers, with
// ErrDraining, and waits until every server has handled what it was sent, or
// ctx ends. Servers still call each other meanwhile, and so do other nodes' on
// behalf of one here that waits for it; their other calls are refused. Casts that other
// nodes and clients have sent are handled, since those can't be told.
func (s *System) Drain(ctx context.Context) error {
	s.draining.Store(true)
	// Servers are looked at one after the other, and one of them may hand work
	// to another that was looked at before. Only when two rounds in a row found
	// all of them idle, and none had a turn in between, were all of them idle
	// at once.
	var before map[*Process]uint64
	for {
		now, quiet := map[*Process]uint64{}, true
		for _, p := range s.procs.all() {
			turns, wasIdle, err := p.settle(ctx)
			if err != nil {
				return fmt.Errorf("drain: %s still has work: %w", p, err)
			}
			now[p] = turns
			quiet = quiet && wasIdle
		}
		if quiet && before != nil && maps.Equal(before, now) {
			return nil
		}
		before = nil
		if quiet {
			before = now
		}
	}
}

// Stop ends every server that is left, all at once, with the reason [Shutdown],
// and kills those that have not ended when ctx does; its error names them.
// Supervised servers are stopped by stopping their supervisor first.
func (s *System) Stop(ctx context.Context) error {
	s.names.mu.Lock() // a Spawn under way is before, and among those left, or refused
	s.closed.Store(true)
	s.names.mu.Unlock()
	s.draining.Store(true)
	left := s.procs.all()
	for _, p := range left {
		p.RequestStop(Shutdown)
	}
	var errs []error
	for _, p := range left {
		select {
		case <-p.Exited():
		case <-ctx.Done():
			if p.kill(Killed) {
				errs = append(errs, fmt.Errorf("%s did not stop and was killed", p))
			}
		}
	}
	errs = append(errs, s.releaseAll(context.WithoutCancel(ctx)), s.metrics.close())
	return errors.Join(errs...)
}
