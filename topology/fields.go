package topology

import (
	"reflect"
	"slices"
	"strings"
)

// field is where a key of a config goes.
type field struct {
	name   string
	index  []int
	typ    reflect.Type
	tagged bool
	quoted bool // by the json option "string"
}

// fieldsOf are a struct's fields by their keys, as encoding/json has them:
// those of embedded structs too, unless one that is nearer, or one at the same
// depth with a tag, has the key.
func fieldsOf(t reflect.Type) map[string]field {
	byKey := map[string][]field{}
	var walk func(t reflect.Type, index []int, above []reflect.Type)
	walk = func(t reflect.Type, index []int, above []reflect.Type) {
		if slices.Contains(above, t) {
			return
		}
		above = append(slices.Clone(above), t)
		for i := range t.NumField() {
			f := t.Field(i)
			tag := f.Tag.Get("json")
			key, options, _ := strings.Cut(tag, ",")
			at := append(slices.Clone(index), i)
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			switch {
			case tag == "-":
			case f.Anonymous && key == "" && inner.Kind() == reflect.Struct:
				walk(inner, at, above)
			case f.IsExported():
				name := key
				if name == "" {
					name = f.Name
				}
				quoted := slices.Contains(strings.Split(options, ","), "string")
				byKey[name] = append(byKey[name], field{name, at, f.Type, key != "", quoted})
			}
		}
	}
	walk(t, nil, nil)
	fields := map[string]field{}
	for key, candidates := range byKey {
		if f, ok := dominant(candidates); ok {
			fields[key] = f
		}
	}
	return fields
}

// dominant is the field that a key means; none where two have the same right.
func dominant(candidates []field) (field, bool) {
	better := func(a, b field) bool {
		return len(a.index) < len(b.index) || len(a.index) == len(b.index) && a.tagged && !b.tagged
	}
	best := candidates[0]
	for _, c := range candidates[1:] {
		if better(c, best) {
			best = c
		}
	}
	for _, c := range candidates {
		if !better(best, c) && !slices.Equal(best.index, c.index) {
			return field{}, false
		}
	}
	return best, true
}
