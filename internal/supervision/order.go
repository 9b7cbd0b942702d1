package supervision

import "iter"

// insert puts a child at the end of the start order.
func (c *Core) insert(spec Child) *child {
	ch := &child{Child: spec, generation: c.floor, prev: c.last}
	if c.last == nil {
		c.first = ch
	} else {
		c.last.next = ch
	}
	c.last = ch
	c.index[ch.ID] = ch
	return ch
}

// remove forgets a child that is down.
func (c *Core) remove(ch *child) {
	if ch.prev == nil {
		c.first = ch.next
	} else {
		ch.prev.next = ch.next
	}
	if ch.next == nil {
		c.last = ch.prev
	} else {
		ch.next.prev = ch.prev
	}
	if c.cursor == ch {
		c.cursor = ch.prev
	}
	if c.round.next == ch {
		c.round.next = ch.next
	}
	delete(c.index, ch.ID)
	c.floor = max(c.floor, ch.generation)
	c.emit(Forget{ID: ch.ID, Reason: ch.lastReason})
}

// all are the children in start order; the one at hand may be removed.
func (c *Core) all() iter.Seq[*child] {
	return func(yield func(*child) bool) {
		for ch := c.first; ch != nil; {
			next := ch.next
			if !yield(ch) {
				return
			}
			ch = next
		}
	}
}

// backward are the children in reverse; the one at hand may be removed.
func (c *Core) backward() iter.Seq[*child] {
	return func(yield func(*child) bool) {
		for ch := c.last; ch != nil; {
			prev := ch.prev
			if !yield(ch) {
				return
			}
			ch = prev
		}
	}
}

// set changes a child's status, and counts along.
func (c *Core) set(ch *child, status Status) {
	if ch.Significant && (ch.status == StatusStopped) != (status == StatusStopped) {
		c.significant++
		if status == StatusStopped {
			c.significant -= 2
		}
	}
	was := ch.live()
	if ch.status == StatusRunning {
		c.running--
	}
	if status == StatusRunning {
		c.running++
	}
	ch.status = status
	switch is := ch.live(); {
	case is && !was:
		c.live++
	case was && !is:
		c.live--
	}
}
