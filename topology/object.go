package topology

import (
	"fmt"
	"math"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/civitas-go/civitas/internal/name"
)

// object reads one mapping of the file, key by key. What it reads it also
// records, as the fields of the view.
type object struct {
	l      *loading
	what   string // for messages: "a supervisor"
	path   string
	at     *yaml.Node
	values map[string]*yaml.Node
	fields []Field
}

// pair is a key of a mapping and its value, neither an alias.
type pair struct{ key, value *yaml.Node }

// object begins to read a mapping: duplicate, unknown and refused keys are told
// now. It is nil for a node that is no mapping.
func (l *loading) object(n *yaml.Node, path, what string, keys []key) *object {
	n = plain(n)
	if n.Kind != yaml.MappingNode {
		l.mistake(n, path, fmt.Sprintf("%s is a mapping of keys to values, got %s", what, describe(n)), "")
		return nil
	}
	o := &object{l: l, what: what, path: path, at: n, values: map[string]*yaml.Node{}}
	o.take(n, path, keys)
	return o
}

// take adds the keys of one more mapping.
func (o *object) take(n *yaml.Node, path string, keys []key) {
	known := names(keys)
	for _, p := range o.l.pairs(n, path) {
		k := find(keys, p.key.Value)
		at := path + "." + shorten(p.key.Value)
		switch {
		case k == nil:
			o.l.mistake(p.key, at, fmt.Sprintf("unknown key %q of %s; it may have %s", shorten(p.key.Value), o.what, listed(known)), didYouMean(p.key.Value, known))
		case k.refused != "":
			o.l.mistake(p.key, at, k.refused, k.instead)
		case o.values[k.name] != nil:
			o.l.mistake(p.key, at, fmt.Sprintf("%s is given twice, first at line %d", k.name, o.values[k.name].Line), "leave one out")
		default:
			o.values[k.name] = p.value
		}
	}
}

func find(keys []key, name string) *key {
	for i := range keys {
		if keys[i].name == name {
			return &keys[i]
		}
	}
	return nil
}

// pairs are the keys of a mapping and their values, those that a merge key (<<)
// adds last. Keys that come twice are told, and the first counts.
func (l *loading) pairs(n *yaml.Node, path string) []pair {
	var own []pair
	var merged []*yaml.Node
	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := plain(n.Content[i]), plain(n.Content[i+1])
		switch first := seen[k.Value]; {
		case k.Kind != yaml.ScalarNode:
			l.mistake(k, path, fmt.Sprintf("a key is a word, got %s", describe(k)), "")
		case k.ShortTag() == "!!merge":
			merged = append(merged, v)
		case first != nil:
			l.mistake(k, path+"."+shorten(k.Value), fmt.Sprintf("the key %q is here twice, first at line %d", shorten(k.Value), first.Line), "leave one out")
		default:
			seen[k.Value] = k
			own = append(own, pair{k, v})
		}
	}
	for _, m := range merged {
		for _, p := range l.merge(m, path) {
			if seen[p.key.Value] == nil {
				seen[p.key.Value] = p.key
				own = append(own, p)
			}
		}
	}
	return own
}

// merge is what a merge key adds: a mapping's pairs, or those of several.
func (l *loading) merge(n *yaml.Node, path string) []pair {
	switch n.Kind {
	case yaml.MappingNode:
		return l.pairs(n, path)
	case yaml.SequenceNode:
		var all []pair
		for _, e := range n.Content {
			all = append(all, l.merge(plain(e), path)...)
		}
		return all
	default:
		l.mistake(n, path, fmt.Sprintf("<< merges a mapping, or a list of them, got %s", describe(n)), "")
		return nil
	}
}

// record adds a field to the view.
func (o *object) record(key, value string) {
	o.fields = append(o.fields, Field{Key: key, Value: value, Given: o.values[key] != nil})
}

// wrong tells of a value of the wrong kind.
func (o *object) wrong(key, want string, suggestion string) {
	n := o.values[key]
	o.l.mistake(n, o.path+"."+key, fmt.Sprintf("%s: want %s, got %s", key, want, describe(n)), suggestion)
}

// fault tells of a value that can't be.
func (o *object) fault(key, message, suggestion string) {
	n := o.values[key]
	if n == nil {
		n = o.at
	}
	o.l.mistake(n, o.path+"."+key, key+": "+message, suggestion)
}

// missing tells of a key that must be there.
func (o *object) missing(key, suggestion string) {
	o.l.mistake(o.at, o.path, fmt.Sprintf("%s needs %s", o.what, key), suggestion)
}

