package transport

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"reflect"
	"sync"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/civitas-go/civitas/genserver"
)

// What a payload from the network may be. Both codecs refuse more before they
// make anything of it.
const (
	// MaxPayload is the most bytes a payload may have.
	MaxPayload = 64 << 20
	// MaxDepth is how deep maps and arrays may nest.
	MaxDepth = 64
	// MaxValues is how many values a payload may hold, keys and containers
	// included.
	MaxValues = 1 << 20
)

// ErrPayload is the error of a codec, and of [Detect], for bytes that are no
// payload: not in the encoding they claim, or beyond the limits.
var ErrPayload = errors.New("malformed payload")

// MsgPack is the codec between nodes, and of plain clients that choose it. It
// reads the `json` struct tag; structs and maps are msgpack maps, keyed by
// exactly the tag's name. Times are msgpack's timestamps, durations integers
// of nanoseconds, bytes are bytes. What has a form of its own in JSON, as of
// UnmarshalJSON, MarshalText or json.RawMessage, has that form here too, and so have
// a map's keys that are no strings; it takes the way through JSON, which is slower.
// A MarshalJSON without its UnmarshalJSON counts for nothing where there are fields to
// send: no peer could read what it makes. A type with a MarshalMsgpack or
// EncodeMsgpack has the form that this makes.
//
// Into a genserver.Map, a map[string]any or an any it decodes int64, uint64
// (only what int64 does not hold), float64, string, []byte, bool, nil, []any
// and map[string]any, and a time as RFC 3339 text, as JSON has it.
//
// It refuses what is malformed or beyond the limits, bytes after the value,
// keys that are no strings, and extension types but the timestamp.
var MsgPack genserver.Codec = msgpackCodec{}

// JSON is genserver.JSON with this package's limits, for plain clients.
var JSON genserver.Codec = jsonCodec{}

type msgpackCodec struct{}

// maxPooledBuffer keeps one large message from staying in memory for ever.
const maxPooledBuffer = 64 << 10

// encoding is an encoder and the buffer it writes to, pooled together.
type encoding struct {
	buf bytes.Buffer
	enc *msgpack.Encoder
}

var encodings = sync.Pool{New: func() any { return &encoding{enc: msgpack.NewEncoder(nil)} }}

func newEncoding() *encoding {
	e := encodings.Get().(*encoding) // The pool holds nothing else.
	e.buf.Reset()
	return e
}

// library is the encoder for what is no flat struct.
func (e *encoding) library() *msgpack.Encoder {
	e.enc.Reset(&e.buf)
	e.enc.SetCustomStructTag("json")
	e.enc.UseCompactInts(true)
	return e.enc
}

// flatValue is v, or what it points to, where that is a flat struct.
func flatValue(v any) (reflect.Value, *flat) {
	rv := reflect.ValueOf(v)
	if rv.Kind() == reflect.Pointer && !rv.IsNil() {
		rv = rv.Elem()
	}
	if rv.Kind() != reflect.Struct {
		return rv, nil
	}
	return rv, flatOf(rv.Type())
}

func (e *encoding) free() {
	if e.buf.Cap() <= maxPooledBuffer {
		encodings.Put(e)
	}
}

// append encodes v behind what the buffer holds. A panic of a type's own
// marshalling is an error here, for it would take down a server's caller.
func (e *encoding) append(v any) error {
	rv, f := flatValue(v)
	if f != nil {
		e.buf.Write(f.append(e.buf.AvailableBuffer(), rv))
		return nil
	}
	if err := guarded(func() error { return e.appendAny(v) }); err != nil {
		return fmt.Errorf("encode %T as msgpack: %w", v, err)
	}
	return nil
}

// appendAny encodes what is no flat struct.
func (e *encoding) appendAny(v any) error {
	if m, ok := v.(genserver.Map); ok {
		v = map[string]any(m)
	}
	if holdsForm(v, 0) {
		x, err := throughJSON(v)
		if err != nil {
			return err
		}
		v = x
	}
	if m, ok := v.(map[string]any); ok {
		return e.library().EncodeMap(m)
	}
	return e.library().Encode(v)
}

func (msgpackCodec) Encode(v any) ([]byte, error) {
	e := newEncoding()
	defer e.free()
	if err := e.append(v); err != nil {
		return nil, err
	}
	return bytes.Clone(e.buf.Bytes()), nil
}

// decoding is a decoder and what it reads from, pooled together.
type decoding struct {
	in  bytes.Reader
	dec *msgpack.Decoder
}

var decodings = sync.Pool{New: func() any { return &decoding{dec: msgpack.NewDecoder(nil)} }}

func (msgpackCodec) Decode(data []byte, v any) error {
	var err error
	switch v := v.(type) {
	case *genserver.Map:
		err = decodeMap(data, (*map[string]any)(v))
	case *map[string]any:
		err = decodeMap(data, v)
	case *any:
		*v, err = decodeAny(data)
	default:
		err = decodeTyped(data, v)
	}
	if err != nil {
		return fmt.Errorf("decode msgpack into %T: %w", v, err)
	}
	return nil
}

