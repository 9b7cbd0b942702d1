package genserver

import (
	"sync"
	"sync/atomic"
)

// inbox is what a mailbox of many messages has. They come into one ring, under a
// lock of its own. When nothing is left in the other one, which they are handled
// from, the two change places. As for a mailbox, all but offer is for who holds the
// process's lock.
type inbox struct {
	mu   sync.Mutex
	of   *mailbox // nil, or another's: it's not this one's any more
	came ring     // behind those in next
	_    [80]byte // what is above is written by those who send, what is below by the one who handles

	batch batch // before those in next
	next  ring
	left  atomic.Int32 // in batch and next, or a few more
	_     [80]byte
}

var inboxes = sync.Pool{New: func() any { return new(inbox) }}

// openInbox opens a mailbox's inbox, which then has all its messages.
func openInbox(m *mailbox) *inbox {
	in := inboxes.Get().(*inbox)
	for s := (slot{}); m.few.pop(&s); {
		in.next.push(&s)
	}
	m.few = ring{}
	in.mu.Lock()
	in.of = m
	in.left.Store(in.next.n)
	in.mu.Unlock()
	m.inbox.Store(in)
	return in
}

// offer is push, unless it's not the mailbox's any more, or may be full.
func (in *inbox) offer(m *mailbox, s *slot, bound int) bool {
	in.mu.Lock()
	fits := in.of == m && int(in.came.n+in.left.Load()) < bound
	if fits {
		in.came.push(s)
	}
	in.mu.Unlock()
	return fits
}

func (in *inbox) push(s *slot) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.came.push(s)
}

func (in *inbox) waiting() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return int(in.came.n + in.next.n + in.batch.left())
}

func (in *inbox) pop(s *slot) bool {
	if in.batch.claim(s) {
		in.batch.counted++ // it gets a turn of its own
		return true
	}
	if in.next.n == 0 {
		in.turn()
	}
	if !in.next.pop(s) {
		return false
	}
	// To say it every time would cost those who send more than it's worth.
	const each = 16
	if in.next.n%each == 0 {
		in.left.Store(in.next.n)
	}
	return true
}

// fill readies a batch of the letters that are next.
func (in *inbox) fill() {
	b := &in.batch
	if b.left() > 0 {
		return
	}
	b.n, b.counted = 0, 0
	for b.n < batchSize && in.next.n > 0 && in.next.at(0).handler != nil {
		in.next.pop(&b.letters[b.n])
		b.n++
	}
	b.claimed.Store(0)
	in.left.Store(b.n + in.next.n)
}

func (in *inbox) turn() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.came, in.next = in.next, in.came
	in.left.Store(in.next.n)
}

func (in *inbox) each(look func(*slot)) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.next.each(look)
	in.came.each(look)
}

// close is seal for one in which there is nothing; it reports false of any other.
func (in *inbox) close() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.came.n+in.next.n+in.batch.left() > 0 {
		return false
	}
	in.of = nil
	return true
}

// seal refuses offers from now on.
func (in *inbox) seal() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.of = nil
}

// takeAll empties the inbox, which may be called while a letter of its batch is
// being handled.
func (in *inbox) takeAll() (all []item) {
	for range in.batch.void() {
		all = append(all, aLetter)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	for s := (slot{}); in.next.pop(&s) || in.came.pop(&s); {
		all = append(all, s.item())
	}
	return all
}

// keptRing is how large a ring may be and be kept for another mailbox: half a megabyte,
// which the garbage collector has back where no mailbox wants it.
const keptRing = 1 << 14

// recycle keeps an inbox for another mailbox, with rings that are not huge.
func (in *inbox) recycle() {
	for _, r := range [...]*ring{&in.came, &in.next} {
		if len(r.slots) > keptRing {
			*r = ring{}
		}
	}
	inboxes.Put(in)
}
