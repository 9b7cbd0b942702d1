package supervisor

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/supervision"
)

// TypeName is the name of the Type that every supervisor is a process of: what
// [Spec.GenServer] makes, whatever its children are.
const TypeName = "civitas.Supervisor"

// serverType is the server that every supervisor is.
var serverType = genserver.Define(TypeName, start,
	genserver.HandleInfo((*server).wake),
	genserver.HandleCall((*server).whichChildren),
	genserver.HandleCall((*server).countChildren),
	genserver.HandleCallLater((*server).startOne),
	genserver.HandleCallLater((*server).terminateOne),
	genserver.HandleCallLater((*server).restartOne),
	genserver.HandleCallLater((*server).deleteOne),
	genserver.HandleTerminate((*server).terminate))

// config is what a supervisor is started with.
type config struct {
	Spec
	dynamic *Dynamic // what Spec was made of, if it was
	// nest is set below another supervisor, which gives the cluster-wide names
	// of the Spec back.
	nest *nest
}

// GenServer makes it a genserver.Runnable.
func (c config) GenServer() genserver.Spec { return serverType.With(c) }

// server carries out what the decision core orders, and tells it what came of
// it. What mu does not guard belongs to whoever has the turn.
type server struct {
	spec    map[string]kept
	types   map[string]genserver.Type // for StartChild
	nest    *nest                     // nil in a root
	restart Restart                   // where a child does not say
	// strategy is its word, "dynamic" for a Dynamic.
	strategy string
	within   time.Duration // for the end
	auto     AutoShutdown
	veto     func(StartChild) error // of a Dynamic; may be nil
	turn     *genserver.Context     // of the turn under way
	core     *supervision.Core
	inbox    *inbox
	sys      *genserver.System
	self     *genserver.Process
	log      *slog.Logger
	began    time.Time
	final    supervision.Action // the core's last word

	supervisors int                    // among the children
	token       uint64                 // of the last request
	replies     map[uint64]func(error) // to requests that are not answered yet

	// releasing are the children whose names are being given back.
	releasing map[string]*releasing

	mu       sync.Mutex
	children map[string]*running
	ended    map[string]end         // why the children that are not there ended last
	timers   map[uint64]*time.Timer // of backoffs
	lost     bool                   // the supervisor was killed, and its children with it
}

// start is the supervisor's init: it returns once all children have started,
// or none is left.
func start(ctx *genserver.Context, cfg config) (*server, error) {
	validate, spec := cfg.Validate, cfg.core()
	if cfg.dynamic != nil {
		validate, spec = cfg.dynamic.Validate, cfg.dynamic.core()
	}
	if err := validate(); err != nil {
		return nil, err
	}
	core, err := supervision.New(spec)
	if err != nil {
		return nil, err
	}
	s := &server{
		spec:      make(map[string]kept, len(cfg.Children)),
		types:     make(map[string]genserver.Type, len(cfg.Types)),
		nest:      cfg.nest,
		restart:   Permanent,
		strategy:  cfg.Strategy.String(),
		auto:      cfg.AutoShutdown,
		within:    cfg.StopWithin,
		turn:      ctx,
		core:      core,
		inbox:     newInbox(ctx.Process()),
		sys:       ctx.System(),
		self:      ctx.Process(),
		log:       ctx.System().Logger(),
		began:     time.Now(),
		releasing: map[string]*releasing{},
		replies:   map[uint64]func(error){},
		children:  make(map[string]*running, len(cfg.Children)),
		ended:     map[string]end{},
		timers:    map[uint64]*time.Timer{},
	}
	if cfg.dynamic != nil {
		s.restart, s.veto, s.strategy = Transient, cfg.dynamic.Veto, "dynamic"
	}
	for _, c := range cfg.Children {
		s.keep(c, false)
	}
	for _, t := range cfg.Types {
		s.types[t.Name()] = t
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
func (s *server) wake(ctx *genserver.Context, _ wake) error {
	s.turn = ctx
	s.inbox.run()
	return s.verdict()
}

// terminate stops the children in reverse order. If the supervisor has not
// finished when it is killed itself, its children are killed with it.
func (s *server) terminate(ctx *genserver.Context, reason error) {
	s.turn = ctx
	stop := supervision.Stop{Reason: reason}
	s.step(stop)
	s.await(ctx, stop)
	for id := range s.spec { // those that a static supervisor keeps to its end
		s.drop(id, reason)
	}
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

// keep notes a child; added ones were not in the Spec.
func (s *server) keep(c Child, added bool) kept {
	k := kept{Child: c, restart: c.Restart.core(s.restart), added: added}
	s.spec[c.Name] = k
	if k.isSupervisor() {
		s.supervisors++
	}
	return k
}

// drop forgets a child, and tells its spawner.
func (s *server) drop(id string, reason error) {
	child := s.spec[id]
	delete(s.spec, id)
	if child.isSupervisor() {
		s.supervisors--
	}
	if child.spawner == nil {
		return
	}
	ended := ChildEnded{Name: id, Supervisor: s.self.Name()}
	if reason != nil {
		ended.Reason = reason.Error()
	}
	if err := child.spawner.Send(s.turn, ended); err != nil {
		s.log.Warn("spawner was not told", "server", id, "spawner", child.spawner, "error", err)
	}
}

// verdict is the error that the core's last word amounts to.
func (s *server) verdict() error {
	switch f := s.final.(type) {
	case supervision.Failed:
		return startFailed(f)
	case supervision.Escalate:
		return exhausted(f.Reason)
	case supervision.AutoStopped:
		return genserver.Stop(genserver.Shutdown)
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
		case supervision.Ended:
			s.spec[a.ID].ended(ended(a.Reason))
		case supervision.Forget:
			s.drop(a.ID, a.Reason)
		case supervision.Reply:
			reply := s.replies[a.Token]
			delete(s.replies, a.Token)
			reply(a.Err)
		case supervision.Overdue:
			s.log.Error("supervisor did not stop in time: what is left is killed",
				"supervisor", s.self.Name(), "stop_within", s.within, "servers", a.IDs)
		case supervision.Started:
		default:
			s.final = a
			if e, ok := a.(supervision.Escalate); ok {
				s.sys.Notify(genserver.Notice{Kind: genserver.Escalated, Server: s.self.Name(), Reason: exhausted(e.Reason)}, nil)
			}
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
