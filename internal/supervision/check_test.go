package supervision

import (
	"fmt"
	"time"
)

// checker holds a core to its rules. It keeps books of its own from what the
// core was told and what it ordered, and knows nothing of how the core decides.
type checker struct {
	spec  Spec
	kids  []*entry
	stop  bool // a Stop was delivered before any other cause to end
	over  bool // the supervisor certainly ends: no start any more
	final Action

	started      bool
	mayFail      bool            // a start failed that may be the initial one
	mayEscalate  bool            // the most pessimistic count broke the limit
	mustEscalate bool            // the most optimistic one did
	certain      []time.Duration // crashes that were certainly charged
	possible     []time.Duration // crashes that may have been
	timers       map[uint64]bool // pending
	lastToken    uint64
}

// entry is the checker's page for one child.
type entry struct {
	Child
	state      Status // never StatusRestarting: that counts as stopped
	generation uint64
	came       bool
	held       bool
	settled    bool // ended for good by itself
	crashed    bool // crashed by itself, and not started since
	crashedAt  time.Duration
	doomed     bool // lives, and must be stopped for a sibling's crash
}

func newChecker(spec Spec) *checker {
	c := &checker{spec: spec, timers: map[uint64]bool{}}
	for _, ch := range spec.Children {
		c.kids = append(c.kids, &entry{Child: ch})
	}
	return c
}

func (c *checker) find(id string) (int, *entry) {
	for i, k := range c.kids {
		if k.ID == id {
			return i, k
		}
	}
	return -1, nil
}

func (k *entry) live() bool { return k.state != StatusStopped }

// forgotten is true for a temporary child that ended, be it before it was up.
func (k *entry) forgotten() bool {
	return k.Restart == Temporary && k.generation > 0 && !k.live()
}

// current is the child an answer is about, nil if the answer is stale.
func (c *checker) current(id string, generation uint64) *entry {
	_, k := c.find(id)
	if k == nil || k.generation != generation || !k.live() {
		return nil
	}
	return k
}

// event books what the core is about to be told. It reports whether the core
// may answer it at all.
func (c *checker) event(now time.Duration, e Event) (mayAnswer bool) {
	if c.final != nil {
		return false
	}
	switch e := e.(type) {
	case Stop:
		if !c.over {
			c.stop = true
		}
		c.over = true
	case ChildStarted:
		k := c.current(e.ID, e.Generation)
		if k == nil || k.state != StatusStarting {
			return false
		}
		k.state, k.came = StatusRunning, true
	case StartFailed:
		k := c.current(e.ID, e.Generation)
		if k == nil || k.state == StatusRunning {
			return false
		}
		if k.state == StatusStarting && !k.came {
			c.mayFail = true
			c.over = c.over || !c.restless(k)
			k.state = StatusStopped
			return true
		}
		c.crash(now, !c.restless(k), k)
	case ChildExited:
		return c.exits(now, e)
	case ChildrenLost:
		return c.exits(now, e.Exits...)
	case TimerFired:
		known := c.timers[e.Token]
		delete(c.timers, e.Token)
		return known
	}
	return true
}

func (c *checker) exits(now time.Duration, exits ...ChildExited) (mayAnswer bool) {
	var crashed []*entry
	certain := true
	for _, e := range exits {
		if k := c.current(e.ID, e.Generation); k != nil {
			certain = certain && !c.restless(k)
		}
	}
	for _, e := range exits {
		k := c.current(e.ID, e.Generation)
		if k == nil {
			continue
		}
		mayAnswer = true
		stopping := k.state == StatusStopping
		k.came = k.came || k.state == StatusStarting
		switch {
		case e.Class == ClassFenced && k.came:
			k.state, k.settled = StatusStopped, true
		case stopping:
			k.state = StatusStopped
		case k.Restart == Temporary || k.Restart == Transient && e.Class != ClassAbnormal:
			k.state, k.settled = StatusStopped, true
		default:
			crashed = append(crashed, k)
		}
	}
	if len(crashed) > 0 {
		c.crash(now, certain, crashed...)
	}
	return mayAnswer
}

