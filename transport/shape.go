package transport

import (
	stdencoding "encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/untyped"
)

// Types may say themselves what they are in JSON, and their fields' tags too. The
// library of msgpack knows little of that: of a type with MarshalJSON it sends the
// exported fields, if there are any. So a message that has such a value somewhere takes
// the way through JSON: it is in msgpack what it is there, but that bytes, texts, times
// and floats stay what they are.
//
// A type that has MarshalJSON alone, and fields to read back, is no such value: its
// peers could not read what it makes.

var (
	timeType   = reflect.TypeFor[time.Time]()
	numberType = reflect.TypeFor[json.Number]()
	marshaler  = []reflect.Type{reflect.TypeFor[json.Marshaler]()}

	// ownForms are of types that say what they are in msgpack.
	ownForms = []reflect.Type{
		reflect.TypeFor[msgpack.CustomEncoder](), reflect.TypeFor[msgpack.CustomDecoder](),
		reflect.TypeFor[msgpack.Marshaler](), reflect.TypeFor[msgpack.Unmarshaler](),
	}
	// jsonForms are of those that say what they are in JSON.
	jsonForms = []reflect.Type{
		reflect.TypeFor[json.Unmarshaler](),
		reflect.TypeFor[stdencoding.TextMarshaler](), reflect.TypeFor[stdencoding.TextUnmarshaler](),
	}
	// libraryForms are of those to which the library gives a form that JSON has not.
	libraryForms = []reflect.Type{
		reflect.TypeFor[stdencoding.BinaryMarshaler](), reflect.TypeFor[stdencoding.BinaryUnmarshaler](),
		reflect.TypeFor[error](),
	}
)

// has reports that the type or a pointer to it implements one of the interfaces.
func has(t reflect.Type, forms []reflect.Type) bool {
	p := reflect.PointerTo(t)
	for _, form := range forms {
		if t.Implements(form) || p.Implements(form) {
			return true
		}
	}
	return false
}

// jsonForm reports a type that has a form of its own in JSON.
func jsonForm(t reflect.Type) bool {
	return t == numberType || has(t, jsonForms) || has(t, marshaler) && sealed(t)
}

// sealed reports a struct without a field that could be read.
func sealed(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	for i := range t.NumField() {
		if untyped.Field(t.Field(i)) {
			return false
		}
	}
	return true
}

// formed reports a type that has a form of its own in one of the encodings.
func formed(t reflect.Type) bool {
	return jsonForm(t) || has(t, ownForms) || has(t, libraryForms)
}

// memo remembers what is asked of types again and again.
type memo struct {
	known sync.Map // reflect.Type to bool
	ask   func(reflect.Type) bool
}

func (m *memo) of(t reflect.Type) bool {
	if known, ok := m.known.Load(t); ok {
		return known.(bool) // The map holds nothing else.
	}
	answer := m.ask(t)
	m.known.Store(t, answer)
	return answer
}

var (
	// shapes remembers which types' values take the way through JSON.
	shapes = memo{ask: func(t reflect.Type) bool { return findShaped(t, map[reflect.Type]bool{}) }}
	// spoken remembers which types make their JSON themselves, read back or not.
	spoken = memo{ask: func(t reflect.Type) bool { return jsonForm(t) || has(t, marshaler) }}
	// heard remembers which read it themselves.
	heard = memo{ask: jsonForm}
	// looped remembers which can hold values of themselves.
	looped = memo{ask: func(t reflect.Type) bool { return findLoop(t, map[reflect.Type]bool{}) }}
)

func findShaped(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] || t == timeType || t.Kind() == reflect.Interface || has(t, ownForms) {
		return false
	}
	seen[t] = true
	if jsonForm(t) || has(t, libraryForms) {
		return true
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return findShaped(t.Elem(), seen)
	case reflect.Map:
		return t.Key().Kind() != reflect.String || jsonForm(t.Key()) || findShaped(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			name, options := tagOf(f)
			switch {
			case !untyped.Field(f) || name == "-" && options == "":
			case hasOption(options, "omitzero"), hasOption(options, "string"), findShaped(f.Type, seen):
				return true
			}
		}
	}
	return false
}

// findLoop reports whether a type holds itself, or another that does. within has the
// types on the way to it as true, and those that are known to hold none as false.
func findLoop(t reflect.Type, within map[reflect.Type]bool) bool {
	if on, known := within[t]; known {
		return on
	}
	within[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		if findLoop(t.Elem(), within) {
			return true
		}
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); untyped.Field(f) && findLoop(f.Type, within) {
				return true
			}
		}
	}
	within[t] = false
	return false
}

func tagOf(f reflect.StructField) (name, options string) {
	name, options, _ = strings.Cut(f.Tag.Get("json"), ",")
	return name, options
}

func hasOption(options, option string) bool {
	for o := range strings.SplitSeq(options, ",") {
		if o == option {
			return true
		}
	}
	return false
}

// holdsForm reports whether a value takes the way through JSON: for its type, or for
// something that it has behind an interface. Of what most Maps hold it is known at
// once that it does not. What is too deep for whoever reads it takes that way too, for
// it may have no end, which JSON finds out.
func holdsForm(v any, depth int) bool {
	if depth > MaxDepth {
		return true
	}
	switch v := v.(type) {
	case nil, bool, string, []byte, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64,
		float32, float64, time.Time, time.Duration, []string:
		return false
	case genserver.Map:
		return holdsForm(map[string]any(v), depth)
	case map[string]any:
		for _, e := range v {
			if holdsForm(e, depth+1) {
				return true
			}
		}
		return false
	case []any:
		return slices.ContainsFunc(v, func(e any) bool { return holdsForm(e, depth+1) })
	default:
		return holdsShaped(reflect.ValueOf(v), depth)
	}
}

func holdsShaped(v reflect.Value, depth int) bool {
	if !v.IsValid() {
		return false
	}
	t := v.Type()
	if shapes.of(t) {
		return true
	}
	switch {
	case depth > MaxDepth:
		return true
	case !untyped.In(t) && !looped.of(t), has(t, ownForms):
		return false
	}
	switch t.Kind() {
	case reflect.Interface:
		return !v.IsNil() && holdsForm(v.Elem().Interface(), depth+1)
	case reflect.Pointer:
		return holdsShaped(v.Elem(), depth+1)
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if holdsShaped(v.Index(i), depth+1) {
				return true
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if holdsShaped(it.Value(), depth+1) {
				return true
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if untyped.Field(t.Field(i)) && holdsShaped(v.Field(i), depth) {
				return true
			}
		}
	}
	return false
}
