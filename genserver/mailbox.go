package genserver

import "sync/atomic"

// item is a message whose turn can come.
type item interface {
	// header describes the message.
	header() *header
	// message is the message as a Go value, nil for bytes and the runtime's own.
	// The server's goroutine asks, once run has failed.
	message() Message
	// use is a ticket that tells one use of a pooled item from the next.
	use() uint64
	// run handles the message, in the server's turn. An error ends the server.
	run(p *Process, c *Context) error
	// discard tells whoever waits for an answer that none will come. It may
	// come while run is under way, and after it.
	discard(ticket uint64, why failure)
}

// failure makes the error for a caller whose message is discarded: whether it
// was still queued makes the difference of [NotDelivered].
type failure func(queued bool) error

// mailbox is what waits for a process: a few messages in a ring of its own. When there
// are more, it opens an inbox for all of them, so that those who send and the one
// who handles are seldom in each other's way. All but offer is for who holds the
// process's lock.
type mailbox struct {
	inbox  atomic.Pointer[inbox] // in place of few
	sealed bool                  // opens none any more
	few    ring
}

// offer puts a message in, and reports false where that takes the process's lock:
// there is no inbox, or it may be full.
func (m *mailbox) offer(s *slot, bound int) bool {
	in := m.inbox.Load()
	return in != nil && in.offer(m, s, bound)
}

// push puts a message in, behind all others.
func (m *mailbox) push(s *slot) {
	in := m.inbox.Load()
	if in == nil && m.few.n == smallestRing && !m.sealed {
		in = openInbox(m)
	}
	if in != nil {
		in.push(s)
		return
	}
	m.few.push(s)
}

// pushItem is push for a message that is an item.
func (m *mailbox) pushItem(it item) { m.push(&slot{what: it}) }

// waiting is how many messages there are.
func (m *mailbox) waiting() int {
	if in := m.inbox.Load(); in != nil {
		return in.waiting()
	}
	return int(m.few.n)
}

// pop takes the next message out, and reports false if there is none.
func (m *mailbox) pop(s *slot) bool {
	if in := m.inbox.Load(); in != nil {
		return in.pop(s)
	}
	return m.few.n > 0 && m.few.pop(s)
}

// close gives the mailbox's memory back if there is nothing in it, since most
// servers are idle most of the time. It's for who handles the messages.
func (m *mailbox) close() bool {
	if m.few.n > 0 {
		return false
	}
	if in := m.inbox.Load(); in != nil {
		if !in.close() {
			return false
		}
		m.inbox.Store(nil)
		in.recycle()
	}
	m.few = ring{}
	return true
}

// seal has all that comes from now on need the process's lock.
func (m *mailbox) seal() {
	m.sealed = true
	if in := m.inbox.Load(); in != nil {
		in.seal()
	}
}

// takeAll seals the mailbox and empties it.
func (m *mailbox) takeAll() []item {
	m.seal()
	var all []item
	if in := m.inbox.Swap(nil); in != nil {
		all = in.takeAll()
	}
	for s := (slot{}); m.few.pop(&s); {
		all = append(all, s.item())
	}
	m.few = ring{}
	return all
}

// batch readies some letters to be claimed, if letters are next.
func (m *mailbox) batch() {
	if in := m.inbox.Load(); in != nil {
		in.fill()
	}
}

// uncounted is how many turns the batch's letters have had that are not counted yet.
func (m *mailbox) uncounted() uint64 {
	if in := m.inbox.Load(); in != nil {
		return uint64(in.batch.uncounted())
	}
	return 0
}

// count counts those.
func (m *mailbox) count() uint64 {
	if in := m.inbox.Load(); in != nil {
		return uint64(in.batch.count())
	}
	return 0
}

// claim takes the next letter of the batch out. It's for who handles them, without
// the process's lock.
func (m *mailbox) claim(s *slot) bool {
	in := m.inbox.Load()
	return in != nil && in.batch.claim(s)
}

// each looks at what waits.
func (m *mailbox) each(look func(*slot)) {
	m.few.each(look)
	if in := m.inbox.Load(); in != nil {
		in.each(look)
	}
}
