package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/supervision"
)

// serverType is the server that every supervisor is.
var serverType = genserver.Define("civitas.Supervisor", start,
	genserver.HandleInfo((*server).wake),
	genserver.HandleTerminate((*server).terminate))

// server carries out what the decision core orders, and tells it what came of
// it. Everything but children and lost belongs to whoever has the turn.
type server struct {
	spec  map[string]Child
	core  *supervision.Core
	inbox *inbox
	sys   *genserver.System
	self  *genserver.Process
	log   *slog.Logger
	began time.Time
	final supervision.Action // the core's last word

	timers   map[uint64]*time.Timer // of backoffs
	releases sync.WaitGroup

	mu       sync.Mutex
	children map[string]*running
	lost     bool // the supervisor was killed, and its children with it
}

// running is a child's process, and the timer that will kill it if it does not
// stop.
type running struct {
	*genserver.Process
	deadline *time.Timer
}

// releaseTimeout bounds the giving back of one cluster-wide name.
const releaseTimeout = 5 * time.Second

func start(ctx *genserver.Context, spec Spec) (*server, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	core, err := supervision.New(spec.core())
	if err != nil {
		return nil, err
	}
	s := &server{
		spec:     make(map[string]Child, len(spec.Children)),
		core:     core,
		inbox:    newInbox(ctx.Process()),
		sys:      ctx.System(),
		self:     ctx.Process(),
		log:      ctx.System().Logger(),
		began:    time.Now(),
		timers:   map[uint64]*time.Timer{},
		children: map[string]*running{},
	}
	for _, c := range spec.Children {
		s.spec[c.Name] = c
	}
	s.self.OnKill(s.killChildren)
	return s, s.run(ctx, supervision.Start{}, supervision.Stop{Reason: genserver.Shutdown})
}

// run steps the core from an event until it reports that the start, or the end,
// is complete. If ctx ends first, the core is told to give up, and run goes on
// until nothing is left running.
func (s *server) run(ctx context.Context, event, giveUp supervision.Event) error {
	s.step(event)
	done := ctx.Done()
	for s.final == nil && s.core.Phase() != supervision.PhaseRunning {
		select {
		case <-s.inbox.ready:
			s.steps()
		case <-done:
			done = nil
			s.step(giveUp)
		}
	}
	return s.verdict()
}

// verdict is the error that the core's last word amounts to.
func (s *server) verdict() error {
	switch f := s.final.(type) {
	case supervision.Failed:
		return fmt.Errorf("child %s: %w", f.ID, f.Reason)
	case supervision.Escalate:
		return exhausted(f.Reason)
	case supervision.Stopped:
		return genserver.Stop(f.Reason)
	default:
		return nil
	}
}

// wake handles what has gathered in the inbox.
func (s *server) wake(*genserver.Context, wake) error {
	s.steps()
	return s.verdict()
}

// terminate stops the children in reverse order. If the supervisor has not
// finished when it is killed itself, its children are killed with it.
func (s *server) terminate(ctx *genserver.Context, reason error) {
	if s.final == nil {
		// The error says no more than the reason that is known already.
		_ = s.run(ctx, supervision.Stop{Reason: reason}, supervision.Stop{Reason: reason})
	}
	s.releases.Wait()
}

func (s *server) steps() {
	for _, e := range s.inbox.take() {
		s.step(e)
	}
}

// step has the core decide, and carries it out.
func (s *server) step(e supervision.Event) {
	for _, a := range s.core.Step(time.Since(s.began), e) {
		switch a := a.(type) {
		case supervision.StartChild:
			s.startChild(a)
		case supervision.StopChild:
			s.stopChild(a)
		case supervision.StartTimer:
			s.timers[a.Token] = time.AfterFunc(a.Delay, func() { s.inbox.put(supervision.TimerFired{Token: a.Token}) })
		case supervision.CancelTimer:
			s.timers[a.Token].Stop()
			delete(s.timers, a.Token)
		case supervision.Release:
			s.release(a.ID)
		case supervision.Started:
		default:
			s.final = a
		}
	}
	if fired, ok := e.(supervision.TimerFired); ok {
		delete(s.timers, fired.Token)
	}
}

func (s *server) startChild(a supervision.StartChild) {
	child := s.spec[a.ID]
	w := &watcher{server: s, id: a.ID, generation: a.Generation}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost {
		s.inbox.put(supervision.StartFailed{ID: a.ID, Generation: a.Generation, Reason: genserver.Killed})
		return
	}
	p, err := s.sys.Spawn(a.ID, child.Run, genserver.SpawnOptions{Scope: child.Scope, Watcher: w})
	if err != nil {
		s.inbox.put(supervision.StartFailed{ID: a.ID, Generation: a.Generation, Reason: err})
		return
	}
	s.children[a.ID] = &running{Process: p}
	if a.Generation > 1 {
		s.log.Info("restarting", "server", a.ID, "generation", p.Generation(), "supervisor", s.self.Name())
	}
}

func (s *server) stopChild(a supervision.StopChild) {
	s.mu.Lock()
	child := s.children[a.ID]
	if child == nil {
		s.mu.Unlock()
		return // its end is in the inbox
	}
	if timeout := time.Duration(a.Shutdown); timeout > 0 {
		child.deadline = time.AfterFunc(timeout, func() {
			s.log.Warn("server did not stop in time and is killed", "server", a.ID, "generation", child.Generation(), "shutdown", timeout)
			child.Kill()
		})
	}
	s.mu.Unlock()
	if a.Shutdown == supervision.Brutal {
		child.Kill()
		return
	}
	child.RequestStop(genserver.Shutdown)
}

// release gives a child's cluster-wide name back, outside of the turn.
func (s *server) release(id string) {
	if s.spec[id].Scope != Cluster {
		return
	}
	s.releases.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
		defer cancel()
		if err := s.sys.Release(ctx, id); err != nil {
			s.log.Error("name was not given back", "server", id, "error", err)
		}
	})
}

// killChildren follows the supervisor's own Kill, in the goroutine of whoever
// did that.
func (s *server) killChildren() {
	s.mu.Lock()
	s.lost = true
	var all []*running
	for _, child := range s.children {
		all = append(all, child)
	}
	s.mu.Unlock()
	for _, child := range all {
		child.Kill()
	}
}

// watcher tells the inbox of one generation of a child.
type watcher struct {
	server     *server
	id         string
	generation uint64
	started    bool
}

func (w *watcher) ProcessStarted(*genserver.Process) {
	w.started = true
	w.server.inbox.put(supervision.ChildStarted{ID: w.id, Generation: w.generation})
}

func (w *watcher) ProcessExited(_ *genserver.Process, reason error) {
	s := w.server
	s.mu.Lock()
	if child := s.children[w.id]; child != nil && child.deadline != nil {
		child.deadline.Stop()
	}
	delete(s.children, w.id)
	s.mu.Unlock()
	if !w.started {
		s.inbox.put(supervision.StartFailed{ID: w.id, Generation: w.generation, Reason: reason})
		return
	}
	s.inbox.put(supervision.ChildExited{ID: w.id, Generation: w.generation, Class: classOf(reason), Reason: reason})
}

// classOf sorts a child's reason. The outermost error decides: a server that
// crashed because another one ended normally did not end normally.
func classOf(reason error) supervision.Class {
	var e *genserver.Error
	if errors.As(reason, &e) {
		switch e.Code {
		case genserver.Normal.Code:
			return supervision.ClassNormal
		case genserver.Shutdown.Code:
			return supervision.ClassShutdown
		}
	}
	return supervision.ClassAbnormal
}
