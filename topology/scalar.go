package topology

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// scalar is a value of the file with its references replaced.
type scalar struct {
	text string
	tag  string // as YAML resolves the text
	// loose says that the value came of a reference within quotes, so that a
	// number may be meant as well as a text.
	loose bool
	// written is the value as it is in the file, where that has references:
	// what they stand for may be a secret, and is not for messages.
	written string
}

// isText is false for what YAML reads as a number, true, false or nothing.
func (s scalar) isText() bool {
	return s.loose || s.tag == "!!str" || s.tag == "!!timestamp"
}

func (s scalar) integer() (int64, error) {
	if s.loose {
		s.tag = resolve(s.text)
	}
	if s.tag != "!!int" {
		return 0, fmt.Errorf("want a whole number, got %s", s.describe())
	}
	var n int64
	err := s.node().Decode(&n)
	return n, err
}

// number is any number.
func (s scalar) number() (float64, error) {
	if s.loose {
		s.tag = resolve(s.text)
	}
	if s.tag != "!!int" && s.tag != "!!float" {
		return 0, fmt.Errorf("want a number, got %s", s.describe())
	}
	var f float64
	err := s.node().Decode(&f)
	return f, err
}

// boolean is true or false.
func (s scalar) boolean() (bool, error) {
	if s.loose {
		s.tag = resolve(s.text)
	}
	if s.tag != "!!bool" {
		return false, fmt.Errorf("want true or false, got %s", s.describe())
	}
	var b bool
	err := s.node().Decode(&b)
	return b, err
}

func (s scalar) node() *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Value: s.text, Tag: s.tag}
}

// duration is a text as in 5s, or a number of seconds.
func (s scalar) duration() (time.Duration, error) {
	if f, err := s.number(); err == nil {
		f *= float64(time.Second)
		if !(math.Abs(f) < math.MaxInt64) { // NaN is refused too
			return 0, fmt.Errorf("%s seconds are no duration", s.describe())
		}
		return time.Duration(math.Round(f)), nil
	}
	if s.isText() {
		if d, err := time.ParseDuration(strings.TrimSpace(s.text)); err == nil {
			return d, nil
		}
	}
	return 0, fmt.Errorf("want a duration as in 5s or 1m30s, or a number of seconds, got %s", s.describe())
}

// durationHint repairs what durations are written like elsewhere.
func durationHint(text string) string {
	for _, unit := range []struct{ long, short string }{
		{"milliseconds", "ms"},
		{"millisecond", "ms"},
		{"seconds", "s"},
		{"second", "s"},
		{"secs", "s"},
		{"sec", "s"},
		{"minutes", "m"},
		{"minute", "m"},
		{"mins", "m"},
		{"min", "m"},
		{"hours", "h"},
		{"hour", "h"},
		{"", "s"},
	} {
		if n, found := strings.CutSuffix(strings.TrimSpace(text), unit.long); found {
			if d, err := time.ParseDuration(strings.TrimSpace(n) + unit.short); err == nil {
				return "write " + short(d)
			}
		}
	}
	if n, found := strings.CutSuffix(text, "d"); found {
		if days, err := strconv.Atoi(strings.TrimSpace(n)); err == nil && days > 0 && days < 10000 {
			return fmt.Sprintf("write %dh", 24*days)
		}
	}
	return ""
}

// short is a duration without the zeros that String ends with.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// describe is a value for a message.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return describe(plain(n))
	}
	return scalar{text: n.Value, tag: n.ShortTag()}.describe()
}

func (s scalar) describe() string {
	switch {
	case s.written != "":
		return "what is in " + strconv.Quote(shorten(s.written))
	case s.tag == "!!null" && !s.loose:
		return "nothing"
	case s.isText():
		return strconv.Quote(shorten(s.text))
	default:
		return shorten(s.text)
	}
}
