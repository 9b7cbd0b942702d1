package supervisor

import (
	"slices"
	"strings"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/supervision"
)

// running is one generation of a child: its process, and the one who watches it.
type running struct {
	*genserver.Process
	server     *server
	id         string
	generation uint64          // the core's count
	nest       *nest           // of a supervisor
	cause      genserver.Cause // the crash that it follows

	// Guarded by the server's mu.
	started  bool
	deadline *time.Timer // kills the process if it does not stop
}

// end is why a child's last life ended.
type end struct {
	reason error
	crash  genserver.Cause
}

// kept is a child and what the supervisor made of it.
type kept struct {
	Child
	restart supervision.Restart // defaults resolved
	added   bool                // by a request
	spawner *genserver.Ref      // to be told of the end; nil if it isn't to be
	alone   bool                // as in StartChild
	ended   func(error)         // as in StartChild; nil for nobody
}

func (k kept) core() supervision.Child {
	return supervision.Child{ID: k.Name, Restart: k.restart, Shutdown: k.shutdown(), Significant: k.Significant, Alone: k.alone, Told: k.ended != nil}
}

// startChild spawns a child, which answers by its watcher; one that can't be
// spawned has failed to start. It holds the lock meanwhile, so that killChildren
// comes before the child, which is refused then, or after.
func (s *server) startChild(a supervision.StartChild) {
	if rel := s.releasing[a.ID]; rel != nil {
		rel.waiting = &a
		return
	}
	if a.Restarts > 0 {
		s.log.Info("restarting", "server", a.ID, "restarts", a.Restarts, "supervisor", s.self.Name())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost {
		s.tell(supervision.StartFailed{ID: a.ID, Generation: a.Generation, Reason: genserver.Killed})
		return
	}
	child := s.spec[a.ID]
	if a.Generation > 1 {
		s.sys.Notify(genserver.Notice{
			Kind: genserver.Restarted, Server: a.ID, Supervisor: s.self.Name(), Reason: s.ended[a.ID].reason, Cause: s.ended[a.ID].crash,
		}, child.Run)
	}
	r := &running{server: s, id: a.ID, generation: a.Generation, cause: s.ended[a.ID].crash}
	delete(s.ended, a.ID)
	if child.added {
		s.nest.add(child.ClusterNames())
	}
	p, err := s.sys.Spawn(a.ID, r.runnable(child.Child), genserver.SpawnOptions{Scope: child.Scope, Watcher: r, Cause: r.cause, OnPartition: child.OnPartition})
	if err != nil { // no process will tell of it
		s.log.Error("server did not start", "server", a.ID, "reason", err)
		s.ended[a.ID] = end{err, r.cause}
		s.tell(supervision.StartFailed{ID: a.ID, Generation: a.Generation, Reason: err})
		return
	}
	r.Process = p
	s.children[a.ID] = r
}

// runnable is the child's Run; a supervisor is told of the one above it.
func (r *running) runnable(c Child) genserver.Runnable {
	below := &nest{outer: r.server.nest}
	switch run := c.Run.(type) {
	case Spec:
		r.nest = below
		return config{Spec: run, nest: below}
	case Dynamic:
		r.nest = below
		return run.config(below)
	default:
		return c.Run
	}
}

func (s *server) stopChild(a supervision.StopChild) {
	if rel := s.releasing[a.ID]; rel != nil && rel.waiting != nil {
		rel.waiting = nil
		s.tell(supervision.StartFailed{ID: a.ID, Generation: a.Generation, Reason: genserver.Shutdown})
		return
	}
	s.mu.Lock()
	r := s.children[a.ID]
	if r == nil {
		s.mu.Unlock()
		return // its end is on its way to the inbox
	}
	if timeout := time.Duration(a.Shutdown); timeout > 0 {
		r.deadline = time.AfterFunc(timeout, func() {
			s.log.Warn("server did not stop in time and is killed", "server", a.ID, "generation", r.Generation(), "shutdown", timeout)
			r.Kill()
		})
	}
	s.mu.Unlock()
	if a.Shutdown == supervision.Brutal {
		r.Kill()
		return
	}
	r.RequestStop(genserver.Shutdown)
}

// killChildren follows the supervisor's own Kill, in the goroutine of whoever
// did that. Nothing is started from then on.
func (s *server) killChildren() {
	s.mu.Lock()
	s.lost = true
	all := make([]*running, 0, len(s.children))
	for _, r := range s.children {
		all = append(all, r)
	}
	for _, timer := range s.timers {
		timer.Stop()
	}
	clear(s.timers)
	s.mu.Unlock()
	if len(all) > 0 {
		slices.SortFunc(all, func(a, b *running) int { return strings.Compare(a.id, b.id) })
		names := make([]string, len(all))
		for i, r := range all {
			names[i] = r.id
		}
		s.log.Warn("supervisor was killed, and its children with it", "supervisor", s.self.Name(), "servers", names)
	}
	for _, r := range all {
		r.Kill()
	}
}

// Supervisor is for those who look at the process; see [genserver.Watcher].
func (r *running) Supervisor() string { return r.server.self.Name() }

// ProcessStarted may come after ProcessExited, if the process is killed just
// then; the core takes no notice of it.
func (r *running) ProcessStarted(*genserver.Process) {
	r.server.mu.Lock()
	r.started = true
	r.server.mu.Unlock()
	r.server.tell(supervision.ChildStarted{ID: r.id, Generation: r.generation})
}

func (r *running) ProcessExited(p *genserver.Process, reason error) {
	s := r.server
	s.mu.Lock()
	if r.deadline != nil {
		r.deadline.Stop()
	}
	delete(s.children, r.id)
	started := r.started
	crash := p.CrashedIn()
	if !started {
		crash = r.cause // which the next attempt follows too
	}
	s.ended[r.id] = end{reason, crash}
	s.mu.Unlock()
	if r.nest != nil {
		s.inbox.put(func() { s.releaseNest(r) })
	}
	if !started {
		s.tell(supervision.StartFailed{ID: r.id, Generation: r.generation, Class: classOf(reason), Reason: reason})
		return
	}
	s.tell(supervision.ChildExited{ID: r.id, Generation: r.generation, Class: classOf(reason), Reason: reason})
}
