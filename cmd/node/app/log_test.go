package app

import (
	"log/slog"
	"strings"
	"testing"
)

func TestStackOnATerminal(t *testing.T) {
	t.Parallel()
	const stack = "goroutine 7 [running]:\nruntime/debug.Stack()\n\tstack.go:26\npanic({1, 2})\n\tpanic.go:8\nshop.pay()\n\tshop.go:9\nmain()\n\tmain.go:1\n"
	for _, tc := range []struct{ name, stack, want string }{
		{"a panic", stack, "\tgoroutine 7 [running]:\n\tshop.pay()\n\t\tshop.go:9\n\tmain()\n\t\tmain.go:1\n"},
		{"no panic", "goroutine 7 [running]:\nmain()", "\tgoroutine 7 [running]:\n\tmain()\n"},
		{"cut short", "goroutine 7 [running]:\npanic(1)", "\tgoroutine 7 [running]:\n\tpanic(1)\n"},
		{"none", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			log := slog.New(newPeopleHandler(&b)).With("node", "n1")
			attrs := []any{"server", "shop", "reason", "oops"}
			if tc.stack != "" {
				attrs = append(attrs, stackKey, tc.stack)
			}
			log.Error("server crashed", attrs...)
			line, rest, _ := strings.Cut(b.String(), "\n")
			if want := `level=ERROR msg="server crashed" node=n1 server=shop reason=oops`; !strings.HasSuffix(line, want) {
				t.Errorf("got %q, want it to end in %s", line, want)
			}
			if rest != tc.want {
				t.Errorf("got %q, want %q", rest, tc.want)
			}
		})
	}
}
