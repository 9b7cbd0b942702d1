package genserver

import "time"

// ProcessInfo is what a System tells of a process, for people who look at it.
type ProcessInfo struct {
	// Name is the server's.
	Name string
	// Type is the name of what runs, as [Define] has it.
	Type string
	// Generation is as in [Process.Generation].
	Generation uint64
	// Supervisor is the name of the one that started it, "" for none; see [Watcher].
	Supervisor string
	// State is starting, idle, busy or stopping.
	State string
	// Handling is what is handled now, as in `call "acquire"`, "" for nothing.
	Handling string
	// Started is when the process was made; its init ran from then on.
	Started time.Time
	// Mailbox is how many messages wait.
	Mailbox int
	// InFlight is how many calls are not answered yet: those that wait, the one
	// whose handler runs, and those to be answered later.
	InFlight int
	// Handled is how many messages there were in this generation, timers' included.
	Handled uint64
	// Epoch is as in [Context.Epoch].
	Epoch uint64
}

// Processes tells of all processes, in no order. Each is as it was at one
// moment, but not all at the same.
func (s *System) Processes() []ProcessInfo {
	all := s.procs.all()
	infos := make([]ProcessInfo, 0, len(all))
	for _, p := range all {
		if info, ok := p.info(); ok {
			infos = append(infos, info)
		}
	}
	return infos
}

// Process tells of one process, if there is one of that name.
func (s *System) Process(name string) (ProcessInfo, bool) {
	p := s.procs.get(name)
	if p == nil {
		return ProcessInfo{}, false
	}
	return p.info()
}

// info reports false of a process that has ended.
func (p *Process) info() (ProcessInfo, bool) {
	i := ProcessInfo{Name: p.name, Type: p.host.def.name, Generation: p.gen, Started: time.Unix(0, p.born)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if w, ok := p.watch.(interface{ Supervisor() string }); ok {
		i.Supervisor = w.Supervisor()
	}
	i.State = phases[p.phase]
	i.Mailbox = p.box.waiting() + len(p.signals)
	i.InFlight = p.inFlight()
	i.Handled = p.turns + p.box.uncounted()
	if p.running != nil {
		i.Handling = p.ctx.handling()
	}
	if p.claim != nil && p.phase != starting { // it's set by the start
		i.Epoch = p.claim.Epoch()
	}
	return i, p.phase != exited
}

var phases = [...]string{starting: "starting", idle: "idle", busy: "busy", stopping: "stopping", exited: "exited"}

// inFlight counts the calls that are not answered; p.mu is held.
func (p *Process) inFlight() (n int) {
	// Of the running message it's the context that is asked: the item may be
	// its caller's again.
	if p.running != nil && p.running != aLetter && p.ctx.msg.kind == KindCall {
		n++
	}
	p.box.each(func(s *slot) {
		if isCall(s) {
			n++
		}
	})
	for c := p.pending; c != nil; c = c.next {
		if c.call != p.running {
			n++
		}
	}
	return n
}
