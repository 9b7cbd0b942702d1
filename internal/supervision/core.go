package supervision

import (
	"time"
)

// Core decides for one supervisor. It is a plain value for one goroutine.
type Core struct {
	spec            Spec
	index           map[string]*child
	first, last     *child            // of the children in start order
	spawns          int               // how many were added, ever
	significant     int               // the significant ones that are not down for good
	lastSignificant string            // the last one that ended by itself
	deadline        uint64            // the token of the end's; 0 for none
	autoTimer       uint64            // the token of an automatic shutdown; 0 for none
	running         int               // how many of them are up
	live            int               // how many of them are
	floor           uint64            // the highest generation of those forgotten
	waits           map[uint64]*child // by the token of their own wait
	cursor          *child            // how far the stops in reverse have come: what is behind it is down

	phase     Phase
	final     Action // the report to end with, once Stopping
	round     round
	intensity intensity

	now     time.Duration
	token   uint64   // the last one used
	actions []Action // of the step under way
}

// Phase is where the supervisor stands; the package comment draws them.
type Phase uint8

// The phases, in the order of a supervisor's life.
const (
	PhaseIdle Phase = iota
	PhaseStarting
	PhaseRunning
	PhaseStopping
	PhaseDone
)

// String is the phase in lower case.
func (p Phase) String() string {
	return word(p, "idle", "starting", "running", "stopping", "done")
}

// New returns a core that waits for [Start]. The error names the field of the
// spec that is wrong.
func New(spec Spec) (*Core, error) {
	if err := spec.validate(); err != nil {
		return nil, err
	}
	c := &Core{
		spec:      spec,
		index:     make(map[string]*child, len(spec.Children)),
		waits:     map[uint64]*child{},
		intensity: intensity{most: spec.MaxRestarts, window: spec.Window},
	}
	for _, s := range spec.Children {
		c.insert(s)
	}
	return c, nil
}

// Phase is where the supervisor stands.
func (c *Core) Phase() Phase { return c.phase }

// Children tells of every child in start order. Temporary children that ended
// are not listed.
func (c *Core) Children() []ChildState {
	states := make([]ChildState, 0, len(c.index))
	for ch := range c.all() {
		states = append(states, ch.state())
	}
	return states
}

// Running is how many children are up.
func (c *Core) Running() int { return c.running }

// Len is how many children are listed.
func (c *Core) Len() int { return len(c.index) }

// Step takes an event that came at the given time, which is monotonic from any
// origin, and returns what to do. Steps belong in the order of their events.
func (c *Core) Step(at time.Duration, event Event) []Action {
	c.now = max(c.now, at)
	if c.phase == PhaseDone {
		return nil
	}
	switch e := event.(type) {
	case Start:
		c.start()
	case Stop:
		c.end(Stopped(e))
	case ChildStarted:
		c.childStarted(e)
	case StartFailed:
		c.startFailed(e)
	case ChildExited:
		c.childrenExited(e)
	case ChildrenLost:
		c.childrenExited(e.Exits...)
	case TimerFired:
		c.timerFired(e.Token)
	case AddChild:
		c.add(e)
	case TerminateChild:
		c.terminate(e)
	case RestartChild:
		c.restart(e)
	case DeleteChild:
		c.delete(e)
	}
	c.advance()
	actions := c.actions
	c.actions = nil
	return actions
}

// start begins the initial start, which is a round of all children.
func (c *Core) start() {
	if c.phase != PhaseIdle {
		return
	}
	c.phase = PhaseStarting
	c.round.active, c.round.next = true, c.first
	for ch := range c.all() {
		ch.inRound = true
	}
}

// end begins the end: waits are void, and what is down already stays down. The
// first cause is the one that is reported.
func (c *Core) end(final Action) {
	if c.phase == PhaseStopping {
		return
	}
	c.phase = PhaseStopping
	c.final = final
	c.cancel(&c.round.timer)
	c.cancel(&c.autoTimer)
	c.round = round{}
	for ch := range c.backward() {
		c.cancel(&ch.timer)
		ch.inRound = false
		if !ch.live() {
			c.settle(ch)
		}
	}
	c.cursor = c.last
	if c.spec.StopWithin > 0 && c.live > 0 {
		c.deadline = c.startTimer(c.spec.StopWithin)
	}
	if c.spec.Dynamic {
		for ch := range c.backward() {
			if ch.status != StatusStopping {
				c.halt(ch)
			}
		}
	}
}

