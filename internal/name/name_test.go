package name_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/civitas-go/civitas/internal/name"
)

func TestNames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", name.MaxLen)
	for _, tc := range []struct {
		name                   string
		server, token, runtime bool
	}{
		{"rate_limiter", true, true, false},
		{"a", true, true, false},
		{"A-9_", true, true, false},
		{"myapp.services.RateLimiter", true, false, false},
		{long, true, true, false},
		{"a._b", true, false, false},
		{"-", true, true, false},
		{"", false, false, false},
		{long + "x", false, false, false},
		{"_own", false, false, true},
		{"_own.a", false, false, true},
		{"_", false, false, false},
		{"__x", false, false, false},
		{"_" + long, false, false, true},
		{".a", false, false, false},
		{"a.", false, false, false},
		{"a..b", false, false, false},
		{".", false, false, false},
		{"a b", false, false, false},
		{"a*", false, false, false},
		{"a.>", false, false, false},
		{"é", false, false, false},
		{"a\x00", false, false, false},
		{"a\n", false, false, false},
		{"a/b", false, false, false},
		{"$SYS", false, false, false},
	} {
		if got := name.Check(tc.name) == nil; got != tc.server {
			t.Errorf("Check(%q): got accepted = %v, want %v", tc.name, got, tc.server)
		}
		if got := name.CheckToken("node", tc.name) == nil; got != tc.token {
			t.Errorf("CheckToken(%q): got accepted = %v, want %v", tc.name, got, tc.token)
		}
		if got := name.Runtime(tc.name); got != tc.runtime {
			t.Errorf("Runtime(%q): got %v, want %v", tc.name, got, tc.runtime)
		}
	}
}

func TestRefusalsSayWhat(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err  error
		want string
	}{
		{name.Check("a b"), `name "a b": byte ' ' at 1 is not allowed; a name is ` + name.Rule},
		{name.Check("a..b"), `name "a..b": empty token at byte 2; a name is ` + name.Rule},
		{name.Check("a."), `name "a.": ends with a dot; a name is ` + name.Rule},
		{name.Check("_a"), `name "_a": begins with '_', which is the runtime's; a name is ` + name.Rule},
		{name.CheckToken("cluster", "a.b"), `cluster name "a.b": byte '.' at 1 is not allowed; a cluster name is ` + name.TokenRule},
		{name.Check(strings.Repeat("x", 300)), `name "` + strings.Repeat("x", 64) + `…": 300 bytes long; a name is ` + name.Rule},
	} {
		if got := tc.err.Error(); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

var rule = regexp.MustCompile(`^[A-Za-z0-9-][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$`)

func FuzzCheck(f *testing.F) {
	for _, seed := range []string{"a", "a.b", "_a", "a..b", "a.", "a b", "é", strings.Repeat("x", 201), "a\x00", "a.>"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want := rule.MatchString(s) && !strings.HasSuffix(s, "\n") && len(s) <= name.MaxLen
		err := name.Check(s)
		if got := err == nil; got != want {
			t.Errorf("Check(%q): got %v, want accepted = %v", s, err, want)
		}
		if got, want := name.CheckToken("node", s) == nil, want && !strings.Contains(s, "."); got != want {
			t.Errorf("CheckToken(%q): got accepted = %v, want %v", s, got, want)
		}
		if err != nil && len(err.Error()) > 600 {
			t.Errorf("Check(%q): got an error of %d bytes, want it short", s, len(err.Error()))
		}
		if name.Runtime(s) && err == nil {
			t.Errorf("got %q both a user's name and the runtime's", s)
		}
	})
}
