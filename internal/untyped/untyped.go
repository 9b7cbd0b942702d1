// Package untyped finds the types that can hold values of a kind that only the
// decoded bytes decide: those behind an interface, whose numbers a codec's library
// gives types of its own.
package untyped

import (
	"reflect"
	"sync"
)

var known sync.Map // reflect.Type to bool

// In reports whether a value of the type can have something behind an interface,
// wherever a codec can put it: at any depth, in fields that are exported or
// embedded. Answers are remembered. Any goroutine may call it.
func In(t reflect.Type) bool {
	if in, ok := known.Load(t); ok {
		return in.(bool)
	}
	in := find(t, map[reflect.Type]bool{})
	known.Store(t, in)
	return in
}

// Field reports whether a codec can put something into the field: it is exported, or
// it is an embedded struct, whose exported fields count as those of the outer one.
func Field(f reflect.StructField) bool {
	t := f.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return f.IsExported() || f.Anonymous && t.Kind() == reflect.Struct
}

func find(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return find(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); Field(f) && find(f.Type, seen) {
				return true
			}
		}
	}
	return false
}
