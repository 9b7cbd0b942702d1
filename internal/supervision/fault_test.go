package supervision

import (
	"math/rand"
	"slices"
	"testing"
	"time"
)

// fault is a mistake planted into a core, to prove that the simulation finds it.
type fault struct {
	name    string
	spec    func(*Spec)                    // the core works with another spec
	event   func(*Core, Event) []Event     // it is told other events
	actions func(*Core, []Action) []Action // its answers are changed
	after   func(*Core)                    // its state is corrupted
}

// plant makes a core with the fault, or a sound one if f is nil.
func (f *fault) plant(spec Spec) (decider, error) {
	if f == nil {
		return New(spec)
	}
	if f.spec != nil {
		spec.Children = slices.Clone(spec.Children)
		f.spec(&spec)
	}
	core, err := New(spec)
	return &faulty{Core: core, fault: f}, err
}

type faulty struct {
	*Core
	fault *fault
}

func (f *faulty) Step(at time.Duration, e Event) (actions []Action) {
	events := []Event{e}
	if f.fault.event != nil {
		events = f.fault.event(f.Core, e)
	}
	for _, e := range events {
		actions = append(actions, f.Core.Step(at, e)...)
	}
	if f.fault.actions != nil {
		actions = f.fault.actions(f.Core, actions)
	}
	if f.fault.after != nil {
		f.fault.after(f.Core)
	}
	return actions
}

// TestFaultsAreFound plants each fault and asks that the simulation break a
// rule before long. Without it a green TestSimulated would prove little.
func TestFaultsAreFound(t *testing.T) {
	t.Parallel()
	const most = 3000
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			for seed := range int64(most) {
				if err := simulate(rand.New(rand.NewSource(seed)).Intn, &f); err != nil {
					return
				}
			}
			t.Errorf("got no broken rule in %d runs, want one", most)
		})
	}
}

var faults = []fault{
	{name: "a start's answer is lost", event: drop[ChildStarted]},
	{name: "a failed start's answer is lost", event: drop[StartFailed]},
	{name: "an exit is lost", event: drop[ChildExited]},
	{name: "a timer is lost", event: drop[TimerFired]},
	{name: "a stop is lost", event: drop[Stop]},
	{name: "a start is not ordered", actions: forget[StartChild]},
	{name: "a stop is not ordered", actions: forget[StopChild]},
	{name: "a release is forgotten", actions: forget[Release]},
	{name: "a cancel is forgotten", actions: forget[CancelTimer]},
	{name: "the report of the start is forgotten", actions: forget[Started]},
	{name: "the report of the end is forgotten", actions: forget[Stopped]},
	{name: "old generations count", event: func(c *Core, e Event) []Event {
		if exit, ok := e.(ChildExited); ok {
			for ch := range c.all() {
				if ch.ID == exit.ID {
					exit.Generation = ch.generation
				}
			}
			return []Event{exit}
		}
		return []Event{e}
	}},
	{name: "what was lost together counts apart", event: func(_ *Core, e Event) []Event {
		lost, ok := e.(ChildrenLost)
		if !ok {
			return []Event{e}
		}
		var events []Event
		for _, exit := range lost.Exits {
			events = append(events, exit)
		}
		return events
	}},
	{name: "a failed restart costs nothing", event: func(c *Core, e Event) []Event {
		if _, failed := e.(StartFailed); failed && len(c.intensity.at) > 0 {
			c.intensity.at = c.intensity.at[1:]
		}
		return []Event{e}
	}},
	{name: "the counter forgets", after: func(c *Core) { c.intensity.at = nil }},
	{name: "the counter never forgets", after: func(c *Core) { c.intensity.window = longest }},
	{name: "siblings are not stopped", after: func(c *Core) { c.round.halting = false }},
	{name: "a round does not wait", after: func(c *Core) { c.round.timer = 0 }},
	{name: "a round is forgotten", after: func(c *Core) {
		if c.phase == PhaseRunning {
			c.round = round{}
		}
	}},
	{name: "rest_for_one takes all", spec: func(s *Spec) {
		if s.Strategy == RestForOne {
			s.Strategy = OneForAll
		}
	}},
	{name: "one_for_all takes the rest", spec: func(s *Spec) {
		if s.Strategy == OneForAll {
			s.Strategy = RestForOne
		}
	}},
	{name: "one_for_one takes the rest", spec: func(s *Spec) {
		if s.Strategy == OneForOne {
			s.Strategy = RestForOne
		}
	}},
	{name: "one restart too many", spec: func(s *Spec) { s.MaxRestarts++ }},
	{name: "one restart too few", spec: func(s *Spec) { s.MaxRestarts = max(0, s.MaxRestarts-1) }},
	{name: "no backoff", spec: func(s *Spec) { s.Backoff = Backoff{} }},
	{name: "no cap", spec: func(s *Spec) { s.Backoff.Max = 0 }},
	{name: "temporary children are restarted", spec: restartAs(Temporary, Transient)},
	{name: "transient children are permanent", spec: restartAs(Transient, Permanent)},
	{name: "transient children are temporary", spec: restartAs(Transient, Temporary)},
	{name: "permanent children are transient", spec: restartAs(Permanent, Transient)},
	{name: "children in another order", spec: func(s *Spec) { slices.Reverse(s.Children) }},
	{name: "no patience", spec: func(s *Spec) {
		for i := range s.Children {
			s.Children[i].Shutdown = Brutal
		}
	}},
}

// drop loses every event of a kind.
func drop[E Event](_ *Core, e Event) []Event {
	if _, is := e.(E); is {
		return nil
	}
	return []Event{e}
}

// forget loses every action of a kind.
func forget[A Action](_ *Core, actions []Action) []Action {
	return slices.DeleteFunc(actions, func(a Action) bool { _, is := a.(A); return is })
}

func restartAs(is, becomes Restart) func(*Spec) {
	return func(s *Spec) {
		for i := range s.Children {
			if s.Children[i].Restart == is {
				s.Children[i].Restart = becomes
			}
		}
	}
}
