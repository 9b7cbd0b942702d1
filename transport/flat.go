package transport

import (
	"encoding/binary"
	"math"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
)

// flat is how a struct of plain fields is encoded: what most messages are. The
// library does the same, byte for byte, for every type; here it is done in a
// third of the time, since nothing is asked more than once for a type.
type flat struct {
	fields []flatField
	byName map[string]int
	header []byte // of the map, where no field is ever left out; else nil
}

type flatField struct {
	name      string
	key       []byte // the name, encoded
	index     int
	kind      reflect.Kind
	omitEmpty bool
}

// flatType is what is known of a type: flat is nil where the library must do it.
type flatType struct {
	t    reflect.Type
	flat *flat
}

var (
	flats sync.Map // reflect.Type to *flatType
	// recentFlats are some of them, each in its place, which it shares with few
	// others: to look there costs less than the map does.
	recentFlats [64]atomic.Pointer[flatType]
)

// flatOf is nil where t is no struct of plain fields.
func flatOf(t reflect.Type) *flat {
	const apart = 64 // bytes that a type's description takes at least, about
	recent := &recentFlats[reflect.ValueOf(t).Pointer()/apart%uintptr(len(recentFlats))]
	if k := recent.Load(); k != nil && k.t == t {
		return k.flat
	}
	known, ok := flats.Load(t)
	if !ok {
		known, _ = flats.LoadOrStore(t, &flatType{t, newFlat(t)})
	}
	k := known.(*flatType) // The map holds nothing else.
	recent.Store(k)
	return k.flat
}

func newFlat(t reflect.Type) *flat {
	if t.Kind() != reflect.Struct || formed(t) || t.NumField() > 64 {
		return nil
	}
	f := &flat{byName: map[string]int{}}
	always := true
	for i := range t.NumField() {
		sf := t.Field(i)
		if sf.Anonymous {
			// A marker of a message's kind.
			if sf.Type.Kind() != reflect.Struct || sf.Type.NumField() > 0 || sf.Tag != "" || formed(sf.Type) {
				return nil
			}
			continue
		}
		if _, tagged := sf.Tag.Lookup("msgpack"); tagged || sf.Name == "_msgpack" {
			return nil
		}
		name, options, _ := strings.Cut(sf.Tag.Get("json"), ",")
		if name == "-" && options == "" || !sf.IsExported() {
			continue
		}
		if name == "" {
			name = sf.Name
		}
		_, taken := f.byName[name]
		if taken || !plainName(name) || options != "" && options != "omitempty" || !plainKind(sf.Type) {
			return nil
		}
		if options != "" {
			if _, ok := reflect.Zero(sf.Type).Interface().(interface{ IsZero() bool }); ok {
				return nil
			}
			always = false
		}
		f.byName[name] = len(f.fields)
		f.fields = append(f.fields, flatField{
			name: name, key: appendString(nil, name), index: i, kind: sf.Type.Kind(), omitEmpty: options != "",
		})
	}
	if always {
		f.header = appendMapLen(nil, len(f.fields))
	}
	return f
}

func plainName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return name != "-"
}

func plainKind(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return !formed(t)
	default:
		return false
	}
}

// append encodes a struct of f's type.
func (f *flat) append(dst []byte, v reflect.Value) []byte {
	if f.header != nil {
		dst = append(dst, f.header...)
	} else {
		n := 0
		for i := range f.fields {
			if field := &f.fields[i]; !field.omitted(v.Field(field.index)) {
				n++
			}
		}
		dst = appendMapLen(dst, n)
	}
	for i := range f.fields {
		field := &f.fields[i]
		value := v.Field(field.index)
		if field.omitted(value) {
			continue
		}
		dst = append(dst, field.key...)
		switch field.kind {
		case reflect.String:
			dst = appendString(dst, value.String())
		case reflect.Bool:
			if value.Bool() {
				dst = append(dst, 0xc3)
			} else {
				dst = append(dst, 0xc2)
			}
		case reflect.Float64:
			dst = binary.BigEndian.AppendUint64(append(dst, 0xcb), math.Float64bits(value.Float()))
		case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
			dst = appendInt(dst, value.Int())
		default:
			dst = appendUint(dst, value.Uint())
		}
	}
	return dst
}

// omitted reports a value that is left out: zero, which minus zero is too.
func (f *flatField) omitted(v reflect.Value) bool {
	return f.omitEmpty && (v.IsZero() || f.kind == reflect.Float64 && v.Float() == 0)
}

// decode fills v, a struct of f's type, from data. Where it reports false the
// library has to say what is wrong, or to do what is seldom asked for: v may
// have been changed by then.
func (f *flat) decode(data []byte, v reflect.Value) bool {
	p := parser{data: data}
	n, ok := p.mapLen()
	if !ok || p.count(0) != nil || p.values+2*n > MaxValues {
		return false
	}
	for next := range n {
		key, ok := p.shortText()
		if !ok {
			return false
		}
		at := next // Most who encode keep the order of the fields.
		if at >= len(f.fields) || f.fields[at].name != string(key) {
			if at, ok = f.byName[string(key)]; !ok {
				if _, err := p.value(1); err != nil {
					return false
				}
				continue
			}
		}
		field := &f.fields[at]
		if !p.into(v.Field(field.index), field.kind) {
			return false
		}
	}
	return p.at == len(data)
}

