package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/civitas-go/civitas/genserver"
)

// The first bytes of everything nodes send each other:
//
//	0  frameMagic    never begins a payload: no JSON, no msgpack
//	1  frameVersion  the major version, below
//	2  shape         a genserver.Kind, or one of the reply shapes
//	3… fields
//
// A field is its tag (a byte), its length (an unsigned varint) and its value.
// Tag 0 has no length: it is the payload, all the rest, and ends the frame.
// Fields may come in any order; one with an unknown tag is skipped, so a new
// field needs no new version. The version changes only where an older node
// must not guess.
const (
	frameMagic   = 0xC1 // the one byte that msgpack never uses
	frameVersion = 1
	frameHeader  = 3

	shapeReply      = 0x10
	shapeReplyError = 0x11
)

// The tags of a message. A tag is never used again for something else.
const (
	tagPayload    = 0
	tagOp         = 1  // text
	tagRemaining  = 2  // signed varint, nanoseconds
	tagSpan       = 3  // trace id (16 bytes), span id (8), flags (1)
	tagTraceState = 4  // text, as in W3C's header
	tagFrom       = 5  // text
	tagFromNode   = 6  // text
	tagChain      = 7  // text, once for each link
	tagEpoch      = 8  // unsigned varint
	tagNumber     = 9  // stream (8 bytes), number (unsigned varint), withheld (the same, absent for none)
	tagOrigin     = 10 // epoch (unsigned varint), incarnation (text)
)

// What a decoder accepts. Nodes make nothing longer; see checkOutgoing.
const (
	maxText       = 1 << 10 // an op, a name, a link of the chain
	maxTraceState = 4 << 10
	maxChain      = 256
	maxFields     = 1 << 10 // counts unknown ones too
)

// The errors of [ParseFrame] and [ParseReply].
var (
	// ErrFrame means that the bytes are no frame, or no reply.
	ErrFrame = errors.New("malformed frame")
	// ErrFrameVersion means that a frame has a major version that this build does
	// not know: the sender is newer, and must not be guessed at.
	ErrFrameVersion = errors.New("unknown frame version")
)

// Frame is one message from node to node, as it is on the wire. Whom it is
// for is in the subject.
type Frame struct {
	// Kind is how the message arrives.
	Kind genserver.Kind
	// Op is the message's op.
	Op string
	// Remaining is how much longer the caller waits: a duration, since the
	// clocks of two nodes differ. Zero means for ever, less than zero that
	// the caller no longer waits. The time under way is not deducted.
	Remaining time.Duration
	// Span is the sender's span; invalid where it has none.
	Span trace.SpanContext
	// From names the sending server, FromNode its node; empty if there is none.
	From, FromNode string
	// Chain names the servers that wait for the answer, outermost first.
	Chain []string
	// Epoch is that of the ownership the sender believes in; zero for none.
	Epoch uint64
	// Origin is the ownership by which the sender has sent it.
	Origin Origin
	// Number is the message's place among the sender's to this incarnation.
	Number Number
	// Payload is the encoded message. After ParseFrame it shares the bytes
	// that were parsed.
	Payload []byte
}

// remainingUntil is the Frame.Remaining of a deadline, as of now. A passed
// deadline gives a negative duration, the zero time zero.
func remainingUntil(deadline, now time.Time) time.Duration {
	if deadline.IsZero() {
		return 0
	}
	if left := deadline.Sub(now); left > 0 {
		return left
	}
	return -1
}

// deadlineIn is the inverse of remainingUntil on the receiver's clock: what
// had ended stays ended. The time under way is not known and not deducted.
func deadlineIn(remaining time.Duration, now time.Time) time.Time {
	if remaining == 0 {
		return time.Time{}
	}
	return now.Add(remaining)
}

