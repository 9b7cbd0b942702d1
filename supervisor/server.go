package supervisor

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/supervision"
)

const typeName = "civitas.Supervisor"

// serverType is the server that every supervisor is.
var serverType = genserver.Define(typeName, start,
	genserver.HandleInfo((*server).wake),
	genserver.HandleTerminate((*server).terminate))

// config is what a supervisor is started with.
type config struct {
	Spec
	// nested: the supervisor above gives the cluster-wide names back.
	nested bool
}

// nested is a Spec below another supervisor.
type nested Spec

// GenServer makes it a genserver.Runnable.
func (n nested) GenServer() genserver.Spec {
	return serverType.With(config{Spec: Spec(n), nested: true})
}

// server carries out what the decision core orders, and tells it what came of
// it. What mu does not guard belongs to whoever has the turn.
type server struct {
	spec   map[string]Child
	nested bool
	core   *supervision.Core
	inbox  *inbox
	sys    *genserver.System
	self   *genserver.Process
	log    *slog.Logger
	began  time.Time
	final  supervision.Action // the core's last word

	// releasing are the children whose names are being given back, with the
	// start that waits for that.
	releasing map[string]*supervision.StartChild

	mu       sync.Mutex
	children map[string]*running
	ended    map[string]error       // why the children that are not there ended last
	timers   map[uint64]*time.Timer // of backoffs
	lost     bool                   // the supervisor was killed, and its children with it
}

// start is the supervisor's init: it returns once all children have started,
// or none is left.
func start(ctx *genserver.Context, cfg config) (*server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	spec := cfg.core()
	core, err := supervision.New(spec)
	if err != nil {
		return nil, err
	}
	s := &server{
		spec:      make(map[string]Child, len(cfg.Children)),
		nested:    cfg.nested,
		core:      core,
		inbox:     newInbox(ctx.Process()),
		sys:       ctx.System(),
		self:      ctx.Process(),
		log:       ctx.System().Logger(),
		began:     time.Now(),
		releasing: map[string]*supervision.StartChild{},
		children:  make(map[string]*running, len(cfg.Children)),
		ended:     map[string]error{},
		timers:    map[uint64]*time.Timer{},
	}
	for _, c := range cfg.Children {
		s.spec[c.Name] = c
	}
	if !spec.CanEscalate() {
		s.log.Warn("the backoff keeps a child that always crashes below the restart limit for ever",
			"supervisor", s.self.Name(), "max_restarts", spec.MaxRestarts, "restart_window", spec.Window)
	}
	s.self.OnKill(s.killChildren)
	s.step(supervision.Start{})
	s.await(ctx, supervision.Stop{Reason: genserver.Shutdown})
	return s, s.verdict()
}

// wake handles what has gathered in the inbox.
func (s *server) wake(*genserver.Context, wake) error {
	s.inbox.run()
	return s.verdict()
}

// terminate stops the children in reverse order. If the supervisor has not
// finished when it is killed itself, its children are killed with it.
func (s *server) terminate(ctx *genserver.Context, reason error) {
	stop := supervision.Stop{Reason: reason}
	s.step(stop)
	s.await(ctx, stop)
}

// await keeps the turn until the supervisor runs, or has nothing left to end.
// When ctx ends before, the core is told to give up.
func (s *server) await(ctx context.Context, giveUp supervision.Event) {
	done := ctx.Done()
	for s.core.Phase() != supervision.PhaseRunning && (s.final == nil || len(s.releasing) > 0) {
		select {
		case <-s.inbox.ready:
			s.inbox.run()
		case <-done:
			done = nil
			s.step(giveUp)
		}
	}
}

// verdict is the error that the core's last word amounts to.
func (s *server) verdict() error {
	switch f := s.final.(type) {
	case supervision.Failed:
		return startFailed(f)
	case supervision.Escalate:
		return exhausted(f.Reason)
	case supervision.Stopped:
		return genserver.Stop(f.Reason)
	default:
		return nil
	}
}

// tell has the core step in the supervisor's turn.
func (s *server) tell(e supervision.Event) { s.inbox.put(func() { s.step(e) }) }

// step has the core decide, and carries it out.
func (s *server) step(e supervision.Event) {
	for _, a := range s.core.Step(time.Since(s.began), e) {
		switch a := a.(type) {
		case supervision.StartChild:
			s.startChild(a)
		case supervision.StopChild:
			s.stopChild(a)
		case supervision.StartTimer:
			s.startTimer(a)
		case supervision.CancelTimer:
			s.cancelTimer(a.Token)
		case supervision.Release:
			s.release(a.ID)
		case supervision.Started:
		default:
			s.final = a
		}
	}
}

func (s *server) startTimer(a supervision.StartTimer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost {
		return
	}
	s.timers[a.Token] = time.AfterFunc(a.Delay, func() {
		s.cancelTimer(a.Token)
		s.tell(supervision.TimerFired{Token: a.Token})
	})
}

func (s *server) cancelTimer(token uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if timer := s.timers[token]; timer != nil {
		timer.Stop()
		delete(s.timers, token)
	}
}
