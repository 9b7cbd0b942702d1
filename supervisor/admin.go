package supervisor

import (
	"errors"
	"fmt"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/supervision"
)

// The requests below are calls to a supervisor by its name, from inside the
// program or from another node. Starts and stops that they lead to happen
// outside of the supervisor's turn: the caller waits, which is as long as its
// timeout allows (see genserver.WithTimeout), and others are answered
// meanwhile. A caller that gives up changes nothing about what it asked for.
type (
	// WhichChildren asks for the children in start order.
	WhichChildren struct {
		genserver.Returns[Children]
	}

	// CountChildren asks how many children there are.
	CountChildren struct{ genserver.Returns[Counts] }

	// StartChild asks for one child more, last in the start order, and answers
	// once its init has returned. A child that does not start is not kept, and
	// costs nothing of the restart limit. The error is ErrAlreadyStarted,
	// ErrAlreadyPresent (by a child that is down), ErrBadChild, ErrChildFailed,
	// ErrTerminated or ErrStopping; of a Dynamic also ErrMaxChildren,
	// ErrMaxSpawns or ErrVetoed.
	//
	// What is added this way is forgotten when the supervisor itself is
	// restarted, as in OTP.
	StartChild struct {
		genserver.Returns[Started]

		// Name is the child's, as in Child.
		Name string `json:"name"`
		// Run is what runs. It can't leave the program: callers on other nodes
		// give Of and Config in its place.
		Run genserver.Runnable `json:"-"`
		// Of names one of the supervisor's Types, to run with Config.
		Of string `json:"of,omitempty"`
		// Config is the config of Of, decoded into its own type. Each restart
		// begins from it again.
		Config genserver.Map `json:"config,omitempty"`
		// Restart is as in Child.
		Restart Restart `json:"restart,omitempty"`
		// Shutdown is as in Child; between nodes a number of nanoseconds.
		Shutdown time.Duration `json:"shutdown,omitempty"`
		// Scope is as in Child; between nodes 0 is Local and 1 is Cluster.
		Scope genserver.Scope `json:"scope,omitempty"`
		// OnPartition is as in Child; between nodes 0 is Pause and 1 is Keep.
		OnPartition genserver.OnPartition `json:"on_partition,omitempty"`
		// Significant is as in Child.
		Significant bool `json:"significant,omitempty"`
		// Alone has the child's restarts counted by themselves: past the
		// supervisor's limit the child is given up, and the supervisor goes on.
		// It needs OneForOne.
		Alone bool `json:"alone,omitempty"`
		// Ended is called, in the supervisor's turn, so that it must not block,
		// when the child is down for good, or did not start for a StartChild or
		// RestartChild, before that is answered. The reason is why it ended or
		// did not start: ErrRestartLimit of one Alone that was given up,
		// genserver.Shutdown after a TerminateChild. It is not called when the
		// supervisor itself ends. It can't leave the program. May be nil.
		Ended func(reason error) `json:"-"`
		// Tell has the calling server, which must be one, told by a ChildEnded
		// once the child has ended and is listed no longer.
		Tell bool `json:"tell,omitempty"`
	}

	// TerminateChild asks for the end of a child, and answers once it has
	// ended. It is not restarted for that, whatever its Restart says, and one
	// that waits for a restart is not restarted any more. It stays listed,
	// unless it is temporary, until RestartChild, or DeleteChild. As in OTP a
	// sibling's round (OneForAll, RestForOne) starts it again too; delete it
	// where that is not wanted. The error is ErrNotFound.
	TerminateChild struct {
		genserver.Returns[struct{}]
		Name string `json:"name"`
	}

	// RestartChild asks for the start of a child that is down for good, and
	// answers once its init has returned. The error is ErrNotFound, ErrRunning,
	// ErrRestarting, ErrChildFailed, ErrTerminated or ErrStopping. It does not
	// restart a child that runs: terminate it before.
	RestartChild struct {
		genserver.Returns[Started]
		Name string `json:"name"`
	}

	// DeleteChild asks to forget a child that is down for good. The error is
	// ErrNotFound, ErrRunning or ErrRestarting.
	DeleteChild struct {
		genserver.Returns[struct{}]
		Name string `json:"name"`
	}

	// ChildEnded is an info for a server whose StartChild asked to Tell: its
	// child has ended for good, with its supervisor at the latest. It comes at
	// most once, and not if the supervisor is killed.
	ChildEnded struct {
		genserver.Signal
		Name       string `json:"name"`
		Supervisor string `json:"supervisor"`
		Reason     string `json:"reason,omitempty"`
	}
)

