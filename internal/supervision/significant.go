package supervision

// significantEnded tells whether the end of a child, by itself and for good, is the
// supervisor's.
func (c *Core) significantEnded(ch *child) bool {
	if !ch.Significant {
		return false
	}
	c.lastSignificant = ch.ID
	return c.autoDue()
}

// autoDue is true once as many significant children have ended as it takes.
func (c *Core) autoDue() bool {
	switch {
	case c.lastSignificant == "" || c.phase != PhaseRunning:
		return false
	case c.spec.AutoShutdown == AllSignificant:
		return c.significant == 0
	default:
		return c.spec.AutoShutdown == AnySignificant
	}
}

// checkAuto follows the initial start, which succeeds in any case: if the
// significant children have ended meanwhile, the supervisor ends right after,
// by way of a timer, as OTP takes notice of exits only when its init is over.
func (c *Core) checkAuto() {
	if c.autoDue() {
		c.autoTimer = c.startTimer(0)
	}
}