// AppendFrame appends the frame's bytes to dst, the payload last. It writes
// what it is given, also what is longer than [ParseFrame] accepts.
func AppendFrame(dst []byte, f *Frame) []byte {
	dst = append(dst, frameMagic, frameVersion, byte(f.Kind))
	dst = appendText(dst, tagOp, f.Op)
	if f.Remaining != 0 {
		var v [binary.MaxVarintLen64]byte
		n := binary.PutVarint(v[:], int64(f.Remaining))
		dst = append(dst, tagRemaining, byte(n))
		dst = append(dst, v[:n]...)
	}
	dst = appendSpan(dst, f.Span)
	dst = appendText(dst, tagFrom, f.From)
	dst = appendText(dst, tagFromNode, f.FromNode)
	for _, link := range f.Chain {
		dst = appendField(dst, tagChain, link)
	}
	if f.Epoch != 0 {
		var v [binary.MaxVarintLen64]byte
		n := binary.PutUvarint(v[:], f.Epoch)
		dst = append(dst, tagEpoch, byte(n))
		dst = append(dst, v[:n]...)
	}
	dst = f.Number.append(dst)
	dst = f.Origin.append(dst)
	dst = append(dst, tagPayload)
	return append(dst, f.Payload...)
}

func appendSpan(dst []byte, sc trace.SpanContext) []byte {
	if !sc.IsValid() {
		return dst
	}
	tid, sid := sc.TraceID(), sc.SpanID()
	dst = append(dst, tagSpan, byte(len(tid)+len(sid)+1))
	dst = append(dst, tid[:]...)
	dst = append(dst, sid[:]...)
	dst = append(dst, byte(sc.TraceFlags()))
	if sc.TraceState().Len() == 0 {
		return dst
	}
	return appendText(dst, tagTraceState, sc.TraceState().String())
}

// appendText leaves an empty text out; decoders read an absent one as empty.
func appendText(dst []byte, tag byte, text string) []byte {
	if text == "" {
		return dst
	}
	return appendField(dst, tag, text)
}

