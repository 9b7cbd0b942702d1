package genserver

import (
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
	// Generation is the one that ended; zero where there was no process.
	Generation uint64 `json:"generation"`
	// Reason is why: Normal, Shutdown, Killed or an error; ErrNoProcess where
	// there was no process to monitor.
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
	owner  *Process
	target *Process // nil for none
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
// A name of another node is refused with ErrUnavailable.
func (c *Context) Monitor(to Ref) (*Monitor, error) {
	p, err := to.local()
	if err != nil {
		return nil, err
	}
	if p == nil && to.node != "" && to.node != to.sys.node {
		return nil, undelivered(ErrUnavailable, to.String(), "only servers of this node can be monitored")
	}
	if p == nil && to.sys.router != nil && !to.sys.holds(to.name) {
		return nil, undelivered(ErrUnavailable, to.String(), "not on this node, and only its servers can be monitored")
	}
	return c.monitor(to.name, p), nil
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
		m.owner.dropMonitor(m)
		if m.target != nil {
			m.target.forget(m)
		}
	}
	return was != monitorDone
}

// tell queues the Down, in a mailbox however full.
func (m *Monitor) tell() {
	if !m.state.CompareAndSwap(monitorWaiting, monitorQueued) {
		return
	}
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
		if m.target != nil {
			m.target.forget(m)
		}
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
