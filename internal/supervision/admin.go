package supervision

import (
	"errors"
	"fmt"
)

// What a [Reply] says to a request that can't be met; in OTP these are atoms of
// the same names.
var (
	ErrNotFound       = errors.New("not found")
	ErrAlreadyStarted = errors.New("already started")
	ErrAlreadyPresent = errors.New("already present")
	ErrRunning        = errors.New("running")
	ErrRestarting     = errors.New("restarting")
	// ErrDynamic refuses to restart or delete where no child is kept that is
	// down for good; OTP's simple_one_for_one.
	ErrDynamic     = errors.New("dynamic")
	ErrMaxChildren = errors.New("max children reached")
	ErrMaxSpawns   = errors.New("max spawns reached")
	// ErrTerminated is for one who waits for a start, when somebody else asks
	// for the child's end.
	ErrTerminated = errors.New("terminated meanwhile")
	// ErrStopping is the answer of a supervisor that ends, or has not begun.
	ErrStopping = errors.New("supervisor is stopping")
)

// StartError is the answer to a request whose child did not start.
type StartError struct {
	ID     string
	Reason error
}

// Error names the child, then the reason.
func (e *StartError) Error() string { return fmt.Sprintf("%s did not start: %v", e.ID, e.Reason) }

// Unwrap is the reason.
func (e *StartError) Unwrap() error { return e.Reason }

// MayAdd tells whether an [AddChild] of that ID would be taken now; the error
// is the one that the Reply would bring.
func (c *Core) MayAdd(id string) error {
	ch := c.index[id]
	switch {
	case !c.serving():
		return ErrStopping
	case ch != nil && ch.live():
		return ErrAlreadyStarted
	case ch != nil:
		return ErrAlreadyPresent
	case c.spec.MaxChildren > 0 && len(c.index) >= c.spec.MaxChildren:
		return ErrMaxChildren
	case c.spec.MaxSpawns > 0 && c.spawns >= c.spec.MaxSpawns:
		return ErrMaxSpawns
	}
	return nil
}

// serving is true while children may be started.
func (c *Core) serving() bool { return c.phase == PhaseStarting || c.phase == PhaseRunning }

func (c *Core) add(e AddChild) {
	err := c.MayAdd(e.Child.ID)
	if err == nil {
		err = e.Child.validate(c.spec)
	}
	if err != nil {
		c.emit(Reply{Token: e.Token, Err: err})
		return
	}
	ch := c.insert(e.Child)
	ch.fresh = true
	c.spawns++
	c.request(ch, e.Token)
}

// request starts a child for one who waits for it. In the midst of a round it
// takes its place there, as if the request had come before.
func (c *Core) request(ch *child, token uint64) {
	ch.starters = append(ch.starters, token)
	ch.requested = true
	if !c.round.active {
		c.launch(ch)
		return
	}
	ch.inRound = true
	c.set(ch, StatusRestarting)
	c.round.next = c.first
}

func (c *Core) terminate(e TerminateChild) {
	ch := c.index[e.ID]
	switch {
	case ch == nil:
		c.emit(Reply{Token: e.Token, Err: ErrNotFound})
		return
	case c.phase == PhaseIdle:
		c.emit(Reply{Token: e.Token, Err: ErrStopping})
		return
	}
	ch.enders = append(ch.enders, e.Token)
	ch.dismissed = true
	if !ch.live() {
		c.cancel(&ch.timer)
		c.settle(ch)
		return
	}
	inTurn := c.phase == PhaseStopping || c.round.halting && ch.inRound
	if ch.status != StatusStopping && !inTurn {
		c.halt(ch)
	}
}

func (c *Core) restart(e RestartChild) {
	ch := c.index[e.ID]
	var err error
	switch {
	case c.spec.Dynamic:
		err = ErrDynamic
	case ch == nil:
		err = ErrNotFound
	case !c.serving():
		err = ErrStopping
	default:
		err = ch.busy()
	}
	if err != nil {
		c.emit(Reply{Token: e.Token, Err: err})
		return
	}
	c.request(ch, e.Token)
}

func (c *Core) delete(e DeleteChild) {
	ch := c.index[e.ID]
	err := ErrNotFound
	switch {
	case c.spec.Dynamic:
		err = ErrDynamic
	case ch != nil:
		err = ch.busy()
	}
	if err == nil {
		c.remove(ch)
	}
	c.emit(Reply{Token: e.Token, Err: err})
}

// busy is nil for a child that is down for good.
func (ch *child) busy() error {
	switch {
	case ch.live():
		return ErrRunning
	case ch.status == StatusRestarting || ch.inRound:
		return ErrRestarting
	}
	return nil
}

// answer tells those who wait for the child's start.
func (c *Core) answer(ch *child, err error) {
	for _, token := range ch.starters {
		c.emit(Reply{Token: token, Err: err})
	}
	ch.starters, ch.requested = nil, false
}

// conclude tells those who wait for anything of a child that is down for good.
func (c *Core) conclude(ch *child) {
	switch {
	case c.phase == PhaseStopping:
		c.answer(ch, ErrStopping)
	case ch.dismissed:
		c.answer(ch, ErrTerminated)
	default:
		c.answer(ch, &StartError{ID: ch.ID, Reason: ch.lastReason})
	}
	for _, token := range ch.enders {
		c.emit(Reply{Token: token})
	}
	ch.enders, ch.dismissed = nil, false
}