// advance takes the next step of whatever order of things is under way: only
// here does one child's answer lead to another child's order.
func (c *Core) advance() {
	switch c.phase {
	case PhaseStarting, PhaseRunning:
		c.advanceRound()
	case PhaseStopping:
		if c.live == 0 || !c.spec.Dynamic && c.haltNext(func(*child) bool { return true }) {
			c.cancel(&c.deadline)
			c.phase = PhaseDone
			c.emit(c.final)
		}
	}
}

// haltNext stops the chosen children in reverse order, one after another as OTP
// does. It is true once none of them lives. It goes on where it was, since
// nothing is started meanwhile; what begins a halt sets the cursor.
func (c *Core) haltNext(chosen func(*child) bool) bool {
	for ; c.cursor != nil; c.cursor = c.cursor.prev {
		switch ch := c.cursor; {
		case !chosen(ch) || !ch.live():
			continue
		case ch.status != StatusStopping:
			c.halt(ch)
		}
		return false
	}
	return true
}

// overdue kills what has not stopped, and what was not told to yet.
func (c *Core) overdue() {
	var left []string
	for ch := range c.all() {
		if ch.live() {
			left = append(left, ch.ID)
		}
	}
	c.emit(Overdue{IDs: left})
	for ch := range c.backward() {
		if ch.live() {
			c.set(ch, StatusStopping)
			c.emit(StopChild{ID: ch.ID, Generation: ch.generation, Shutdown: Brutal})
		}
	}
}

// halt orders a child to stop.
func (c *Core) halt(ch *child) {
	c.set(ch, StatusStopping)
	c.emit(StopChild{ID: ch.ID, Generation: ch.generation, Shutdown: ch.Shutdown})
}

func (c *Core) childStarted(e ChildStarted) {
	ch := c.find(e.ID, e.Generation)
	if ch != nil && ch.status == StatusStarting {
		c.up(ch)
	}
}

// startFailed ends the supervisor if the child has never been up, as OTP's
// init does. Later, a failed start is a crash like others: it counts, and is
// tried again; but for one that was asked for, which is answered.
func (c *Core) startFailed(e StartFailed) {
	ch := c.find(e.ID, e.Generation)
	if ch == nil || ch.status != StatusStarting && ch.status != StatusStopping {
		return
	}
	ch.lastReason = e.Reason
	switch {
	case e.Class == ClassFenced && ch.came:
		c.settle(ch)
	case c.expected(ch):
		c.down(ch)
	case ch.requested:
		c.settle(ch)
	case !ch.came && c.phase == PhaseStarting:
		c.settle(ch)
		c.end(Failed{ID: ch.ID, Reason: e.Reason})
	default:
		c.crashed([]*child{ch})
	}
}

// childrenExited takes exits of one cause.
func (c *Core) childrenExited(exits ...ChildExited) {
	var crashed []*child
	var due bool
	for _, e := range exits {
		ch := c.find(e.ID, e.Generation)
		if ch == nil || !ch.live() {
			continue
		}
		ch.lastReason = e.Reason
		if ch.status == StatusStarting {
			c.up(ch)
		}
		ch.rested(c.now, c.spec.Window)
		switch {
		case e.Class == ClassFenced && ch.came:
			c.settle(ch)
		case c.expected(ch):
			c.down(ch)
		case ch.wants(e.Class):
			crashed = append(crashed, ch)
		default:
			c.settle(ch)
			due = c.significantEnded(ch) || due
		}
	}
	switch {
	case due:
		for _, ch := range crashed {
			c.settle(ch)
		}
		c.end(AutoStopped{ID: c.lastSignificant})
	case len(crashed) > 0:
		c.crashed(crashed)
	}
}

// expected is true for a child that was told to stop, or is about to be: how
// it ended makes no difference then, and costs nothing. OTP's supervisor
// likewise takes no notice of the exit of a child it is about to terminate.
func (c *Core) expected(ch *child) bool {
	return c.phase == PhaseStopping || ch.status == StatusStopping || c.round.halting && ch.inRound
}

// down notes the expected end of a child. One that a round stopped is started
// again by it, unless it is temporary.
func (c *Core) down(ch *child) {
	if ch.inRound && ch.Restart != Temporary && !ch.dismissed {
		c.set(ch, StatusRestarting)
		return
	}
	c.settle(ch)
}

