package topology

import (
	"encoding"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// decode fills a config in, by the rules of encoding/json, but that keys must be
// written as the tags have them, unknown ones are mistakes, and a time.Duration
// reads 5s or a number of seconds. v is a pointer.
func (l *loading) decode(n *yaml.Node, path string, v any) {
	l.into(plain(n), path, reflect.ValueOf(v).Elem())
}

var (
	durationType        = reflect.TypeFor[time.Duration]()
	jsonUnmarshalerType = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
	jsonNumberType      = reflect.TypeFor[json.Number]()
)

// into decodes a node that is no alias.
func (l *loading) into(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		switch v.Kind() {
		case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface:
			v.SetZero()
		}
		return
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		l.into(n, path, v.Elem())
		return
	}
	ptr := reflect.PointerTo(v.Type())
	switch {
	case v.Type() == durationType, v.Type() == jsonNumberType:
		l.scalarInto(n, path, v)
	case ptr.Implements(jsonUnmarshalerType):
		l.byJSON(n, path, v)
	case ptr.Implements(textUnmarshalerType):
		l.byText(n, path, v)
	default:
		l.kindInto(n, path, v)
	}
}

func (l *loading) kindInto(n *yaml.Node, path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		l.structInto(n, path, v)
	case reflect.Map:
		l.mapInto(n, path, v)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 && n.Kind == yaml.ScalarNode {
			l.scalarInto(n, path, v)
			return
		}
		l.sliceInto(n, path, v)
	case reflect.Array:
		l.arrayInto(n, path, v)
	case reflect.Interface:
		if v.NumMethod() > 0 {
			l.mistake(n, path, fmt.Sprintf("%s can't come from a file: it is a %v", last(path), v.Type()), "")
			return
		}
		if x := l.any(n, path); x != nil {
			v.Set(reflect.ValueOf(x))
		}
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer, reflect.Uintptr:
		l.mistake(n, path, fmt.Sprintf("%s can't come from a file: it is a %v", last(path), v.Type()), "")
	default:
		l.scalarInto(n, path, v)
	}
}

// last is the end of a path, which a message begins with.
func last(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

// unfit tells of a value of the wrong kind.
func (l *loading) unfit(n *yaml.Node, path, want string) {
	l.mistake(n, path, fmt.Sprintf("%s: want %s, got %s", last(path), want, describe(n)), "")
}

func (l *loading) structInto(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		l.unfit(n, path, "a mapping")
		return
	}
	fields := fieldsOf(v.Type())
	for _, p := range l.pairs(n, path) {
		at := path + "." + shorten(p.key.Value)
		f, known := fields[p.key.Value]
		if !known {
			have := make([]string, 0, len(fields))
			for name := range fields {
				have = append(have, name)
			}
			slices.Sort(have)
			message := fmt.Sprintf("unknown key %q of %s; it may have %s", shorten(p.key.Value), last(path), listed(byNearness(p.key.Value, have)))
			if len(have) == 0 {
				message = fmt.Sprintf("unknown key %q of %s, which has none", shorten(p.key.Value), last(path))
			}
			l.mistake(p.key, at, message, didYouMean(p.key.Value, have))
			continue
		}
		target, ok := reach(v, f.index)
		if !ok {
			l.mistake(p.key, at, fmt.Sprintf("%s can't come from a file: it is in an embedded pointer to an unexported type", p.key.Value), "")
			continue
		}
		if f.quoted && p.value.Kind == yaml.ScalarNode && p.value.ShortTag() == "!!str" {
			l.quotedInto(p.value, at, target)
			continue
		}
		l.into(p.value, at, target)
	}
}

// quotedInto reads a field with the json option "string".
func (l *loading) quotedInto(n *yaml.Node, path string, v reflect.Value) {
	if v.Kind() != reflect.String && v.Type() != durationType {
		n = &yaml.Node{Kind: yaml.ScalarNode, Value: n.Value, Tag: resolve(n.Value), Line: n.Line, Column: n.Column}
	}
	l.into(n, path, v)
}

// reach is the field at an index, with the pointers on the way made; false
// where one can't be.
func reach(v reflect.Value, index []int) (reflect.Value, bool) {
	for i, x := range index {
		if i > 0 && v.Kind() == reflect.Pointer {
			if v.IsNil() {
				if !v.CanSet() {
					return v, false
				}
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		v = v.Field(x)
	}
	return v, true
}

func (l *loading) mapInto(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		l.unfit(n, path, "a mapping")
		return
	}
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	for _, p := range l.pairs(n, path) {
		at := path + "." + shorten(p.key.Value)
		k := reflect.New(v.Type().Key()).Elem()
		if err := keyInto(p.key.Value, k); err != nil {
			l.mistake(p.key, at, fmt.Sprintf("the key %q of %s: %v", shorten(p.key.Value), last(path), err), "")
			continue
		}
		e := reflect.New(v.Type().Elem()).Elem()
		l.into(p.value, at, e)
		v.SetMapIndex(k, e)
	}
}

func keyInto(text string, k reflect.Value) error {
	if u, ok := k.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch {
	case k.Kind() == reflect.String:
		k.SetString(text)
		return nil
	case k.CanInt():
		if i, err := strconv.ParseInt(text, 10, k.Type().Bits()); err == nil {
			k.SetInt(i)
			return nil
		}
		return fmt.Errorf("want a whole number that is an %v", k.Type())
	case k.CanUint():
		if u, err := strconv.ParseUint(text, 10, k.Type().Bits()); err == nil {
			k.SetUint(u)
			return nil
		}
		return fmt.Errorf("want a whole number that is a %v", k.Type())
	}
	return fmt.Errorf("can't come from a file: it is a %v", k.Type())
}

func (l *loading) sliceInto(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		l.unfit(n, path, "a list")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, e := range n.Content {
		l.into(plain(e), fmt.Sprintf("%s[%d]", path, i), v.Index(i))
	}
}

func (l *loading) arrayInto(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.SequenceNode || len(n.Content) > v.Len() {
		l.unfit(n, path, fmt.Sprintf("a list of at most %d", v.Len()))
		return
	}
	for i, e := range n.Content {
		l.into(plain(e), fmt.Sprintf("%s[%d]", path, i), v.Index(i))
	}
}

// scalarInto decodes what is neither a list nor a mapping.
func (l *loading) scalarInto(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		l.unfit(n, path, wanted(v))
		return
	}
	s, ok := l.scalar(n, path)
	if !ok {
		return
	}
	if err := s.into(v); err != nil {
		suggestion := ""
		switch {
		case v.Type() == durationType:
			suggestion = durationHint(s.text)
		case v.Kind() == reflect.String && v.Type() != jsonNumberType:
			suggestion = fmt.Sprintf("put it in quotes: %q", shorten(n.Value))
		}
		l.mistake(n, path, last(path)+": "+err.Error(), suggestion)
	}
}

