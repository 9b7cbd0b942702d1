package genserver

import (
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/trace"
)

// Down is the info by which a [Monitor] tells that its server has ended. A
// server that monitors handles it with [HandleInfo]; its op is "_down".
type Down struct {
	Signal
	// Monitor is the one that tells.
	Monitor *Monitor `json:"-"`
	// Server and Node name the one that ended.
	Server string `json:"server"`
	Node   string `json:"node,omitempty"`
	// Generation is the one that ended; zero where there was no process, and
	// where the node was lost before it could tell.
	Generation uint64 `json:"generation"`
	// Reason is why: Normal, Shutdown, Killed or an error; ErrNoProcess where
	// there was no process to monitor; ErrNodeDown where its node has left or
	// was declared dead, which leaves open how the process ended.
	Reason *Error `json:"reason"`
}

// Op is Down's op, one of the runtime's own.
func (Down) Op() string { return "_down" }

// Monitor waits for the end of one generation of a server on behalf of another
// server's. It tells once, by a [Down], which comes after all that the ended
// server has sent to the one that monitors, and never finds its mailbox full.
// It dies with the generation that monitors. Its methods may be called from
// anywhere.
type Monitor struct {
	owner  *Process   // nil where notify is called
	notify func(Down) // by the goroutine that ends the target
	target *Process   // nil for none here
	far    *farMonitor
	down   Down
	span   *trace.SpanContext // of the handler that monitors
	state  atomic.Uint32
}

const (
	monitorWaiting uint32 = iota
	monitorQueued         // its Down is in the mailbox
	monitorDone           // handled, cancelled, or its owner has ended
)

// Monitor has the server handle a [Down] when the process that has the name now
// ends, or at once, with ErrNoProcess, if there is none. A server may monitor
// another more than once, and itself to no avail. The successor of a process
// that ended is not monitored: that takes another Monitor.
//
// It never waits. Of a server on another node, "now" is when that node hears of
// it, which is after all that this server has sent there before. While it can't be
// reached, and its node is not known to have ended, the Monitor waits: a
// connection that is lost and made again costs no Down, and brings no second one.
//
// The error is that of the zero Ref alone.
func (c *Context) Monitor(to Ref) (*Monitor, error) {
	p, err := to.local()
	if err != nil {
		return nil, err
	}
	if p == nil && !to.isHere() {
		return c.monitorFar(to), nil
	}
	return c.monitor(to.name, p), nil
}

// isHere reports whether a name without a process here can't have one elsewhere.
func (r Ref) isHere() bool {
	switch {
	case r.sys.router == nil:
		return true
	case r.node != "":
		return r.node == r.sys.node
	default:
		return r.sys.holds(r.name)
	}
}

// farMonitor is what ends a Monitor of another node's server.
type farMonitor struct {
	mu     sync.Mutex
	over   bool
	cancel func() // nil until the Router has given it
}