func appendField[T string | []byte](dst []byte, tag byte, value T) []byte {
	dst = append(dst, tag)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// ParseFrame reads a message. The error is an [ErrFrame] or an
// [ErrFrameVersion]; it never panics, and allocates no more than the bytes
// given plus the chain.
func ParseFrame(data []byte) (f Frame, err error) {
	if err := f.parse(data, nil); err != nil {
		return Frame{}, err
	}
	return f, nil
}

// parse is ParseFrame, into a zero Frame, with what was read before, nil for none. It
// goes over the bytes once: nodes read a frame for every message.
func (f *Frame) parse(data []byte, known *texts) error {
	shape, err := frameShape(data)
	if err != nil {
		return err
	}
	f.Kind = genserver.Kind(shape)
	if f.Kind < genserver.KindCall || f.Kind > genserver.KindInfo {
		return fmt.Errorf("%w: shape %#x is no message", ErrFrame, shape)
	}
	var span trace.SpanContextConfig
	var state string
	var seen fields
	r := fieldReader{data: data, at: frameHeader}
	for r.next() {
		if err := seen.add(r.tag); err != nil {
			return err
		}
		switch r.tag {
		case tagOp:
			f.Op, err = r.text(known, maxText)
		case tagRemaining:
			f.Remaining, err = r.duration()
		case tagSpan:
			span, err = r.span()
		case tagTraceState:
			state, err = r.text(nil, maxTraceState)
		case tagFrom:
			f.From, err = r.text(known, maxText)
		case tagFromNode:
			f.FromNode, err = r.text(known, maxText)
		case tagChain:
			var link string
			link, err = r.text(known, maxText)
			f.Chain = append(f.Chain, link)
		case tagEpoch:
			f.Epoch, err = r.uvarint()
		case tagNumber:
			f.Number, err = r.number()
		case tagOrigin:
			f.Origin, err = r.origin(known)
		}
		if err != nil {
			return err
		}
	}
	if !r.ended {
		return fmt.Errorf("%w: cut off at byte %d", ErrFrame, r.at)
	}
	f.Payload = data[r.at:]
	if span.TraceID.IsValid() {
		f.Span = spanContext(span, state)
	}
	return nil
}

// spanContext ignores a trace state that W3C's rules refuse, as they ask.
func spanContext(c trace.SpanContextConfig, state string) trace.SpanContext {
	if !c.TraceID.IsValid() || !c.SpanID.IsValid() {
		return trace.SpanContext{}
	}
	if state != "" {
		if ts, err := trace.ParseTraceState(state); err == nil {
			c.TraceState = ts
		}
	}
	c.Remote = true
	return trace.NewSpanContext(c)
}

// frameShape checks the header and returns the third byte.
func frameShape(data []byte) (byte, error) {
	switch {
	case len(data) < frameHeader+1:
		return 0, fmt.Errorf("%w: %d bytes", ErrFrame, len(data))
	case data[0] != frameMagic:
		return 0, fmt.Errorf("%w: begins with byte %#x", ErrFrame, data[0])
	case data[1] != frameVersion:
		return 0, fmt.Errorf("%w: %d, this build speaks %d", ErrFrameVersion, data[1], frameVersion)
	}
	return data[2], nil
}

// measure walks the fields of a frame, checks their shape, and returns where the
// payload begins.
func measure(data []byte) (end int, err error) {
	r := fieldReader{data: data, at: frameHeader}
	var seen fields
	for r.next() {
		if err := seen.add(r.tag); err != nil {
			return 0, err
		}
	}
	if !r.ended {
		return 0, fmt.Errorf("%w: cut off at byte %d", ErrFrame, r.at)
	}
	return r.at, nil
}

// fields are those that a frame has had so far.
type fields struct {
	known    uint64 // a bit for each tag that is known
	n, links int
}

func (f *fields) add(tag byte) error {
	if f.n++; f.n > maxFields {
		return fmt.Errorf("%w: more than %d fields", ErrFrame, maxFields)
	}
	switch bit := uint64(1) << (tag & 63); {
	case tag == tagChain:
		if f.links++; f.links > maxChain {
			return fmt.Errorf("%w: a call chain of more than %d servers", ErrFrame, maxChain)
		}
	case !knownTag(tag):
	case f.known&bit != 0:
		return fmt.Errorf("%w: field %d twice", ErrFrame, tag)
	default:
		f.known |= bit
	}
	return nil
}

func knownTag(tag byte) bool { return tag <= tagOrigin }

// fieldReader walks fields; value is data[from:to]. It ends at the payload's
// tag (ended, at is where the payload begins) or where the bytes are wrong.
type fieldReader struct {
	data     []byte
	at       int
	tag      byte
	from, to int
	ended    bool
}

func (r *fieldReader) next() bool {
	if r.at >= len(r.data) {
		return false
	}
	r.tag = r.data[r.at]
	r.at++
	if r.tag == tagPayload {
		r.ended = true
		return false
	}
	size, n := uvarint(r.data[r.at:])
	if n <= 0 || size > uint64(len(r.data)-r.at-n) { // The difference is never negative.
		return false
	}
	r.from = r.at + n
	r.to = r.from + int(size) // Bounded by len(data) above.
	r.at = r.to
	return true
}

// uvarint is binary.Uvarint, quicker where the number takes a byte, as most do.
func uvarint(data []byte) (uint64, int) {
	if len(data) > 0 && data[0] < 0x80 {
		return uint64(data[0]), 1
	}
	return binary.Uvarint(data)
}

func (r *fieldReader) value() []byte { return r.data[r.from:r.to] }

// text reads a text, without making it anew where it is known.
func (r *fieldReader) text(known *texts, limit int) (string, error) {
	if err := r.most(limit); err != nil {
		return "", err
	}
	return known.get(r.value()), nil
}

func (r *fieldReader) most(limit int) error {
	if r.to-r.from > limit {
		return fmt.Errorf("%w: field %d has %d bytes, limit %d", ErrFrame, r.tag, r.to-r.from, limit)
	}
	return nil
}

func (r *fieldReader) uvarint() (uint64, error) {
	v, n := binary.Uvarint(r.value())
	if n <= 0 || n != r.to-r.from {
		return 0, fmt.Errorf("%w: field %d is no number", ErrFrame, r.tag)
	}
	return v, nil
}

// duration keeps clear of the extremes, so that adding it to a time is safe.
func (r *fieldReader) duration() (time.Duration, error) {
	v, n := binary.Varint(r.value())
	if n <= 0 || n != r.to-r.from || v == 0 {
		return 0, fmt.Errorf("%w: field %d is no duration", ErrFrame, r.tag)
	}
	return time.Duration(min(max(v, -1), math.MaxInt64/2)), nil
}

func (r *fieldReader) span() (c trace.SpanContextConfig, err error) {
	v := r.value()
	if len(v) != len(c.TraceID)+len(c.SpanID)+1 {
		return c, fmt.Errorf("%w: a span of %d bytes", ErrFrame, len(v))
	}
	copy(c.TraceID[:], v)
	copy(c.SpanID[:], v[len(c.TraceID):])
	c.TraceFlags = trace.TraceFlags(v[len(v)-1])
	return c, nil
}