// crashed restarts children that crashed for one cause, if the restart limit
// allows one more.
func (c *Core) crashed(children []*child) {
	if children = c.crashedAlone(children); len(children) == 0 {
		return
	}
	for _, ch := range children {
		c.set(ch, StatusRestarting)
	}
	count, allowed := c.intensity.charge(c.now)
	if !allowed {
		ch := children[0]
		c.end(Escalate{Reason: &Exhausted{
			Child: ch.ID, Reason: ch.lastReason,
			Restarts: count, MaxRestarts: c.spec.MaxRestarts, Window: c.spec.Window,
		}})
		return
	}
	for _, ch := range children {
		if c.spec.Strategy != OneForOne {
			c.sweep(ch, c.nextWait(ch))
			continue
		}
		c.relaunch(ch)
	}
}

// crashedAlone restarts those that count for themselves, or gives them up, and
// returns the others.
func (c *Core) crashedAlone(children []*child) (others []*child) {
	for _, ch := range children {
		if !ch.Alone {
			others = append(others, ch)
			continue
		}
		c.set(ch, StatusRestarting)
		if ch.intensity == nil {
			ch.intensity = &intensity{most: c.spec.MaxRestarts, window: c.spec.Window}
		}
		count, allowed := ch.intensity.charge(c.now)
		if allowed {
			c.relaunch(ch)
			continue
		}
		ch.lastReason = &Exhausted{
			Child: ch.ID, Reason: ch.lastReason,
			Restarts: count, MaxRestarts: c.spec.MaxRestarts, Window: c.spec.Window,
		}
		c.settle(ch)
	}
	return others
}

// relaunch starts a child again, after its wait.
func (c *Core) relaunch(ch *child) {
	wait := c.nextWait(ch)
	if wait == 0 {
		c.launch(ch)
		return
	}
	ch.timer = c.startTimer(wait)
	c.waits[ch.timer] = ch
}

// nextWait is the wait before the child's next attempt.
func (c *Core) nextWait(ch *child) time.Duration {
	ch.attempts++
	ch.lastWait = c.spec.Backoff.delay(ch.attempts, c.spec.Rand)
	return ch.lastWait
}

// launch orders the next generation of a child.
func (c *Core) launch(ch *child) {
	if ch.launched {
		ch.restarts++
	}
	ch.generation++
	c.set(ch, StatusStarting)
	ch.upSince = never
	ch.held, ch.launched = true, true
	c.emit(StartChild{ID: ch.ID, Generation: ch.generation, Restarts: ch.restarts})
}

// settle notes that a child is gone and will not be restarted; OTP keeps the
// specs of all but temporary children then.
func (c *Core) settle(ch *child) {
	c.set(ch, StatusStopped)
	ch.inRound = false
	if ch.held {
		ch.held = false
		if ch.Told && c.phase != PhaseStopping {
			c.emit(Ended{ID: ch.ID, Reason: ch.lastReason})
		}
		c.emit(Release{ID: ch.ID})
	}
	if ch.Restart == Temporary || ch.fresh || c.spec.Dynamic {
		c.remove(ch)
	}
	c.conclude(ch)
}

func (c *Core) timerFired(token uint64) {
	if token == 0 {
		return
	}
	if token == c.deadline {
		c.deadline = 0
		c.overdue()
		return
	}
	if token == c.autoTimer {
		c.autoTimer = 0
		if c.autoDue() {
			c.end(AutoStopped{ID: c.lastSignificant})
		}
		return
	}
	if token == c.round.timer {
		c.round.timer, c.round.until = 0, 0
		return
	}
	if ch := c.waits[token]; ch != nil {
		delete(c.waits, token)
		ch.timer = 0
		c.launch(ch)
	}
}

func (c *Core) startTimer(wait time.Duration) uint64 {
	c.token++
	c.emit(StartTimer{Token: c.token, Delay: wait})
	return c.token
}

func (c *Core) cancel(timer *uint64) {
	if *timer != 0 {
		c.emit(CancelTimer{Token: *timer})
		delete(c.waits, *timer)
		*timer = 0
	}
}

// find returns the child if the generation is its last one.
func (c *Core) find(id string, generation uint64) *child {
	if ch := c.index[id]; ch != nil && ch.generation == generation {
		return ch
	}
	return nil
}

func (c *Core) emit(a Action) { c.actions = append(c.actions, a) }