// restless is true while a round may be under way, in which case the checker
// cannot tell whether a crash of k counts.
func (c *checker) restless(k *entry) bool {
	if c.spec.Strategy == OneForOne {
		return false
	}
	for _, other := range c.kids {
		if other != k && (other.state == StatusStopping || other.state == StatusStarting ||
			other.state == StatusStopped && other.generation > 0 && !other.settled) {
			return true
		}
	}
	return false
}

// crash books crashes of one cause, which cost one restart at most.
func (c *checker) crash(now time.Duration, certain bool, kids ...*entry) {
	stopped := true
	for _, k := range kids {
		if k.state != StatusStopping {
			stopped = false
			k.crashed = true
			if certain { // else it may join a round whose wait is nearly over
				k.crashedAt = now
			}
			c.doom(k)
		}
		k.state = StatusStopped
	}
	if c.over || stopped {
		return
	}
	c.possible = append(c.possible, now)
	if c.count(c.possible, now) > c.spec.MaxRestarts {
		c.mayEscalate = true
	}
	if certain {
		c.certain = append(c.certain, now)
		if c.count(c.certain, now) > c.spec.MaxRestarts {
			c.mustEscalate, c.over = true, true
		}
	}
}

// doom marks the siblings that the strategy stops for a crash of k.
func (c *checker) doom(k *entry) {
	after := false
	for _, other := range c.kids {
		if c.spec.Strategy == OneForAll || c.spec.Strategy == RestForOne && after {
			other.doomed = other.live()
		}
		after = after || other == k
	}
}

func (c *checker) count(at []time.Duration, now time.Duration) (n int) {
	for _, t := range at {
		if t >= now-c.spec.Window {
			n++
		}
	}
	return n
}

// action books what the core orders and returns the rule it breaks, if any.
func (c *checker) action(now time.Duration, a Action) error {
	if c.final != nil {
		return fmt.Errorf("an action after the final report %v", c.final)
	}
	switch a := a.(type) {
	case StartChild:
		return c.start(now, a)
	case StopChild:
		return c.halt(a)
	case StartTimer:
		b := c.spec.Backoff
		if a.Token <= c.lastToken || a.Delay < b.Base || b.Max > 0 && a.Delay > b.Max || b.Growth == NoBackoff {
			return fmt.Errorf("a timer that the backoff %+v does not explain", b)
		}
		c.lastToken = a.Token
		c.timers[a.Token] = true
	case CancelTimer:
		if !c.timers[a.Token] {
			return fmt.Errorf("cancels a timer that is not pending")
		}
		delete(c.timers, a.Token)
	case Release:
		_, k := c.find(a.ID)
		if k.live() || !k.held {
			return fmt.Errorf("releases a child that is %v, held: %v", k.state, k.held)
		}
		k.held = false
	case Forget:
		if _, k := c.find(a.ID); k.Restart != Temporary || k.live() {
			return fmt.Errorf("forgets a child that is %v", k.state)
		}
	case Started:
		if c.started || c.over {
			return fmt.Errorf("reports the start of a supervisor that has started (%v) or ends (%v)", c.started, c.over)
		}
		c.started = true
		for _, k := range c.kids {
			if !k.came && !k.forgotten() {
				return fmt.Errorf("reports the start, but %s has never been up", k.ID)
			}
		}
	default:
		return c.end(a)
	}
	return nil
}

