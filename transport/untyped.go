package transport

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// decodeAny decodes msgpack into plain Go values, checking the limits on the
// way. The library's decoder would give every width of integer its own Go
// type, and takes the lengths it is told.
func decodeAny(data []byte) (any, error) {
	p := parser{data: data, build: true}
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	return v, p.end()
}

// checkMsgPack walks msgpack as decodeAny does, and makes nothing. What it
// accepts the library decodes safely: it is whole, and each length in it is
// true.
func checkMsgPack(data []byte) error {
	p := parser{data: data}
	if _, err := p.value(0); err != nil {
		return err
	}
	return p.end()
}

// parser reads msgpack. Without build it checks only, and all values are nil.
type parser struct {
	data   []byte
	at     int
	values int
	build  bool
}

func (p *parser) end() error {
	if rest := len(p.data) - p.at; rest > 0 {
		return fmt.Errorf("%w: %d bytes after the value", ErrPayload, rest)
	}
	return nil
}

// value reads the value that begins here. The formats' bytes are those of
// msgpack's specification.
func (p *parser) value(depth int) (any, error) {
	if err := p.count(depth); err != nil {
		return nil, err
	}
	b, err := p.take(1)
	if err != nil {
		return nil, err
	}
	switch c := b[0]; {
	case c <= 0x7f:
		return p.int(int64(c)), nil
	case c <= 0x8f:
		return p.mapOf(int(c&0x0f), depth)
	case c <= 0x9f:
		return p.arrayOf(int(c&0x0f), depth)
	case c <= 0xbf:
		return p.text(int(c & 0x1f))
	case c == 0xc0:
		return nil, nil
	case c == 0xc2, c == 0xc3:
		return c == 0xc3, nil
	case c >= 0xc4 && c <= 0xc6:
		return p.sized(1<<(c-0xc4), p.bin)
	case c == 0xca:
		n, err := p.number(4)
		return p.float(float64(math.Float32frombits(uint32(n)))), err // Four bytes were read.
	case c == 0xcb:
		n, err := p.number(8)
		return p.float(math.Float64frombits(n)), err
	case c >= 0xcc && c <= 0xcf:
		n, err := p.number(1 << (c - 0xcc))
		return p.uint(n), err
	case c >= 0xd0 && c <= 0xd3:
		size := 1 << (c - 0xd0)
		n, err := p.number(size)
		shift := 64 - 8*size
		return p.int(int64(n<<shift) >> shift), err // The sign is meant to move.
	case c >= 0xd4 && c <= 0xd8:
		return p.ext(1 << (c - 0xd4))
	case c >= 0xc7 && c <= 0xc9:
		return p.sized(1<<(c-0xc7), p.ext)
	case c >= 0xd9 && c <= 0xdb:
		return p.sized(1<<(c-0xd9), p.text)
	case c == 0xdc, c == 0xdd:
		return p.sized(2<<(c-0xdc), func(n int) (any, error) { return p.arrayOf(n, depth) })
	case c == 0xde, c == 0xdf:
		return p.sized(2<<(c-0xde), func(n int) (any, error) { return p.mapOf(n, depth) })
	case c >= 0xe0:
		return p.int(int64(int8(c))), nil // A negative fixint.
	default:
		return nil, fmt.Errorf("%w: byte %#x at %d", ErrPayload, c, p.at-1)
	}
}

func (p *parser) count(depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("%w: nested more than %d deep", ErrPayload, MaxDepth)
	}
	if p.values++; p.values > MaxValues {
		return fmt.Errorf("%w: more than %d values", ErrPayload, MaxValues)
	}
	if p.values == 1 && len(p.data) > MaxPayload {
		return fmt.Errorf("%w: %d bytes, limit %d", ErrPayload, len(p.data), MaxPayload)
	}
	return nil
}

func (p *parser) take(n int) ([]byte, error) {
	if n > len(p.data)-p.at {
		return nil, fmt.Errorf("%w: cut off: %d bytes at %d, %d are left", ErrPayload, n, p.at, len(p.data)-p.at)
	}
	b := p.data[p.at : p.at+n]
	p.at += n
	return b, nil
}

func (p *parser) number(size int) (uint64, error) {
	b, err := p.take(size)
	if err != nil {
		return 0, err
	}
	var wide [8]byte
	copy(wide[8-size:], b)
	return binary.BigEndian.Uint64(wide[:]), nil
}

