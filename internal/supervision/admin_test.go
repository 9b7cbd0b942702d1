package supervision

import (
	"fmt"
	"math/rand"
	"testing"
	"time"
)

// TestRandomRequests sends requests at random moments of random lives, and
// asks that each be answered once, that no two generations of a child live at
// once, and that a stop ends it all.
func TestRandomRequests(t *testing.T) {
	t.Parallel()
	for seed := range int64(1000) {
		w := &requests{Rand: rand.New(rand.NewSource(seed)), open: map[uint64]bool{}, alive: map[string]uint64{}, timers: map[uint64]bool{}}
		if err := w.live(); err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, w.log)
		}
	}
}

type requests struct {
	*rand.Rand
	core   *Core
	now    time.Duration
	token  uint64
	open   map[uint64]bool
	alive  map[string]uint64
	timers map[uint64]bool
	log    string
}

func (w *requests) live() error {
	spec := Spec{Strategy: Strategy(w.Intn(3)), MaxRestarts: w.Intn(20), Window: time.Second, AutoShutdown: AutoShutdown(w.Intn(3))}
	if w.Intn(3) == 0 {
		spec.Strategy, spec.Dynamic, spec.MaxChildren, spec.MaxSpawns = OneForOne, true, w.Intn(4), 30*w.Intn(2)
	}
	if w.Intn(2) == 0 {
		spec.StopWithin = time.Second
	}
	if w.Intn(2) == 0 {
		spec.Backoff = Backoff{Growth: Constant, Base: time.Second}
	}
	core, err := New(spec)
	if err != nil {
		return err
	}
	w.core = core
	if err := w.step(Start{}); err != nil {
		return err
	}
	for range 100 {
		if err := w.step(w.event()); err != nil {
			return err
		}
	}
	if err := w.step(Stop{Reason: errBoom}); err != nil {
		return err
	}
	for core.Phase() != PhaseDone {
		was := len(w.alive)
		for id, generation := range w.alive {
			if err := w.step(ChildExited{ID: id, Generation: generation, Class: ClassShutdown, Reason: errBoom}); err != nil {
				return err
			}
		}
		if was == 0 {
			return fmt.Errorf("got phase %v with no child left, want done", core.Phase())
		}
	}
	if len(w.open) > 0 || len(w.timers) > 0 || len(w.alive) > 0 {
		return fmt.Errorf("got requests %v, timers %v, children %v left, want none", w.open, w.timers, w.alive)
	}
	return nil
}

func (w *requests) event() Event {
	w.now += time.Duration(w.Intn(300)) * time.Millisecond
	id := string(rune('a' + w.Intn(5)))
	generation, alive := w.alive[id]
	w.token++
	switch w.Intn(9) {
	case 0, 1:
		return AddChild{Token: w.token, Child: Child{ID: id, Restart: Restart(w.Intn(3)), Shutdown: Brutal, Significant: w.Intn(3) == 0}}
	case 2:
		return TerminateChild{Token: w.token, ID: id}
	case 3:
		return RestartChild{Token: w.token, ID: id}
	case 4:
		return DeleteChild{Token: w.token, ID: id}
	case 5:
		for token := range w.timers {
			delete(w.timers, token)
			return TimerFired{Token: token}
		}
	case 6:
		if alive {
			return StartFailed{ID: id, Generation: generation, Reason: errBoom}
		}
	case 7:
		if alive {
			return ChildExited{ID: id, Generation: generation, Class: Class(w.Intn(4)), Reason: errBoom}
		}
	}
	return ChildStarted{ID: id, Generation: generation}
}

func (w *requests) step(e Event) error {
	w.log += fmt.Sprintln(e)
	running := map[string]bool{}
	for _, s := range w.core.Children() {
		running[s.ID] = s.Status == StatusRunning
	}
	switch e := e.(type) {
	case AddChild, TerminateChild, RestartChild, DeleteChild:
		if w.core.Phase() != PhaseDone {
			w.open[w.token] = true
		}
	case ChildExited:
		delete(w.alive, e.ID)
	case StartFailed:
		if running[e.ID] {
			return nil // it can't fail any more
		}
		delete(w.alive, e.ID)
	}
	for _, a := range w.core.Step(w.now, e) {
		w.log += fmt.Sprintln("\t", a)
		switch a := a.(type) {
		case StartChild:
			if _, twice := w.alive[a.ID]; twice {
				return fmt.Errorf("two generations of %s", a.ID)
			}
			w.alive[a.ID] = a.Generation
		case StartTimer:
			w.timers[a.Token] = true
		case CancelTimer:
			delete(w.timers, a.Token)
		case Reply:
			if !w.open[a.Token] {
				return fmt.Errorf("request %d is answered twice", a.Token)
			}
			delete(w.open, a.Token)
		}
	}
	live := 0
	for _, s := range w.core.Children() {
		if s.Status == StatusStarting || s.Status == StatusRunning || s.Status == StatusStopping {
			live++
		}
	}
	if live != len(w.alive) || live != w.core.live {
		return fmt.Errorf("got %d listed alive, %d counted, want %d", live, w.core.live, len(w.alive))
	}
	return nil
}
