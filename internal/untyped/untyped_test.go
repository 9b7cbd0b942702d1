package untyped_test

import (
	"reflect"
	"testing"

	"github.com/civitas-go/civitas/internal/untyped"
)

type (
	hidden struct{ V any }
	table  map[string]any
	list   struct {
		Next *list
		N    int
	}
	tree struct {
		Kids []tree
		V    any
	}
)

func TestIn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		v    any
		want bool
	}{
		{0, false},
		{"", false},
		{[]byte(nil), false},
		{list{}, false},
		{map[string]int(nil), false},
		{struct{ v any }{}, false},
		{struct{ h hidden }{}, false},
		{struct{ hidden }{}, true},
		{struct{ *hidden }{}, true},
		{struct{ table }{}, false},
		{struct{ T table }{}, true},
		{[]any(nil), true},
		{map[string][]*[1]any(nil), true},
		{&tree{}, true},
		{struct{ E error }{}, true},
	} {
		for range 2 { // remembered
			if got := untyped.In(reflect.TypeOf(c.v)); got != c.want {
				t.Errorf("%T: got %v, want %v", c.v, got, c.want)
			}
		}
	}
}
