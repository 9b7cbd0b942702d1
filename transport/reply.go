package transport

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/civitas-go/civitas/genserver"
)

// The tags of an error reply.
const (
	tagCode        = 1 // text
	tagServer      = 2 // text
	tagErrorText   = 3 // text
	tagUndelivered = 4 // no value
	tagReason      = 5 // the same fields once more, without an end
)

const (
	maxErrorText   = 16 << 10
	maxReasonDepth = 8 // longer chains of reasons lose their innermost
)

// Reply is the answer to one call, as it is on the wire: a payload or an
// error.
type Reply struct {
	// Payload is the encoded answer, where Err is nil. After ParseReply it
	// shares the bytes that were parsed.
	Payload []byte
	// Err is why there is none.
	Err *genserver.Error
}

// AppendReply appends the reply's bytes to dst. Texts beyond 16 KiB are cut,
// and so are reasons nested more than eight deep.
func AppendReply(dst []byte, r *Reply) []byte {
	if r.Err == nil {
		dst = append(dst, frameMagic, frameVersion, shapeReply, tagPayload)
		return append(dst, r.Payload...)
	}
	dst = append(dst, frameMagic, frameVersion, shapeReplyError)
	dst = appendError(dst, r.Err, 0)
	return append(dst, tagPayload)
}

func appendError(dst []byte, e *genserver.Error, depth int) []byte {
	dst = appendText(dst, tagCode, cut(e.Code, maxText))
	dst = appendText(dst, tagServer, cut(e.Server, maxText))
	dst = appendText(dst, tagErrorText, cut(e.Text, maxErrorText))
	if e.Undelivered {
		dst = append(dst, tagUndelivered, 0)
	}
	if e.Reason != nil && depth < maxReasonDepth {
		dst = appendField(dst, tagReason, appendError(nil, e.Reason, depth+1))
	}
	return dst
}

// cut shortens a text to at most limit bytes without halving a rune.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// ParseReply reads an answer. The error is an [ErrFrame] or an
// [ErrFrameVersion]; either way the call has reached its server.
func ParseReply(data []byte) (Reply, error) {
	shape, err := frameShape(data)
	if err != nil {
		return Reply{}, err
	}
	end, err := measure(data)
	if err != nil {
		return Reply{}, err
	}
	switch shape {
	case shapeReply:
		return Reply{Payload: data[end:]}, nil
	case shapeReplyError:
		e, err := parseError(data[frameHeader:end-1], 0)
		return Reply{Err: e}, err
	default:
		return Reply{}, fmt.Errorf("%w: shape %#x is no reply", ErrFrame, shape)
	}
}

func parseError(fields []byte, depth int) (*genserver.Error, error) {
	if depth > maxReasonDepth {
		return nil, fmt.Errorf("%w: reasons nested more than %d deep", ErrFrame, maxReasonDepth)
	}
	e := &genserver.Error{}
	var err error
	r := fieldReader{data: fields}
	for r.next() {
		switch r.tag {
		case tagCode:
			e.Code, err = string(r.value()), r.most(maxText)
		case tagServer:
			e.Server, err = string(r.value()), r.most(maxText)
		case tagErrorText:
			e.Text, err = string(r.value()), r.most(maxErrorText)
		case tagUndelivered:
			e.Undelivered = true
		case tagReason:
			e.Reason, err = parseError(r.value(), depth+1)
		}
		if err != nil {
			return nil, err
		}
	}
	if r.ended || r.at != len(fields) {
		return nil, fmt.Errorf("%w: an error cut off at byte %d", ErrFrame, r.at)
	}
	if e.Code == "" {
		return nil, fmt.Errorf("%w: an error without a code", ErrFrame)
	}
	return e, nil
}

// wireError is what of an error can cross the wire. An error without a code
// of its own is the handler's.
func wireError(err error) *genserver.Error {
	var e *genserver.Error
	if !errors.As(err, &e) {
		return &genserver.Error{Code: genserver.ErrHandler.Code, Text: err.Error()}
	}
	if error(e) == err || e.Code == "" { //nolint:errorlint // Asks whether it is wrapped.
		return e
	}
	wrapped := *e
	wrapped.Text, wrapped.Server = err.Error(), ""
	return &wrapped
}