// Children answers [WhichChildren].
type Children struct {
	// Strategy is one_for_one, one_for_all, rest_for_one or, of a Dynamic, dynamic.
	Strategy string      `json:"strategy"`
	Children []ChildInfo `json:"children"`
}

// ChildInfo is what a supervisor tells of a child.
type ChildInfo struct {
	Name string `json:"name"`
	// Status is stopped, starting, running, stopping, or restarting: down, with
	// its start to come after a backoff or in its turn.
	Status string `json:"status"`
	// Type is worker or supervisor.
	Type string `json:"type"`
	// Runs is the name of the Type that runs.
	Runs string `json:"runs"`
	// Scope is local or cluster.
	Scope string `json:"scope"`
	// Restart is permanent, transient or temporary.
	Restart string `json:"restart"`
	// Generation is that of the child's process, as the log has it; 0 while
	// there is none.
	Generation uint64 `json:"generation"`
	// Restarts is how often the child was started again.
	Restarts uint64 `json:"restarts"`
	// LastReason is why its last generation ended or did not start; empty if
	// there was none.
	LastReason string `json:"last_reason,omitempty"`
}

// Counts answers [CountChildren]. Specs is all that is listed, dead or alive,
// of which Supervisors and Workers are the two kinds; Active is those that run.
type Counts struct {
	Specs       int `json:"specs"`
	Active      int `json:"active"`
	Supervisors int `json:"supervisors"`
	Workers     int `json:"workers"`
}

// Started answers [StartChild] and [RestartChild].
type Started struct {
	Name string `json:"name"`
	// Generation is that of the process; 0 if it has ended already.
	Generation uint64 `json:"generation"`
}

// Op is the message's name on the wire.
func (WhichChildren) Op() string { return "which_children" }

// Op is the message's name on the wire.
func (CountChildren) Op() string { return "count_children" }

// Op is the message's name on the wire.
func (StartChild) Op() string { return "start_child" }

// Op is the message's name on the wire.
func (TerminateChild) Op() string { return "terminate_child" }

// Op is the message's name on the wire.
func (RestartChild) Op() string { return "restart_child" }

// Op is the message's name on the wire.
func (DeleteChild) Op() string { return "delete_child" }

// Op is the message's name on the wire.
func (ChildEnded) Op() string { return "child_ended" }

// A supervisor's answers to requests that it can't meet. They match with
// errors.Is on any node; the text names the child.
var (
	// ErrNotFound means that no child has the name.
	ErrNotFound = genserver.NewError("supervisor.not_found", "no such child")
	// ErrAlreadyStarted means that a child of the name runs, starts or stops.
	ErrAlreadyStarted = genserver.NewError("supervisor.already_started", "already started")
	// ErrAlreadyPresent means that a child of the name is listed, but down.
	ErrAlreadyPresent = genserver.NewError("supervisor.already_present", "already present")
	// ErrRunning means that the child must be terminated first.
	ErrRunning = genserver.NewError("supervisor.running", "running")
	// ErrRestarting means that the child is about to be restarted anyway.
	ErrRestarting = genserver.NewError("supervisor.restarting", "restarting")
	// ErrBadChild means that what was asked for can't be a child; the text
	// names the field.
	ErrBadChild = genserver.NewError("supervisor.bad_child", "bad child")
	// ErrChildFailed means that the child's start failed; the text has its reason.
	ErrChildFailed = genserver.NewError("supervisor.child_failed", "child did not start")
	// ErrTerminated means that the child's end was asked for before it was up.
	ErrTerminated = genserver.NewError("supervisor.terminated", "terminated before it was up")
	// ErrMaxChildren means that a Dynamic has as many children as it may.
	ErrMaxChildren = genserver.NewError("supervisor.max_children", "no child more at a time")
	// ErrMaxSpawns means that a Dynamic has started as many as it ever may.
	ErrMaxSpawns = genserver.NewError("supervisor.max_spawns", "no spawn more")
	// ErrVetoed means that a Dynamic's Veto refused the child; the text has its
	// error.
	ErrVetoed = genserver.NewError("supervisor.vetoed", "vetoed")
	// ErrDynamic means that a Dynamic keeps no child that has ended, which
	// could be restarted or deleted.
	ErrDynamic = genserver.NewError("supervisor.dynamic", "a dynamic supervisor keeps none that ended")
	// ErrStopping means that the supervisor ends, and starts nothing any more.
	ErrStopping = genserver.NewError("supervisor.stopping", "the supervisor is stopping")
)

