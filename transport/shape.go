package transport

import (
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
// library of msgpack knows little of that: of a type with MarshalJSON alone it sends
// the exported fields, if there are any. So a message that has such a value
// somewhere takes the way through JSON: it is in msgpack what it is there, but that
// bytes, times and floats stay what they are.

var (
	timeType   = reflect.TypeFor[time.Time]()
	numberType = reflect.TypeFor[json.Number]()

	// ownForms are of types that say what they are in msgpack.
	ownForms = []reflect.Type{
		reflect.TypeFor[msgpack.CustomEncoder](), reflect.TypeFor[msgpack.CustomDecoder](),
		reflect.TypeFor[msgpack.Marshaler](), reflect.TypeFor[msgpack.Unmarshaler](),
	}
	// jsonForms are of those that say what they are in JSON.
	jsonForms = []reflect.Type{
		reflect.TypeFor[json.Marshaler](), reflect.TypeFor[json.Unmarshaler](),
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

// formed reports a type that has a form of its own in one of the encodings.
func formed(t reflect.Type) bool {
	return t == numberType || has(t, ownForms) || has(t, jsonForms) || has(t, libraryForms)
}

var shapes sync.Map // reflect.Type to bool

// shaped reports whether a value of the type takes the way through JSON.
func shaped(t reflect.Type) bool {
	if known, ok := shapes.Load(t); ok {
		return known.(bool) // The map holds nothing else.
	}
	is := findShaped(t, map[reflect.Type]bool{})
	shapes.Store(t, is)
	return is
}

func findShaped(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] || t == timeType || t.Kind() == reflect.Interface || has(t, ownForms) {
		return false
	}
	seen[t] = true
	if t == numberType || has(t, jsonForms) || has(t, libraryForms) {
		return true
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return findShaped(t.Elem(), seen)
	case reflect.Map:
		return t.Key().Kind() != reflect.String || has(t.Key(), jsonForms) || findShaped(t.Elem(), seen)
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
	if shaped(t) {
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

// restored is x, which v has become in JSON, with the bytes, times and floats that
// are others there.
func restored(v reflect.Value, x any) any {
	if !v.IsValid() || x == nil {
		return x
	}
	t := v.Type()
	switch {
	case t == timeType:
		return v.Interface()
	case t == numberType || t.Kind() != reflect.Interface && has(t, jsonForms):
		return x
	}
	switch t.Kind() {
	case reflect.Interface, reflect.Pointer:
		return restored(v.Elem(), x)
	case reflect.Float32, reflect.Float64:
		if _, quoted := x.(string); !quoted {
			return v.Float()
		}
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
			if key, err := keyText(it.Key()); err == nil {
				m[key] = restored(it.Value(), m[key])
			}
		}
	case reflect.Struct:
		m, _ := x.(map[string]any)
		restoreFields(v, m, map[string]bool{})
	}
	return x
}

// restoreFields restores the fields of a struct, and those of the structs embedded in
// it that are not hidden by its own.
func restoreFields(v reflect.Value, m map[string]any, done map[string]bool) {
	var embedded []reflect.Value
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, options := tagOf(f)
		switch {
		case !untyped.Field(f) || name == "-" && options == "":
		case name == "" && f.Anonymous:
			embedded = append(embedded, v.Field(i))
		default:
			if name == "" {
				name = f.Name
			}
			if x, there := m[name]; there && !done[name] {
				done[name] = true
				m[name] = restored(v.Field(i), x)
			}
		}
	}
	for _, e := range embedded {
		if e.Kind() == reflect.Pointer {
			e = e.Elem()
		}
		if e.Kind() == reflect.Struct {
			restoreFields(e, m, done)
		}
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
		err = guarded(func() error { return genserver.JSON.Decode(text, v) })
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPayload, err)
	}
	return nil
}
