package topology

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"
)

// scalar reads a value that is no list and no mapping; false where a reference
// is wrong, which then has been told.
func (l *loading) scalar(n *yaml.Node, path string) (scalar, bool) {
	s := scalar{text: n.Value, tag: n.ShortTag()}
	if !strings.Contains(n.Value, "$") {
		return s, true
	}
	text, ok := l.expand(n, path)
	if !ok {
		return s, false
	}
	s.text, s.written = text, n.Value
	switch {
	case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle|yaml.TaggedStyle) == 0:
		s.tag = resolve(text)
	case text != n.Value:
		s.loose = true
	}
	return s, true
}

// resolve is the tag of a text without quotes.
func resolve(text string) string {
	var v any
	if err := (&yaml.Node{Kind: yaml.ScalarNode, Value: text}).Decode(&v); err != nil {
		return "!!str"
	}
	switch v.(type) {
	case nil:
		return "!!null"
	case bool:
		return "!!bool"
	case int, int64, uint64:
		return "!!int"
	case float64:
		return "!!float"
	default: // a time too
		return "!!str"
	}
}

// expand replaces the references to variables in a value.
func (l *loading) expand(n *yaml.Node, path string) (string, bool) {
	var b strings.Builder
	rest, ok := n.Value, true
	for {
		before, after, found := strings.Cut(rest, "$")
		b.WriteString(before)
		if !found {
			break
		}
		switch {
		case strings.HasPrefix(after, "$"):
			b.WriteByte('$')
			rest = after[1:]
			continue
		case !strings.HasPrefix(after, "{"):
			word := variable(after)
			suggestion := "write $$ for a dollar sign"
			if word != "" {
				suggestion = fmt.Sprintf("write ${%s} for the variable, or $$ for a dollar sign", word)
			}
			l.mistake(n, path, "a single $ is no reference", suggestion)
			return "", false
		}
		inner, behind, closed := strings.Cut(after[1:], "}")
		if !closed {
			l.mistake(n, path, "${ without its }", "write ${NAME} or ${NAME:-default}, or $$ for a dollar sign")
			return "", false
		}
		rest = behind
		value, found := l.reference(n, path, inner)
		ok = ok && found
		if l.expanded += len(value); l.expanded > maxBytes {
			l.mistake(n, path, fmt.Sprintf("references stand for more than %d bytes in all", maxBytes), "")
			return "", false
		}
		b.WriteString(value)
	}
	return b.String(), ok
}

// reference is what is between ${ and }.
func (l *loading) reference(n *yaml.Node, path, inner string) (string, bool) {
	name, byDefault, hasDefault := strings.Cut(inner, ":-")
	if name == "" || variable(name) != name {
		l.mistake(n, path, fmt.Sprintf("${%s} is no reference: a variable's name is of letters, digits and _", shorten(inner)), "write ${NAME} or ${NAME:-default}")
		return "", false
	}
	var value string
	var set bool
	if l.Lookup != nil {
		value, set = l.Lookup(name)
	}
	switch {
	case hasDefault && (!set || value == ""):
		return byDefault, true
	case !set:
		l.mistake(n, path, fmt.Sprintf("the variable %s is not set", shorten(name)), fmt.Sprintf("set it, or give a default: ${%s:-…}", shorten(name)))
		return "", false
	}
	return value, true
}

// variable is the longest name of a variable that s begins with.
func variable(s string) string {
	for i, c := range []byte(s) {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return s[:i]
		}
	}
	return s
}