func decodeMap(data []byte, m *map[string]any) error {
	v, err := decodeAny(data)
	if err != nil {
		return err
	}
	switch v := v.(type) {
	case nil:
		*m = nil
	case map[string]any:
		*m = v
	default:
		return fmt.Errorf("%w: a %T, not a map", ErrPayload, v)
	}
	return nil
}

func decodeTyped(data []byte, v any) error {
	rv, f := flatValue(v)
	if f != nil && rv.CanSet() && len(data) <= MaxPayload && f.decode(data, rv) {
		return nil
	}
	if rv.IsValid() && shapes.of(rv.Type()) {
		return decodeShaped(data, v)
	}
	if err := checkMsgPack(data); err != nil {
		return err
	}
	return decodeByLibrary(data, v)
}

// decodeByLibrary decodes what checkMsgPack accepts.
func decodeByLibrary(data []byte, v any) error {
	d := decodings.Get().(*decoding) // The pool holds nothing else.
	defer decodings.Put(d)
	d.in.Reset(data)
	defer d.in.Reset(nil)
	d.dec.Reset(&d.in)
	d.dec.SetCustomStructTag("json")
	if err := guarded(func() error { return d.dec.Decode(v) }); err != nil {
		return fmt.Errorf("%w: %w", ErrPayload, err)
	}
	plainFields(v)
	return nil
}

// guarded turns a panic of a type's own marshalling, or of a value that a library
// cannot set, into an error: the bytes are the sender's.
func guarded(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return do()
}

type jsonCodec struct{}

func (jsonCodec) Encode(v any) (data []byte, err error) {
	err = guarded(func() (err error) {
		data, err = genserver.JSON.Encode(v)
		return err
	})
	return data, err
}

func (jsonCodec) Decode(data []byte, v any) error {
	if err := checkJSON(data); err != nil {
		return fmt.Errorf("decode JSON into %T: %w", v, err)
	}
	return guarded(func() error { return genserver.JSON.Decode(data, v) })
}

// Detect finds the encoding of a plain client's payload, which must be a JSON
// object or a msgpack map: by its first byte, and by contentType where that
// is not empty, which must agree. Empty data is an empty JSON object, for
// which [NewBody] stands in. It reads no further than the first byte.
func Detect(data []byte, contentType string) (genserver.Codec, error) {
	claimed, err := claimedCodec(contentType)
	if err != nil {
		return nil, err
	}
	found, err := foundCodec(data)
	switch {
	case err != nil:
		return nil, err
	case found == nil && claimed == nil:
		return JSON, nil
	case found == nil:
		return claimed, nil
	case claimed != nil && claimed != found:
		return nil, fmt.Errorf("%w: the content type is %q, the first byte %#x", ErrPayload, contentType, data[0])
	default:
		return found, nil
	}
}

// foundCodec is nil for empty data.
func foundCodec(data []byte) (genserver.Codec, error) {
	for i, b := range data {
		switch {
		case b == ' ' || b == '\t' || b == '\r' || b == '\n':
			continue
		case b == '{':
			return JSON, nil
		case i == 0 && (b&0xf0 == 0x80 || b == 0xde || b == 0xdf):
			return MsgPack, nil
		default:
			return nil, fmt.Errorf("%w: begins with byte %#x; a payload is a JSON object or a msgpack map", ErrPayload, b)
		}
	}
	return nil, nil
}

func claimedCodec(contentType string) (genserver.Codec, error) {
	if contentType == "" {
		return nil, nil
	}
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, fmt.Errorf("%w: content type %q: %w", ErrPayload, contentType, err)
	}
	switch kind {
	case "application/json", "text/json":
		return JSON, nil
	case "application/msgpack", "application/x-msgpack", "application/vnd.msgpack":
		return MsgPack, nil
	default:
		return nil, fmt.Errorf("%w: content type %q is neither application/json nor application/msgpack", ErrPayload, contentType)
	}
}

// body implements genserver.Body.
type body struct {
	codec genserver.Codec
	data  []byte
}

// NewBody is a payload that codec will decode. Empty data is an empty map. It
// keeps data; its Decode may be called from any goroutine.
func NewBody(codec genserver.Codec, data []byte) genserver.Body { return &body{codec, data} }

var (
	emptyJSON    = []byte("{}")
	emptyMsgPack = []byte{0x80}
)

func (b *body) Decode(v any) error { return decodePayload(b.codec, b.data, v) }

func decodePayload(codec genserver.Codec, data []byte, v any) error {
	if len(data) == 0 {
		data = emptyJSON
		if codec == MsgPack {
			data = emptyMsgPack
		}
	}
	return codec.Decode(data, v)
}
