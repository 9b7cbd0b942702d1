package genserver

import "sync/atomic"

// batch is letters that have been taken out of the queue all at once, to be
// handled one after the other without the process's lock. They wait still: Kill,
// or whatever ends the process, has those that are not claimed.
type batch struct {
	claimed atomic.Int32 // how many are, by the one who handles them
	n       int32
	counted int32 // of those that are claimed, in the process's turns
	letters [batchSize]slot
}

const batchSize = 32

// claim takes the next letter out; it reports false if there is none any more.
func (b *batch) claim(s *slot) bool {
	i := b.claimed.Load()
	if i >= b.n || !b.claimed.CompareAndSwap(i, i+1) {
		return false
	}
	*s = b.letters[i]
	b.letters[i] = slot{}
	return true
}

// uncounted is how many are claimed and not counted.
func (b *batch) uncounted() int32 { return min(b.claimed.Load(), b.n) - b.counted }

// count counts those.
func (b *batch) count() int32 {
	n := b.uncounted()
	b.counted += n
	return n
}

// left is how many are not claimed.
func (b *batch) left() int32 { return b.n - min(b.claimed.Load(), b.n) }

// void lets no more be claimed, and tells how many there were.
func (b *batch) void() int32 { return b.n - min(b.claimed.Swap(batchSize), b.n) }
