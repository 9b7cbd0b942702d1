package genserver_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The kind of a message, its reply and its server are part of Go types; the
// compiler refuses what would go wrong. Each program under testdata has one
// line marked "wrong", and must fail there and nowhere else.
func TestTheCompilerRefusesMisuse(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"castcalled", "callcast", "calltimer", "config", "twoservers", "correct"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join("testdata", "misuse", name)
			line := markedLine(t, filepath.Join(dir, name+".go"))
			out, err := exec.CommandContext(t.Context(), "go", "build", "-o", os.DevNull, "./"+dir).CombinedOutput()
			if line == 0 {
				if err != nil {
					t.Errorf("got %v, want it compiled:\n%s", err, out)
				}
				return
			}
			if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
				t.Fatalf("got %v, want the compiler's refusal:\n%s", err, out)
			}
			at := fmt.Sprintf("%s.go:%d:", name, line)
			if got := strings.Count(string(out), at); got == 0 || got != strings.Count(string(out), name+".go:") {
				t.Errorf("got errors, want one at %s and none elsewhere:\n%s", at, out)
			}
		})
	}
}

// markedLine is the number of the line that ends in "// wrong", 0 for none.
func markedLine(t *testing.T, file string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	noErr(t, "read", err)
	for i, line := range strings.Split(string(text), "\n") {
		if strings.HasSuffix(line, "// wrong") {
			return i + 1
		}
	}
	return 0
}
