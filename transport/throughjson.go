package transport

import (
	"cmp"
	stdencoding "encoding"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/untyped"
)

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
