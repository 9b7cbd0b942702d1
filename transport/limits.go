package transport

import (
	"fmt"
	"reflect"
	"sync"
	"time"
)

// checkJSON refuses JSON beyond the limits. It looks at brackets and commas
// only; whether the rest is JSON is the decoder's to say.
func checkJSON(data []byte) error {
	if len(data) > MaxPayload {
		return fmt.Errorf("%w: %d bytes, limit %d", ErrPayload, len(data), MaxPayload)
	}
	depth, values := 0, 1
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			i = closingQuote(data, i+1)
			continue
		case '{', '[':
			depth++
			values++
		case '}', ']':
			depth--
		case ',', ':':
			values++
		}
		if depth > MaxDepth {
			return fmt.Errorf("%w: nested more than %d deep", ErrPayload, MaxDepth)
		}
		if values > MaxValues {
			return fmt.Errorf("%w: more than %d values", ErrPayload, MaxValues)
		}
	}
	return nil
}

// closingQuote is the index of the quote that ends the string begun before i.
func closingQuote(data []byte, i int) int {
	for ; i < len(data) && data[i] != '"'; i++ {
		if data[i] == '\\' {
			i++
		}
	}
	return i
}

// plainFields gives the fields of interface type within a decoded value the
// types that decodeAny would: the library leaves int8 and the like in them.
func plainFields(v any) {
	rv := reflect.ValueOf(v)
	if holdsAny(rv.Type()) {
		plainValue(rv)
	}
}

func plainValue(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() && holdsAny(v.Type()) {
			plainValue(v.Elem())
		}
	case reflect.Interface:
		if !v.IsNil() && v.CanSet() && v.NumMethod() == 0 {
			v.Set(reflect.ValueOf(plain(v.Interface())))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() && holdsAny(v.Field(i).Type()) {
				plainValue(v.Field(i))
			}
		}
	case reflect.Slice, reflect.Array:
		if holdsAny(v.Type().Elem()) {
			for i := range v.Len() {
				plainValue(v.Index(i))
			}
		}
	case reflect.Map:
		plainMapValues(v)
	}
}

// plainMapValues replaces a map's values, which cannot be set in place.
func plainMapValues(m reflect.Value) {
	elem := m.Type().Elem()
	if !holdsAny(elem) {
		return
	}
	for it := m.MapRange(); it.Next(); {
		v := reflect.New(elem).Elem()
		v.Set(it.Value())
		plainValue(v)
		m.SetMapIndex(it.Key(), v)
	}
}

// plain converts what the library puts into an interface.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = plain(e)
		}
		return v
	case []any:
		for i, e := range v {
			v[i] = plain(e)
		}
		return v
	case nil, []byte, string, bool, int64, float64:
		return v
	case *time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	}
	return plainNumber(v)
}

func plainNumber(v any) any {
	switch rv := reflect.ValueOf(v); rv.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return rv.Int()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if u := rv.Uint(); u > 1<<63-1 {
			return u
		}
		return int64(rv.Uint()) // Checked above.
	case reflect.Float32:
		return rv.Float()
	default:
		return v
	}
}

// withAny remembers which types can hold an interface somewhere within.
var withAny sync.Map // reflect.Type to bool

func holdsAny(t reflect.Type) bool {
	if known, ok := withAny.Load(t); ok {
		return known.(bool) // The map holds nothing else.
	}
	holds := findAny(t, make(map[reflect.Type]bool))
	withAny.Store(t, holds)
	return holds
}

func findAny(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return findAny(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && findAny(f.Type, seen) {
				return true
			}
		}
	}
	return false
}