// mapLen reads the length of a map that is not nil.
func (p *parser) mapLen() (int, bool) {
	if len(p.data) == 0 {
		return 0, false
	}
	switch c := p.data[0]; {
	case c&0xf0 == 0x80:
		p.at = 1
		return int(c & 0x0f), true
	case c == 0xde && len(p.data) >= 3:
		p.at = 3
		return int(binary.BigEndian.Uint16(p.data[1:])), true
	default:
		return 0, false
	}
}

// shortText reads a string of less than 64 KiB.
func (p *parser) shortText() ([]byte, bool) {
	rest := p.data[p.at:]
	if len(rest) == 0 {
		return nil, false
	}
	size, head := 0, 1
	switch c := rest[0]; {
	case c&0xe0 == 0xa0:
		size = int(c & 0x1f)
	case c == 0xd9 && len(rest) >= 2:
		size, head = int(rest[1]), 2
	case c == 0xda && len(rest) >= 3:
		size, head = int(binary.BigEndian.Uint16(rest[1:])), 3
	default:
		return nil, false
	}
	if size > len(rest)-head {
		return nil, false
	}
	p.at += head + size
	return rest[head : head+size], true
}

// into reads one value into a field of that kind, if it is of the kind exactly.
func (p *parser) into(v reflect.Value, kind reflect.Kind) bool {
	switch kind {
	case reflect.String:
		s, ok := p.shortText()
		if !ok {
			return false
		}
		v.SetString(string(s))
	case reflect.Bool, reflect.Float64:
		if p.at >= len(p.data) {
			return false
		}
		c := p.data[p.at]
		p.at++
		switch {
		case kind == reflect.Bool && c&0xfe == 0xc2:
			v.SetBool(c == 0xc3)
		case kind == reflect.Float64 && c == 0xcb:
			bits, err := p.number(8)
			if err != nil {
				return false
			}
			v.SetFloat(math.Float64frombits(bits))
		default:
			return false
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, negative, ok := p.integer()
		if !ok || !negative && n > math.MaxInt64 || v.OverflowInt(int64(n)) { // As it is meant.
			return false
		}
		v.SetInt(int64(n)) // As it is meant.
	default:
		n, negative, ok := p.integer()
		if !ok || negative || v.OverflowUint(n) {
			return false
		}
		v.SetUint(n)
	}
	return true
}

// integer reads an integer of any width; a negative one is in two's complement.
func (p *parser) integer() (n uint64, negative, ok bool) {
	if p.at >= len(p.data) {
		return 0, false, false
	}
	c := p.data[p.at]
	p.at++
	switch {
	case c <= 0x7f:
		return uint64(c), false, true
	case c >= 0xe0:
		return uint64(int64(int8(c))), true, true // The sign is meant to spread.
	case c >= 0xcc && c <= 0xcf:
		n, err := p.number(1 << (c - 0xcc))
		return n, false, err == nil
	case c >= 0xd0 && c <= 0xd3:
		size := 1 << (c - 0xd0)
		n, err := p.number(size)
		shift := 64 - 8*size
		signed := int64(n<<shift) >> shift
		return uint64(signed), signed < 0, err == nil
	default:
		return 0, false, false
	}
}

func appendMapLen(dst []byte, n int) []byte {
	if n < 16 {
		return append(dst, 0x80|byte(n))
	}
	return binary.BigEndian.AppendUint16(append(dst, 0xde), uint16(n)) // At most 64 fields.
}

func appendString(dst []byte, s string) []byte {
	switch n := len(s); {
	case n < 32:
		dst = append(dst, 0xa0|byte(n))
	case n < 1<<8:
		dst = append(dst, 0xd9, byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 0xda), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint32(append(dst, 0xdb), uint32(n)) // More than any broker takes.
	}
	return append(dst, s...)
}

func appendInt(dst []byte, n int64) []byte {
	switch {
	case n >= 0:
		return appendUint(dst, uint64(n)) // Not negative.
	case n >= -32:
		return append(dst, byte(n))
	case n >= math.MinInt8:
		return append(dst, 0xd0, byte(n))
	case n >= math.MinInt16:
		return binary.BigEndian.AppendUint16(append(dst, 0xd1), uint16(n))
	case n >= math.MinInt32:
		return binary.BigEndian.AppendUint32(append(dst, 0xd2), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, 0xd3), uint64(n))
	}
}

func appendUint(dst []byte, n uint64) []byte {
	switch {
	case n <= math.MaxInt8:
		return append(dst, byte(n))
	case n <= math.MaxUint8:
		return append(dst, 0xcc, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, 0xcd), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, 0xce), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, 0xcf), n)
	}
}
