// Package name holds the one rule for names that become NATS subject tokens:
// servers, nodes and clusters all obey it.
package name

import (
	"fmt"
	"strings"
)

// MaxLen is the longest name in bytes. A subject is a prefix of ours plus one
// name, and NATS caps a protocol line at 4 KiB, so this leaves ample room.
const MaxLen = 200

// Rule is the rule for server names, quoted by every refusal.
const Rule = "one or more tokens of [A-Za-z0-9_-] joined by dots, at most 200 bytes, not beginning with '_'"

// TokenRule is the rule for node and cluster names, which are a single token.
const TokenRule = "one token of [A-Za-z0-9_-], at most 200 bytes, not beginning with '_'"

// Check refuses a string that cannot be the name of a user's server.
func Check(name string) error {
	if reason := fault(name, true); reason != "" {
		return fmt.Errorf("name %q: %s; a name is %s", shorten(name), reason, Rule)
	}
	return nil
}

// CheckToken refuses a string that cannot name a node or a cluster; what says
// which of them it is, for the error's text.
func CheckToken(what, name string) error {
	if reason := fault(name, false); reason != "" {
		return fmt.Errorf("%s name %q: %s; a %s name is %s", what, shorten(name), reason, what, TokenRule)
	}
	return nil
}

// Runtime reports whether a name is one of the runtime's own, which begin
// with an underscore and are otherwise well formed.
func Runtime(name string) bool {
	return strings.HasPrefix(name, "_") && fault(name[1:], true) == ""
}

func fault(name string, dots bool) string {
	switch {
	case name == "":
		return "empty"
	case len(name) > MaxLen:
		return fmt.Sprintf("%d bytes long", len(name))
	case name[0] == '_':
		return "begins with '_', which is the runtime's"
	}
	start := 0
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case c == '.' && dots:
			if i == start {
				return fmt.Sprintf("empty token at byte %d", i)
			}
			start = i + 1
		case !tokenByte(c):
			return fmt.Sprintf("byte %q at %d is not allowed", c, i)
		}
	}
	if start == len(name) {
		return "ends with a dot"
	}
	return ""
}

func tokenByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// shorten keeps hostile input from flooding an error's text.
func shorten(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