// sized reads a length and hands it on. A length that cannot be true fails
// before anything is made for it: nothing takes less than a byte.
func (p *parser) sized(size int, then func(n int) (any, error)) (any, error) {
	n, err := p.number(size)
	if err != nil {
		return nil, err
	}
	if n > uint64(len(p.data)) {
		return nil, fmt.Errorf("%w: a length of %d in %d bytes", ErrPayload, n, len(p.data))
	}
	return then(int(n)) // Bounded by len(data).
}

func (p *parser) mapOf(n, depth int) (any, error) {
	if 2*n > len(p.data)-p.at {
		return nil, fmt.Errorf("%w: a map of %d entries in %d bytes", ErrPayload, n, len(p.data)-p.at)
	}
	if p.values+2*n > MaxValues {
		return nil, fmt.Errorf("%w: more than %d values", ErrPayload, MaxValues)
	}
	var m map[string]any
	if p.build {
		m = make(map[string]any, n)
	}
	for range n {
		key, err := p.key(depth)
		if err != nil {
			return nil, err
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		if p.build {
			m[key] = v
		}
	}
	return m, nil
}

func (p *parser) key(depth int) (string, error) {
	if p.at < len(p.data) {
		c := p.data[p.at]
		if (c < 0xa0 || c > 0xbf) && (c < 0xd9 || c > 0xdb) {
			return "", fmt.Errorf("%w: a key at %d is no string", ErrPayload, p.at)
		}
	}
	v, err := p.value(depth + 1)
	key, _ := v.(string)
	return key, err
}

func (p *parser) arrayOf(n, depth int) (any, error) {
	if n > len(p.data)-p.at {
		return nil, fmt.Errorf("%w: an array of %d values in %d bytes", ErrPayload, n, len(p.data)-p.at)
	}
	if p.values+n > MaxValues {
		return nil, fmt.Errorf("%w: more than %d values", ErrPayload, MaxValues)
	}
	var a []any
	if p.build {
		a = make([]any, 0, n)
	}
	for range n {
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		if p.build {
			a = append(a, v)
		}
	}
	return a, nil
}

func (p *parser) text(n int) (any, error) {
	b, err := p.take(n)
	if err != nil || !p.build {
		return nil, err
	}
	return string(b), nil
}

func (p *parser) bin(n int) (any, error) {
	b, err := p.take(n)
	if err != nil || !p.build {
		return nil, err
	}
	return append([]byte{}, b...), nil
}

func (p *parser) int(n int64) any {
	if !p.build {
		return nil
	}
	return n
}

func (p *parser) uint(n uint64) any {
	if n <= math.MaxInt64 {
		return p.int(int64(n))
	}
	if !p.build {
		return nil
	}
	return n
}

func (p *parser) float(f float64) any {
	if !p.build {
		return nil
	}
	return f
}

// ext reads an extension of n bytes behind its type. Only the timestamp is
// taken; it becomes the text that JSON would have for it.
func (p *parser) ext(n int) (any, error) {
	kind, err := p.take(1)
	if err != nil {
		return nil, err
	}
	const timestamp = 0xff // -1
	if kind[0] != timestamp || n != 4 && n != 8 && n != 12 {
		return nil, fmt.Errorf("%w: extension type %d of %d bytes", ErrPayload, int8(kind[0]), n) // It is signed.
	}
	b, err := p.take(n)
	if err != nil {
		return nil, err
	}
	t, err := timestampOf(b)
	if err != nil || !p.build {
		return nil, err
	}
	return t.Format(time.RFC3339Nano), nil
}

func timestampOf(b []byte) (time.Time, error) {
	var sec int64
	var nsec uint64
	switch len(b) {
	case 4:
		sec = int64(binary.BigEndian.Uint32(b))
	case 8:
		v := binary.BigEndian.Uint64(b)
		nsec, sec = v>>34, int64(v&(1<<34-1)) // 34 bits.
	default:
		nsec, sec = uint64(binary.BigEndian.Uint32(b)), int64(binary.BigEndian.Uint64(b[4:])) // Signed by definition.
	}
	if nsec >= uint64(time.Second) {
		return time.Time{}, fmt.Errorf("%w: a time with %d nanoseconds", ErrPayload, nsec)
	}
	t := time.Unix(sec, int64(nsec)).UTC()      // Below a second.
	if y := t.Year(); y < -9999 || y > 99_999 { // years of more digits overflow time's arithmetic
		return time.Time{}, fmt.Errorf("%w: a time in the year %d", ErrPayload, y)
	}
	return t, nil
}
