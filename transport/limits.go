package transport

import (
	"fmt"
	"reflect"
	"time"

	"github.com/civitas-go/civitas/internal/untyped"
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
	if untyped.In(rv.Type()) {
		plainValue(rv)
	}
}

func plainValue(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() && untyped.In(v.Type()) {
			plainValue(v.Elem())
		}
	case reflect.Interface:
		if !v.IsNil() && v.CanSet() && v.NumMethod() == 0 {
			v.Set(reflect.ValueOf(plain(v.Interface())))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if untyped.Field(v.Type().Field(i)) && untyped.In(v.Field(i).Type()) {
				plainValue(v.Field(i))
			}
		}
	case reflect.Slice, reflect.Array:
		if untyped.In(v.Type().Elem()) {
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
	if !untyped.In(elem) {
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