// scalar is the value of a key; false where it is missing or wrong, which then
// has been told.
func (o *object) scalar(key, want string) (scalar, bool) {
	n := o.values[key]
	if n == nil {
		return scalar{}, false
	}
	if n.Kind != yaml.ScalarNode {
		o.wrong(key, want, "")
		return scalar{}, false
	}
	s, ok := o.l.scalar(n, o.path+"."+key)
	if ok && s.tag == "!!null" {
		o.fault(key, "has no value", "leave the key out for its default")
		return s, false
	}
	return s, ok
}

// text is a text.
func (o *object) text(key string) (string, bool) {
	s, ok := o.scalar(key, "a text")
	if ok && !s.isText() {
		o.fault(key, fmt.Sprintf("want a text, got %s", s.describe()), fmt.Sprintf("put it in quotes: %q", shorten(o.values[key].Value)))
		return "", false
	}
	return s.text, ok
}

// word is a text of which case does not matter.
func word[T fmt.Stringer](o *object, key string, byDefault T, options ...T) T {
	known := make([]string, len(options))
	for i, v := range options {
		known[i] = v.String()
	}
	value := byDefault
	if s, ok := o.scalar(key, "one of "+listed(known)); ok {
		i := -1
		for j, k := range known {
			if strings.EqualFold(k, s.text) {
				i = j
			}
		}
		if i < 0 {
			o.fault(key, fmt.Sprintf("%s is none of %s", s.describe(), listed(known)), didYouMean(s.text, known))
		} else {
			value = options[i]
		}
	}
	o.record(key, value.String())
	return value
}

// count is a whole number of at least least.
func (o *object) count(key string, byDefault, least int) int {
	want := "a whole number"
	s, ok := o.scalar(key, want)
	if !ok {
		return byDefault
	}
	n, err := s.integer()
	switch {
	case err != nil:
		o.fault(key, fmt.Sprintf("want %s, got %s", want, s.describe()), "")
	case n < 0:
		o.fault(key, fmt.Sprintf("%d is negative", n), "")
	case n < int64(least):
		o.fault(key, fmt.Sprintf("must be at least %d", least), "leave the key out for its default")
	case n > math.MaxInt32:
		o.fault(key, fmt.Sprintf("%d is more than %d", n, math.MaxInt32), "")
	default:
		return int(n)
	}
	return byDefault
}

// wait is a duration of 0 or more, or above 0; with false for one that is
// missing or wrong.
func (o *object) wait(key string, aboveZero bool) (time.Duration, bool) {
	s, ok := o.scalar(key, "a duration")
	if !ok {
		return 0, false
	}
	d, err := s.duration()
	switch {
	case err != nil:
		o.fault(key, err.Error(), durationHint(s.text))
	case d < 0:
		o.fault(key, s.describe()+" is negative", "")
	case d == 0 && aboveZero:
		o.fault(key, "must be above 0", "")
	default:
		return d, true
	}
	return 0, false
}

// duration is wait with a default, recorded.
func (o *object) duration(key string, byDefault time.Duration) time.Duration {
	d, ok := o.wait(key, true)
	if !ok {
		d = byDefault
	}
	o.record(key, short(d))
	return d
}

// yes is true or false.
func (o *object) yes(key string) (value, given bool) {
	s, ok := o.scalar(key, "true or false")
	if !ok {
		return false, false
	}
	b, err := s.boolean()
	if err != nil {
		o.fault(key, err.Error(), "")
		return false, false
	}
	return b, true
}

// list are the elements of a list, as they are.
func (o *object) list(key string) []*yaml.Node {
	n := o.values[key]
	switch {
	case n == nil:
		return nil
	case n.Kind != yaml.SequenceNode:
		o.wrong(key, "a list", "")
		return nil
	}
	elements := make([]*yaml.Node, len(n.Content))
	for i, e := range n.Content {
		elements[i] = plain(e)
	}
	return elements
}

// name is a name by the rule for servers.
func (o *object) name(key string) (string, bool) {
	s, ok := o.text(key)
	if !ok {
		return "", false
	}
	if err := name.Check(s); err != nil {
		o.l.mistake(o.values[key], o.path+"."+key, err.Error(), nameHint(s, true))
		return "", false
	}
	return s, true
}

// token is a name of a node or a cluster, which what says.
func (o *object) token(key string) string {
	s, ok := o.text(key)
	if !ok {
		return ""
	}
	if err := name.CheckToken(key, s); err != nil {
		o.l.mistake(o.values[key], o.path+"."+key, err.Error(), nameHint(s, false))
		return ""
	}
	return s
}

// nameHint is a name that would do, made of one that does not.
func nameHint(s string, dots bool) string {
	fixed := strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-':
			return r
		case r == '.' && dots:
			return r
		}
		return '_'
	}, s), "._")
	if fixed == "" || name.Check(fixed) != nil {
		return ""
	}
	return fmt.Sprintf("%q would do", fixed)
}
