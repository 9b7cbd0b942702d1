package supervision

import (
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// decider is a core, or one with a fault planted into it.
type decider interface {
	Step(time.Duration, Event) []Action
	Children() []ChildState
	Phase() Phase
}

// chooser draws a number in [0, n); everything random in a simulation is its.
type chooser func(n int) int

// sim lets a core supervise children that start slowly, fail, crash and take
// their time to stop, over a network that delays and repeats what it tells.
type sim struct {
	draw   chooser
	spec   Spec
	core   decider
	check  *checker
	now    time.Duration
	kids   map[string]*kid
	timers map[uint64]time.Duration // pending, and when they are due
	mail   []Event                  // happened, not told yet
	told   []Event                  // told, and may be told again
	log    strings.Builder
}

// kid is a child as it really is.
type kid struct {
	generation uint64
	alive, up  bool
	stopping   bool
}

var errBoom = errors.New("boom")

// TestSimulated checks the rules in the checker on random lives.
func TestSimulated(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		draw := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "n") }
		if err := simulate(draw, nil); err != nil {
			t.Fatal(err)
		}
	})
}

// TestSimulatedMany does the same without rapid's bookkeeping, for numbers.
func TestSimulatedMany(t *testing.T) {
	t.Parallel()
	runs := int64(5000)
	if testing.Short() {
		runs = 500
	}
	for seed := range runs {
		if err := simulate(rand.New(rand.NewSource(seed)).Intn, nil); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// simulate runs one life, of a core with a fault if one is given, and returns
// the rule it broke.
func simulate(draw chooser, f *fault) error {
	spec := drawSpec(draw)
	core, err := f.plant(spec)
	if err != nil {
		return fmt.Errorf("spec %+v: %w", spec, err)
	}
	s := &sim{
		draw: draw, spec: spec, core: core, check: newChecker(spec),
		kids: map[string]*kid{}, timers: map[uint64]time.Duration{},
	}
	for _, ch := range spec.Children {
		s.kids[ch.ID] = &kid{}
	}
	fmt.Fprintf(&s.log, "%+v\n", spec)
	if err := s.live(); err != nil {
		return fmt.Errorf("%w\n%s", err, s.log.String())
	}
	return nil
}

func drawSpec(draw chooser) Spec {
	spec := Spec{
		Strategy:    Strategy(draw(3)),
		MaxRestarts: draw(6),
		Window:      time.Duration(1+draw(5)) * time.Second,
	}
	if draw(2) == 0 {
		spec.Backoff = Backoff{Growth: Growth(1 + draw(3)), Base: 300 * time.Millisecond, Max: 2 * time.Second}
		if draw(2) == 0 {
			spec.Backoff.Jitter = MaxJitter
			spec.Rand = func() float64 { return float64(draw(1000)) / 1000 }
		}
	}
	for i := range draw(6) {
		spec.Children = append(spec.Children, Child{
			ID:       string(rune('a' + i)),
			Restart:  Restart(draw(4) % 3), // permanent more often
			Shutdown: []Shutdown{Brutal, Infinite, Shutdown(time.Second)}[draw(3)],
		})
	}
	return spec
}

func (s *sim) live() error {
	if err := s.tell(Start{}); err != nil {
		return err
	}
	for range 10 + s.draw(120) {
		if err := s.happen(); err != nil {
			return err
		}
	}
	if err := s.settle(); err != nil {
		return err
	}
	if err := s.tell(Stop{Reason: errBoom}); err != nil {
		return err
	}
	if err := s.settle(); err != nil {
		return err
	}
	if s.check.final == nil {
		return fmt.Errorf("no final report after a stop")
	}
	for id, k := range s.kids {
		if k.alive {
			return fmt.Errorf("%s lives on after the final report %v", id, s.check.final)
		}
	}
	return nil
}

// happen lets one random thing happen.
func (s *sim) happen() error {
	ch := Child{}
	if n := len(s.spec.Children); n > 0 {
		ch = s.spec.Children[s.draw(n)]
	}
	k := s.kids[ch.ID]
	switch what := s.draw(20); {
	case what == 0 && s.draw(6) == 0:
		return s.tell(Stop{Reason: errBoom})
	case what == 1 && len(s.told) > 0:
		return s.tell(s.told[s.draw(len(s.told))])
	case what == 2:
		s.lose()
	case what < 5:
		s.pass(time.Duration(s.draw(700)) * time.Millisecond)
	case what < 12 && k != nil && k.alive:
		s.progress(ch, k, s.draw(4) > 0)
	case what < 14 && k != nil && k.up && !k.stopping:
		s.exit(ch.ID, k)
	default:
		return s.deliver()
	}
	return nil
}

// settle lets everything under way come to its end, and well.
func (s *sim) settle() error {
	for range 2000 {
		idle := len(s.mail) == 0 && len(s.timers) == 0
		for _, ch := range s.spec.Children {
			if k := s.kids[ch.ID]; k.alive && (!k.up || k.stopping) {
				s.progress(ch, k, true)
				idle = false
			}
		}
		if idle {
			if err := s.check.quiet(s.core.Phase()); err != nil {
				return err
			}
			return nil
		}
		s.pass(100 * time.Millisecond)
		for len(s.mail) > 0 {
			if err := s.deliver(); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("never comes to rest")
}

// progress lets a child's start or stop end.
func (s *sim) progress(ch Child, k *kid, well bool) {
	switch {
	case k.stopping && k.up:
		s.exit(ch.ID, k)
	case !k.up && (k.stopping && s.draw(2) == 0 || !k.stopping && !well):
		k.alive = false
		s.mail = append(s.mail, StartFailed{ID: ch.ID, Generation: k.generation, Reason: errBoom})
	case !k.up:
		k.up = true
		s.mail = append(s.mail, ChildStarted{ID: ch.ID, Generation: k.generation})
	}
}

func (s *sim) end(id string, k *kid) ChildExited {
	k.alive, k.up = false, false
	return ChildExited{ID: id, Generation: k.generation, Class: Class(s.draw(4)), Reason: errBoom}
}

func (s *sim) exit(id string, k *kid) { s.mail = append(s.mail, s.end(id, k)) }

// lose ends several children at once.
func (s *sim) lose() {
	var lost ChildrenLost
	for _, ch := range s.spec.Children {
		if k := s.kids[ch.ID]; k.alive && s.draw(2) == 0 {
			lost.Exits = append(lost.Exits, s.end(ch.ID, k))
		}
	}
	if len(lost.Exits) > 0 {
		s.mail = append(s.mail, lost)
	}
}

func (s *sim) pass(d time.Duration) {
	s.now += d
	var due []uint64
	for token, at := range s.timers {
		if at <= s.now {
			due = append(due, token)
		}
	}
	slices.Sort(due)
	for _, token := range due {
		delete(s.timers, token)
		s.mail = append(s.mail, TimerFired{Token: token})
	}
}

// deliver tells the core one thing that happened: any, but what one child did
// in the order it did it. Sometimes an exit overtakes a start.
func (s *sim) deliver() error {
	if len(s.mail) == 0 {
		return nil
	}
	i := s.draw(len(s.mail))
	for j := range i {
		if overlap(s.mail[j], s.mail[i]) && s.draw(8) > 0 {
			i = j
			break
		}
	}
	e := s.mail[i]
	s.mail = slices.Delete(s.mail, i, i+1)
	return s.tell(e)
}

func overlap(a, b Event) bool {
	for _, id := range about(a) {
		if slices.Contains(about(b), id) {
			return true
		}
	}
	return false
}

func about(e Event) (ids []string) {
	switch e := e.(type) {
	case ChildStarted:
		ids = append(ids, e.ID)
	case StartFailed:
		ids = append(ids, e.ID)
	case ChildExited:
		ids = append(ids, e.ID)
	case ChildrenLost:
		for _, x := range e.Exits {
			ids = append(ids, x.ID)
		}
	}
	return ids
}

// tell steps the core, checks its answer and performs it.
func (s *sim) tell(e Event) error {
	fmt.Fprintf(&s.log, "%v %v\n", s.now, e)
	if _, lifecycle := e.(Start); !lifecycle {
		s.told = append(s.told, e)
	}
	mayAnswer := s.check.event(s.now, e)
	actions := s.core.Step(s.now, e)
	if !mayAnswer && len(actions) > 0 {
		return fmt.Errorf("%v is stale, got %v, want no answer", e, actions)
	}
	for _, a := range actions {
		fmt.Fprintf(&s.log, "\t%v\n", a)
		if err := s.check.action(s.now, a); err != nil {
			return fmt.Errorf("%v: %w", a, err)
		}
		if err := s.perform(a); err != nil {
			return fmt.Errorf("%v: %w", a, err)
		}
	}
	return s.check.listing(s.core.Children())
}

func (s *sim) perform(a Action) error {
	switch a := a.(type) {
	case StartChild:
		k := s.kids[a.ID]
		if k.alive {
			return fmt.Errorf("two generations live: %d and %d", k.generation, a.Generation)
		}
		*k = kid{generation: a.Generation, alive: true}
	case StopChild:
		// One that ended meanwhile has its answer in the mail.
		if k := s.kids[a.ID]; k.generation == a.Generation && k.alive {
			k.stopping = true
		}
	case StartTimer:
		s.timers[a.Token] = s.now + a.Delay
	case CancelTimer:
		delete(s.timers, a.Token)
	}
	return nil
}
