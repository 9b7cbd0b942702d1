package transport

import (
	"cmp"
	stdencoding "encoding"
	"encoding/json"
	"fmt"
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
// once that it does not.
func holdsForm(v any) bool {
	switch v := v.(type) {
	case nil, bool, string, []byte, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64,
		float32, float64, time.Time, time.Duration, []string:
		return false
	case genserver.Map:
		return holdsForm(map[string]any(v))
	case map[string]any:
		for _, e := range v {
			if holdsForm(e) {
				return true
			}
		}
		return false
	case []any:
		return slices.ContainsFunc(v, holdsForm)
	default:
		return holdsShaped(reflect.ValueOf(v))
	}
}

func holdsShaped(v reflect.Value) bool {
	if !v.IsValid() {
		return false
	}
	t := v.Type()
	if shapes.of(t) {
		return true
	}
	if !untyped.In(t) || has(t, ownForms) {
		return false
	}
	switch t.Kind() {
	case reflect.Interface:
		return !v.IsNil() && holdsForm(v.Elem().Interface())
	case reflect.Pointer:
		return holdsShaped(v.Elem())
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if holdsShaped(v.Index(i)) {
				return true
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if holdsShaped(it.Value()) {
				return true
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if untyped.Field(t.Field(i)) && holdsShaped(v.Field(i)) {
				return true
			}
		}
	}
	return false
}

// throughJSON is v as JSON has it, of plain values that the library can encode.
func throughJSON(v any) (any, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var x any
	if err := genserver.JSON.Decode(data, &x); err != nil {
		return nil, err
	}
	return restored(reflect.ValueOf(v), x), nil
}

// restored is x, which v has become in JSON, with the bytes, texts, times and floats
// that are others there.
func restored(v reflect.Value, x any) any {
	if !v.IsValid() || x == nil {
		return x
	}
	t := v.Type()
	switch {
	case t == timeType:
		return v.Interface()
	case t.Kind() != reflect.Interface && spoken.of(t):
		return x
	}
	switch t.Kind() {
	case reflect.Interface, reflect.Pointer:
		return restored(v.Elem(), x)
	case reflect.Float32, reflect.Float64:
		return v.Float()
	case reflect.String:
		return v.String() // JSON's is UTF-8
	case reflect.Slice, reflect.Array:
		if _, text := x.(string); text { // an array's bytes are a list
			return v.Bytes()
		}
		all, _ := x.([]any)
		for i := range all {
			all[i] = restored(v.Index(i), all[i])
		}
	case reflect.Map:
		m, _ := x.(map[string]any)
		for it := v.MapRange(); it.Next(); {
			key, err := keyText(it.Key())
			if y, there := m[key]; there && err == nil {
				m[key] = restored(it.Value(), y)
			}
		}
	case reflect.Struct:
		m, _ := x.(map[string]any)
		eachField(v, func(name string, f reflect.Value) {
			if y, there := m[name]; there {
				m[name] = restored(f, y)
			}
		})
	}
	return x
}

// eachField visits the fields of a struct by their names in JSON, and those of the
// structs embedded in it that are not hidden by others; but none that JSON has as text.
func eachField(v reflect.Value, visit func(name string, field reflect.Value)) {
	seen := map[string]bool{}
	for level := []reflect.Value{v}; len(level) > 0; {
		var embedded []reflect.Value
		for _, s := range level {
			for i := range s.NumField() {
				f := s.Type().Field(i)
				name, options := tagOf(f)
				switch {
				case !untyped.Field(f) || name == "-" && options == "":
				case name == "" && f.Anonymous && reflect.Indirect(s.Field(i)).Kind() == reflect.Struct:
					embedded = append(embedded, reflect.Indirect(s.Field(i)))
				case seen[cmp.Or(name, f.Name)]:
				default:
					seen[cmp.Or(name, f.Name)] = true
					if !hasOption(options, "string") {
						visit(cmp.Or(name, f.Name), s.Field(i))
					}
				}
			}
		}
		level = embedded
	}
}

// keyText is how JSON has a key of a map.
func keyText(k reflect.Value) (string, error) {
	if k.Kind() == reflect.String {
		return k.String(), nil
	}
	if text, ok := k.Interface().(stdencoding.TextMarshaler); ok {
		b, err := text.MarshalText()
		return string(b), err
	}
	return fmt.Sprint(k.Interface()), nil
}

// decodeShaped decodes into a value of a type that takes the way through JSON.
func decodeShaped(data []byte, v any) error {
	x, err := decodeAny(data)
	if err != nil {
		return err
	}
	text, err := json.Marshal(x)
	if err == nil {
		err = guarded(func() error {
			if err := genserver.JSON.Decode(text, v); err != nil {
				return err
			}
			returned(reflect.ValueOf(v), x)
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPayload, err)
	}
	return nil
}

// returned gives v, which was decoded from x by way of JSON, the texts that x has, and
// what JSON has no types for to interfaces.
func returned(v reflect.Value, x any) {
	if !v.IsValid() || x == nil || v.Kind() != reflect.Interface && heard.of(v.Type()) {
		return
	}
	switch v.Kind() {
	case reflect.String:
		if text, ok := x.(string); ok && v.CanSet() {
			v.SetString(text)
		}
	case reflect.Interface:
		if v.CanSet() && v.NumMethod() == 0 && !v.IsNil() {
			v.Set(reflect.ValueOf(x))
		}
	case reflect.Pointer:
		returned(v.Elem(), x)
	case reflect.Slice, reflect.Array:
		all, _ := x.([]any)
		for i := range min(len(all), v.Len()) {
			returned(v.Index(i), all[i])
		}
	case reflect.Map:
		m, _ := x.(map[string]any)
		for it := v.MapRange(); it.Next(); {
			key, err := keyText(it.Key())
			if y, there := m[key]; there && err == nil {
				e := reflect.New(v.Type().Elem()).Elem()
				e.Set(it.Value())
				returned(e, y)
				v.SetMapIndex(it.Key(), e)
			}
		}
	case reflect.Struct:
		m, _ := x.(map[string]any)
		eachField(v, func(name string, f reflect.Value) {
			if y, there := m[name]; there {
				returned(f, y)
			}
		})
	}
}