// wanted is what a value should be.
func wanted(v reflect.Value) string {
	switch {
	case v.Type() == durationType:
		return "a duration"
	case v.Kind() == reflect.Bool:
		return "true or false"
	case v.CanInt() || v.CanUint():
		return "a whole number"
	case v.CanFloat(), v.Type() == jsonNumberType:
		return "a number"
	}
	return "a text"
}

// into sets a value of a basic kind.
func (s scalar) into(v reflect.Value) error {
	switch {
	case v.Type() == durationType:
		d, err := s.duration()
		v.SetInt(int64(d))
		return err
	case v.Type() == jsonNumberType:
		_, err := s.number()
		if err == nil {
			v.SetString(strings.ReplaceAll(s.text, "_", ""))
		}
		return err
	case v.Kind() == reflect.Bool:
		b, err := s.boolean()
		v.SetBool(b)
		return err
	case v.CanFloat():
		f, err := s.number()
		if err == nil && v.OverflowFloat(f) {
			err = fmt.Errorf("%s is out of the range of %v", s.describe(), v.Type())
		}
		v.SetFloat(f)
		return err
	case v.CanInt(), v.CanUint():
		return s.wholeInto(v)
	case !s.isText():
		return fmt.Errorf("want a text, got %s", s.describe())
	case v.Kind() == reflect.String:
		v.SetString(s.text)
		return nil
	default: // bytes, as JSON has them
		b, err := base64.StdEncoding.DecodeString(s.text)
		if err != nil {
			return fmt.Errorf("want bytes in base64, got %s", s.describe())
		}
		v.SetBytes(b)
		return nil
	}
}

func (s scalar) wholeInto(v reflect.Value) error {
	if s.loose {
		s.tag = resolve(s.text)
	}
	if s.tag != "!!int" {
		return fmt.Errorf("want a whole number, got %s", s.describe())
	}
	var i int64
	var u uint64
	signed, unsigned := s.node().Decode(&i) == nil, s.node().Decode(&u) == nil
	switch {
	case v.CanInt() && signed && !v.OverflowInt(i):
		v.SetInt(i)
	case v.CanUint() && unsigned && !v.OverflowUint(u):
		v.SetUint(u)
	default:
		return fmt.Errorf("%s is out of the range of %v", s.describe(), v.Type())
	}
	return nil
}

// any is a value for a field that takes all: numbers as int64, uint64 or
// float64, as in a genserver.Map.
func (l *loading) any(n *yaml.Node, path string) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for _, p := range l.pairs(n, path) {
			m[p.key.Value] = l.any(p.value, path+"."+shorten(p.key.Value))
		}
		return m
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, e := range n.Content {
			list[i] = l.any(plain(e), fmt.Sprintf("%s[%d]", path, i))
		}
		return list
	}
	s, ok := l.scalar(n, path)
	if !ok {
		return nil
	}
	switch s.tag {
	case "!!null":
		return nil
	case "!!bool":
		b, _ := s.boolean()
		return b
	case "!!int":
		var i int64
		if s.node().Decode(&i) == nil {
			return i
		}
		var u uint64
		if s.node().Decode(&u) == nil {
			return u
		}
		f, err := s.number()
		if err != nil {
			l.unfit(n, path, "a number within range")
		}
		return f
	case "!!float":
		f, err := s.number()
		if err != nil {
			l.unfit(n, path, "a number within range")
		}
		return f
	}
	return s.text
}

// byJSON has a type that reads JSON read the node as JSON.
func (l *loading) byJSON(n *yaml.Node, path string, v reflect.Value) {
	text, err := json.Marshal(l.any(n, path))
	if err == nil {
		err = v.Addr().Interface().(json.Unmarshaler).UnmarshalJSON(text)
	}
	if err != nil {
		l.mistake(n, path, fmt.Sprintf("%s: %v", last(path), err), "")
	}
}

// byText has a type that reads text read it.
func (l *loading) byText(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		l.unfit(n, path, "a text")
		return
	}
	s, ok := l.scalar(n, path)
	if !ok {
		return
	}
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s.text)); err != nil {
		l.mistake(n, path, fmt.Sprintf("%s: %v", last(path), err), "")
	}
}