func (c *checker) start(now time.Duration, a StartChild) error {
	i, k := c.find(a.ID)
	switch {
	case c.over:
		return fmt.Errorf("a start although the supervisor ends")
	case k.live():
		return fmt.Errorf("a start of a child that is %v", k.state)
	case a.Generation != k.generation+1:
		return fmt.Errorf("generation %d follows %d", a.Generation, k.generation)
	case k.Restart == Temporary && k.generation > 0:
		return fmt.Errorf("a temporary child is restarted")
	case k.settled && c.spec.Strategy == OneForOne:
		return fmt.Errorf("a child that ended for good is restarted")
	case k.crashed && now < k.crashedAt+c.spec.Backoff.Base:
		return fmt.Errorf("a restart %v after the crash, backoff is %v", now-k.crashedAt, c.spec.Backoff.Base)
	}
	for j, other := range c.kids {
		switch {
		case j < i && !k.came && !other.came && !other.forgotten():
			return fmt.Errorf("a first start before that of %s", other.ID)
		case j < i && c.spec.Strategy != OneForOne && other.state != StatusRunning && !other.settled && !other.forgotten():
			return fmt.Errorf("a start before %s is up, which is %v", other.ID, other.state)
		case other.state == StatusStopping:
			return fmt.Errorf("a start while %s stops", other.ID)
		case other.doomed && other.live():
			return fmt.Errorf("a start before %s was stopped", other.ID)
		}
	}
	k.doomed = false
	k.state, k.generation, k.held = StatusStarting, a.Generation, true
	k.settled, k.crashed = false, false
	return nil
}

func (c *checker) halt(a StopChild) error {
	i, k := c.find(a.ID)
	switch {
	case a.Generation != k.generation || k.state != StatusStarting && k.state != StatusRunning:
		return fmt.Errorf("a stop of generation %d of a child that is %v", k.generation, k.state)
	case a.Shutdown != k.Shutdown:
		return fmt.Errorf("shutdown is %v", k.Shutdown)
	}
	cause := c.over || c.mayFail || c.mayEscalate
	for j, other := range c.kids {
		switch {
		case other.state == StatusStopping:
			return fmt.Errorf("a stop while %s stops", other.ID)
		case j > i && other.live():
			return fmt.Errorf("a stop before that of %s", other.ID)
		case other.crashed && (c.spec.Strategy == OneForAll || c.spec.Strategy == RestForOne && j < i):
			cause = true
		}
	}
	if !cause {
		return fmt.Errorf("a stop without a cause")
	}
	k.state = StatusStopping
	return nil
}

func (c *checker) end(a Action) error {
	c.final = a
	for _, k := range c.kids {
		if k.live() || k.held {
			return fmt.Errorf("a final report, but %s is %v, held: %v", k.ID, k.state, k.held)
		}
	}
	if len(c.timers) > 0 {
		return fmt.Errorf("a final report, but timers are pending: %v", c.timers)
	}
	allowed := true
	switch a := a.(type) {
	case Stopped:
		allowed = c.stop && !c.mustEscalate
	case Failed:
		allowed = c.mayFail && !c.mustEscalate && !c.started
	case Escalate:
		allowed = c.mayEscalate && a.Reason.Restarts > c.spec.MaxRestarts
	}
	if !allowed {
		return fmt.Errorf("this final report has no cause")
	}
	return nil
}

// listing compares what the core tells an observer with the books.
func (c *checker) listing(states []ChildState) error {
	next := 0
	for _, k := range c.kids {
		if next == len(states) || states[next].ID != k.ID {
			if k.Restart != Temporary || k.live() {
				return fmt.Errorf("%s is not listed in its place, but %v", k.ID, k.state)
			}
			continue
		}
		s := states[next]
		next++
		status := s.Status
		if status == StatusRestarting {
			status = StatusStopped
		}
		if status != k.state || s.Generation != k.generation {
			return fmt.Errorf("%s is listed as %v#%d, but is %v#%d", k.ID, s.Status, s.Generation, k.state, k.generation)
		}
	}
	if next != len(states) {
		return fmt.Errorf("%s is listed too much", states[next].ID)
	}
	return nil
}

// quiet judges a core that has nothing left to wait for.
func (c *checker) quiet(phase Phase) error {
	if c.final != nil {
		if phase != PhaseDone {
			return fmt.Errorf("phase is %v after the final report", phase)
		}
		return nil
	}
	if c.over || phase != PhaseRunning || !c.started {
		return fmt.Errorf("stuck: phase %v, started: %v, ends: %v", phase, c.started, c.over)
	}
	for _, k := range c.kids {
		gone := (k.settled || k.forgotten()) && !k.held
		if k.state != StatusRunning && !gone {
			return fmt.Errorf("stuck: %s is %v, held: %v", k.ID, k.state, k.held)
		}
	}
	return nil
}