// answers are the core's errors as callers see them.
var answers = map[error]*genserver.Error{
	supervision.ErrNotFound:       ErrNotFound,
	supervision.ErrAlreadyStarted: ErrAlreadyStarted,
	supervision.ErrAlreadyPresent: ErrAlreadyPresent,
	supervision.ErrRunning:        ErrRunning,
	supervision.ErrRestarting:     ErrRestarting,
	supervision.ErrTerminated:     ErrTerminated,
	supervision.ErrStopping:       ErrStopping,
	supervision.ErrMaxChildren:    ErrMaxChildren,
	supervision.ErrMaxSpawns:      ErrMaxSpawns,
	supervision.ErrDynamic:        ErrDynamic,
}

// answer is a core's error as the caller of a request about a child gets it.
func answer(child string, err error) error {
	var failed *supervision.StartError
	if errors.As(err, &failed) {
		return about(ErrChildFailed, child, failed.Reason)
	}
	if known := answers[err]; known != nil {
		return about(known, child, nil)
	}
	return about(ErrBadChild, child, err)
}

func about(kind *genserver.Error, child string, reason error) error {
	text := fmt.Sprintf("%s: %s", child, kind.Text)
	if reason != nil {
		text = fmt.Sprintf("%s: %v", text, reason)
	}
	return &genserver.Error{Code: kind.Code, Text: text}
}

func (s *server) whichChildren(*genserver.Context, WhichChildren) (Children, error) {
	states := s.core.Children()
	all := Children{Strategy: s.strategy, Children: make([]ChildInfo, len(states))}
	for i, state := range states {
		info := ChildInfo{
			Name:     state.ID,
			Status:   state.Status.String(),
			Type:     "worker",
			Runs:     s.spec[state.ID].Run.GenServer().TypeName(),
			Scope:    s.spec[state.ID].Scope.String(),
			Restart:  s.spec[state.ID].restart.String(),
			Restarts: state.Restarts,
		}
		if s.spec[state.ID].isSupervisor() {
			info.Type = "supervisor"
		}
		info.Generation = s.processOf(state.ID)
		if state.LastReason != nil {
			info.LastReason = state.LastReason.Error()
		}
		all.Children[i] = info
	}
	return all, nil
}

// processOf is the generation of a child's process, 0 if it has none.
func (s *server) processOf(id string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.children[id]; r != nil {
		return r.Generation()
	}
	return 0
}

func (s *server) countChildren(*genserver.Context, CountChildren) (Counts, error) {
	n := s.core.Len()
	return Counts{Specs: n, Active: s.core.Running(), Supervisors: s.supervisors, Workers: n - s.supervisors}, nil
}

