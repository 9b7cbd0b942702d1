package transport

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
)

// Sequence numbers the messages of one sender to one incarnation of a node, so
// that the receiver notices those that never came: what a broker drops it drops
// without a word. The sender keeps one per incarnation it sends to, and gives it
// to every [Route] there. Its methods may be called from anywhere.
type Sequence struct {
	stream         uint64
	last, withheld atomic.Uint64
}

// NewSequence begins at one. Two of them are never taken for each other.
func NewSequence() *Sequence { return &Sequence{stream: rand.Uint64()} } //nolint:gosec // an id, no secret

// next is the number of a message; every one is sent, or given to withhold.
func (s *Sequence) next() Number {
	if s == nil {
		return Number{}
	}
	return Number{Stream: s.stream, N: s.last.Add(1), Withheld: s.withheld.Load()}
}

// withhold says that a message with a number was certainly not delivered, and
// that its sender knows.
func (s *Sequence) withhold() {
	if s != nil {
		s.withheld.Add(1)
	}
}

// Number is a message's place in a [Sequence]; the zero value is none.
type Number struct {
	// Stream tells one Sequence from another.
	Stream uint64
	// N counts from one.
	N uint64
	// Withheld is how many of the numbers were not sent, or refused with the
	// sender's knowledge, as far as was known when this one was sent.
	Withheld uint64
}

func (n Number) append(dst []byte) []byte {
	if n.N == 0 {
		return dst
	}
	var v [8 + 2*binary.MaxVarintLen64]byte
	value := binary.BigEndian.AppendUint64(v[:0], n.Stream)
	value = binary.AppendUvarint(value, n.N)
	if n.Withheld > 0 {
		value = binary.AppendUvarint(value, n.Withheld)
	}
	return appendField(dst, tagNumber, value)
}

func (r *fieldReader) number() (n Number, err error) {
	v := r.value()
	if len(v) <= 8 {
		return n, fmt.Errorf("%w: a number of %d bytes", ErrFrame, len(v))
	}
	n.Stream = binary.BigEndian.Uint64(v)
	v = v[8:]
	size := 0
	if n.N, size = binary.Uvarint(v); size <= 0 || n.N == 0 {
		return n, fmt.Errorf("%w: field %d is no number", ErrFrame, r.tag)
	}
	if v = v[size:]; len(v) == 0 {
		return n, nil
	}
	if n.Withheld, size = binary.Uvarint(v); size != len(v) {
		return n, fmt.Errorf("%w: field %d is no number", ErrFrame, r.tag)
	}
	return n, nil
}

const (
	// maxStreams is how many senders each half of a receiver's memory holds.
	maxStreams = 2048
	// maxGap is more than any broker loses: beyond it the number is nonsense.
	maxGap = 1 << 32
)

// gaps counts what is missing between the numbers of all who send to one
// subscription. note is called by the one goroutine that delivers.
type gaps struct {
	missing atomic.Int64

	// Who was heard of lately is in recent. Once that is full it becomes
	// earlier, and what was there and not heard of since is forgotten.
	recent, earlier map[uint64]*progress
	forgets         bool // a stream not seen may have been, and been forgotten

	lastStream uint64
	last       *progress // lastStream's, which is recent; nil for none
}

type progress struct{ highest, withheld uint64 }

// note takes the number of a message that has come. Concurrent senders' numbers
// may come a little out of order: what seemed missing then turns up.
func (g *gaps) note(n Number) {
	if n.N == 0 {
		return
	}
	p := g.last
	if p == nil || n.Stream != g.lastStream {
		if p = g.recent[n.Stream]; p == nil {
			p = g.remember(n)
		}
		g.last, g.lastStream = p, n.Stream
	}
	switch {
	case n.N <= p.highest:
		g.missing.Add(-1)
	case n.N-p.highest > maxGap:
		p.highest = n.N
	default:
		if gap := n.N - p.highest - 1; gap > 0 {
			g.missing.Add(int64(gap)) // At most maxGap.
		}
		p.highest = n.N
	}
	if n.Withheld <= p.withheld {
		return
	}
	if more := n.Withheld - p.withheld; more <= maxGap {
		g.missing.Add(-int64(more)) // At most maxGap.
	}
	p.withheld = n.Withheld
}

// remember puts a stream among the recent ones.
func (g *gaps) remember(n Number) *progress {
	p := g.earlier[n.Stream]
	switch {
	case p != nil:
		delete(g.earlier, n.Stream)
	case g.forgets:
		p = &progress{highest: n.N - 1, withheld: n.Withheld}
	default:
		p = &progress{}
	}
	if len(g.recent) >= maxStreams {
		g.forgets = g.forgets || len(g.earlier) > 0
		g.recent, g.earlier = nil, g.recent
	}
	if g.recent == nil {
		g.recent = make(map[uint64]*progress)
	}
	g.recent[n.Stream] = p
	return p
}

// lost is never less than none, whatever a broker does twice.
func (g *gaps) lost() uint64 { return uint64(max(0, g.missing.Load())) } // Not negative.
