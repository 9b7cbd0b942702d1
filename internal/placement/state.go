package placement

// Phase is where a child stands.
type Phase uint8

const (
	// Unplaced children are about to be placed.
	Unplaced Phase = iota
	// Starting ones are being started.
	Starting
	// Running ones have an owner, which keeps them running.
	Running
	// Waiting ones have crashed, and will be tried again.
	Waiting
	// Unplaceable ones are waited for by no node that could run them.
	Unplaceable
	// Stopped ones are down on purpose.
	Stopped
)

// String is the phase in lower case.
func (p Phase) String() string {
	return [...]string{"unplaced", "starting", "running", "waiting", "unplaceable", "stopped"}[p]
}

// State is what is known of a child of the root.
type State struct {
	Phase Phase
	// On is the incarnation where it runs, or is being started.
	On string
	// Revision is that of the spec by which a running one runs.
	Revision uint64
	// Reason says why it is unplaceable or waiting, or failed last.
	Reason string
}

// State tells of a child; false if there is no spec of that name.
func (c *Core) State(name string) (State, bool) {
	ch := c.specs[name]
	if ch == nil {
		return State{}, false
	}
	return c.stateOf(ch), true
}

func (c *Core) stateOf(ch *child) State {
	s := State{Reason: ch.reason}
	_, homeless := c.homeless[ch]
	switch {
	case ch.on != nil:
		s.Phase, s.On = Starting, ch.on.incarnation
	case ch.owner != nil:
		s.Phase, s.On, s.Revision = Running, ch.owner.incarnation, ch.revision
	case ch.spec.Stopped:
		s.Phase = Stopped
	case homeless:
		s.Phase, s.Reason = Unplaceable, c.whyNot(ch.spec)
	case ch.crashed && ch.failures > 0 && ch.until > c.now:
		s.Phase = Waiting
	}
	return s
}