func (s *server) startOne(ctx *genserver.Context, m StartChild, reply genserver.Reply[Started]) error {
	if err := s.core.MayAdd(m.Name); err != nil {
		return answer(m.Name, err)
	}
	child, err := m.child(s.types)
	if err == nil {
		err = s.check(child)
	}
	if err != nil {
		return about(ErrBadChild, m.Name, err)
	}
	var spawner *genserver.Ref
	if m.Tell {
		from := ctx.From()
		if spawner = &from; from.Name() == "" {
			return about(ErrBadChild, m.Name, errors.New("tell: the caller is no server"))
		}
	}
	if err := s.ask(m); err != nil {
		return about(ErrVetoed, m.Name, err)
	}
	added := s.keep(child, true)
	added.alone, added.ended = m.Alone, m.Ended
	s.spec[m.Name] = added
	return s.request(ctx, s.started(m.Name, spawner, reply), func(token uint64) supervision.Event {
		return supervision.AddChild{Token: token, Child: added.core()}
	})
}

// check is Validate with what the supervisor has to say.
func (s *server) check(c Child) error {
	v := validation{names: map[string]string{}}
	v.child("child", c)
	v.significant("child", c, s.auto, s.restart)
	return errors.Join(v.faults...)
}

// ask asks the veto. Its panic is a refusal.
func (s *server) ask(m StartChild) (err error) {
	if s.veto == nil {
		return nil
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return s.veto(m)
}

// child is the Child that the message describes.
func (m StartChild) child(types map[string]genserver.Type) (Child, error) {
	c := Child{Name: m.Name, Run: m.Run, Restart: m.Restart, Shutdown: m.Shutdown, Scope: m.Scope, OnPartition: m.OnPartition, Significant: m.Significant}
	switch {
	case m.Of == "" && m.Run == nil:
		return c, errors.New("nothing to run: neither Run nor Of is given")
	case m.Of == "":
		return c, nil
	case m.Run != nil:
		return c, errors.New("both Run and Of are given")
	}
	t := types[m.Of]
	if t == nil {
		return c, fmt.Errorf("of: %s is none of the supervisor's Types", m.Of)
	}
	run, err := t.WithDecoded(func(v any) error {
		b, err := genserver.JSON.Encode(m.Config)
		if err != nil {
			return err
		}
		return genserver.JSON.Decode(b, v)
	})
	c.Run = run
	return c, err
}

func (s *server) restartOne(ctx *genserver.Context, m RestartChild, reply genserver.Reply[Started]) error {
	return s.request(ctx, s.started(m.Name, nil, reply), func(token uint64) supervision.Event {
		return supervision.RestartChild{Token: token, ID: m.Name}
	})
}

func (s *server) terminateOne(ctx *genserver.Context, m TerminateChild, reply genserver.Reply[struct{}]) error {
	return s.request(ctx, done(m.Name, reply), func(token uint64) supervision.Event {
		return supervision.TerminateChild{Token: token, ID: m.Name}
	})
}

func (s *server) deleteOne(ctx *genserver.Context, m DeleteChild, reply genserver.Reply[struct{}]) error {
	return s.request(ctx, done(m.Name, reply), func(token uint64) supervision.Event {
		return supervision.DeleteChild{Token: token, ID: m.Name}
	})
}

// request has the core decide about a request; reply takes its answer, which
// may come in a later turn.
func (s *server) request(ctx *genserver.Context, reply func(error), event func(token uint64) supervision.Event) error {
	s.turn = ctx
	s.token++
	s.replies[s.token] = reply
	s.step(event(s.token))
	return s.verdict()
}

// started answers with the process that was started. The spawner, if there is
// one, is told of its end from then on.
func (s *server) started(name string, spawner *genserver.Ref, reply genserver.Reply[Started]) func(error) {
	return func(err error) {
		if err != nil {
			reply.Fail(answer(name, err))
			return
		}
		if k := s.spec[name]; k.added && k.spawner == nil && spawner != nil {
			k.spawner = spawner
			s.spec[name] = k
		}
		reply.Send(Started{Name: name, Generation: s.processOf(name)})
	}
}

func done(name string, reply genserver.Reply[struct{}]) func(error) {
	return func(err error) {
		if err != nil {
			reply.Fail(answer(name, err))
			return
		}
		reply.Send(struct{}{})
	}
}