// end has the Router forget the monitor.
func (f *farMonitor) end() {
	f.mu.Lock()
	cancel := f.cancel
	f.over, f.cancel = true, nil
	f.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

func (f *farMonitor) begun(cancel func()) {
	f.mu.Lock()
	over := f.over
	if !over {
		f.cancel = cancel
	}
	f.mu.Unlock()
	if over {
		cancel()
	}
}

func (c *Context) monitorFar(to Ref) *Monitor {
	m := &Monitor{owner: c.p, span: c.spanContext(), far: &farMonitor{}}
	if !m.owner.addMonitor(m) {
		m.state.Store(monitorDone)
		return m
	}
	m.far.begun(to.sys.router.Monitor(to.name, to.node, func(d Down) {
		d.Monitor = m
		m.tellOnce(func() { m.down = d }) // a second one must not touch what is being read
	}))
	if m.state.Load() == monitorDone { // its owner ended meanwhile
		m.unwatch()
	}
	return m
}

// Watch has fn called once, when the process that has the name now ends, from
// the goroutine that ends it; fn must not block. ErrNoProcess, undelivered, says
// that there is none. It's for a [Router], on behalf of another node's monitors.
func (s *System) Watch(name string, fn func(Down)) (p *Process, cancel func(), err error) {
	p = s.procs.get(name)
	if p == nil {
		return nil, nil, undelivered(ErrNoProcess, name, "not on node %s", s.node)
	}
	m := &Monitor{notify: fn, target: p, down: Down{Server: name, Node: s.node, Generation: p.gen}}
	if reason, gone := p.watchedBy(m); gone {
		m.down.Reason = reasonError(reason)
		m.tell()
	}
	return p, func() { m.Cancel() }, nil
}

// MonitorProcess is Monitor for a generation, with its reason if it has ended
// already.
func (c *Context) MonitorProcess(p *Process) *Monitor { return c.monitor(p.name, p) }

func (c *Context) monitor(name string, target *Process) *Monitor {
	m := &Monitor{owner: c.p, target: target, span: c.spanContext()}
	m.down = Down{Monitor: m, Server: name, Node: c.p.sys.node, Reason: undelivered(ErrNoProcess, name, "")}
	if target != nil {
		m.down.Generation = target.gen
	}
	if !m.owner.addMonitor(m) {
		m.state.Store(monitorDone)
		return m
	}
	if target == nil {
		m.tell()
		return m
	}
	if reason, gone := target.watchedBy(m); gone {
		m.down.Reason = reasonError(reason)
		m.tell()
	}
	if m.state.Load() == monitorDone { // its owner ended meanwhile
		target.forget(m)
	}
	return m
}

// Cancel ends the monitor, and reports whether it did: false means that its Down
// was handled, is being handled, or that its server has ended. No Down is handled
// after a Cancel in a handler of the server.
func (m *Monitor) Cancel() bool {
	was := m.state.Swap(monitorDone)
	if was == monitorWaiting {
		if m.owner != nil {
			m.owner.dropMonitor(m)
		}
		m.unwatch()
	}
	return was != monitorDone
}

// unwatch has nobody tell the monitor any more.
func (m *Monitor) unwatch() {
	if m.target != nil {
		m.target.forget(m)
	}
	if m.far != nil {
		m.far.end()
	}
}

// tell queues the Down, in a mailbox however full.
func (m *Monitor) tell() {
	if m.notify != nil {
		if m.state.CompareAndSwap(monitorWaiting, monitorDone) {
			m.notify(m.down)
		}
		return
	}
	m.tellOnce(func() {})
}

// tellOnce queues the Down that set has filled in, which only the first does.
func (m *Monitor) tellOnce(set func()) {
	if !m.state.CompareAndSwap(monitorWaiting, monitorQueued) {
		return
	}
	set()
	m.owner.dropMonitor(m)
	if m.owner.push(m, true) != nil {
		m.state.Store(monitorDone)
	}
}

// The item.

func (m *Monitor) header() *header {
	return &header{kind: KindInfo, op: m.down.Op(), local: m.target, timer: true, span: m.span}
}

func (m *Monitor) message() Message { return m.down }

func (m *Monitor) use() uint64 { return 0 }

func (m *Monitor) run(p *Process, c *Context) error {
	if !m.state.CompareAndSwap(monitorQueued, monitorDone) {
		return nil
	}
	return handleOneWay(p, c, KindInfo, "", m.down, nil)
}

func (m *Monitor) discard(uint64, failure) { m.state.Store(monitorDone) }

// monitors are what a process has to do with them: its own, and those that
// wait for its end. No two processes' locks are ever held at once.
type monitors struct {
	own  map[*Monitor]struct{}
	told map[*Monitor]struct{}
}

// addMonitor notes a monitor with the process that monitors.
func (p *Process) addMonitor(m *Monitor) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.phase >= stopping {
		return false
	}
	own := &p.extra().monitors.own
	if *own == nil {
		*own = map[*Monitor]struct{}{}
	}
	(*own)[m] = struct{}{}
	return true
}

func (p *Process) dropMonitor(m *Monitor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.more != nil {
		delete(p.more.monitors.own, m)
	}
}

// watchedBy notes a monitor with the process that it monitors, or reports that
// it has ended, and why.
func (p *Process) watchedBy(m *Monitor) (reason error, gone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.concluded {
		return p.stop, true
	}
	told := &p.extra().monitors.told
	if *told == nil {
		*told = map[*Monitor]struct{}{}
	}
	(*told)[m] = struct{}{}
	return nil, false
}

func (p *Process) forget(m *Monitor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.more != nil {
		delete(p.more.monitors.told, m)
	}
}

// endMonitors ends those that a process has had; they tell nothing any more.
func endMonitors(own map[*Monitor]struct{}) {
	for m := range own {
		m.state.Store(monitorDone)
		m.unwatch()
	}
}

// tellMonitors tells those that wait for the process's end.
func (p *Process) tellMonitors(told map[*Monitor]struct{}, reason error) {
	for m := range told {
		m.down.Reason = reasonError(reason)
		m.tell()
	}
}

// holds reports whether a cluster-wide name is this System's.
func (s *System) holds(name string) bool {
	s.names.mu.Lock()
	defer s.names.mu.Unlock()
	return s.names.held[name] != nil
}
