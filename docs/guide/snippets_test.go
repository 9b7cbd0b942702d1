package guide_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestSnippetsAreCode holds the guide to the truth: every block of Go in a
// chapter stands, line after line, in a test file of this folder, which the
// compiler reads and `go test` runs.
func TestSnippetsAreCode(t *testing.T) {
	code := ""
	for _, file := range glob(t, "*_test.go") {
		code += flatten(read(t, file)) + "\n"
	}
	found := 0
	for _, chapter := range glob(t, "*.md") {
		for _, snippet := range snippets(read(t, chapter)) {
			found++
			if !strings.Contains(code, "\n"+flatten(snippet)+"\n") {
				t.Errorf("%s has a snippet that is in no test file:\n%s", chapter, snippet)
			}
		}
	}
	if found == 0 {
		t.Error("the guide has no snippet of Go: this test sees nothing")
	}
}

func TestSnippetsAreFound(t *testing.T) {
	got := snippets("text\n```go\na\n\n\tb\n```\n```sh\nc\n```\n```go\nd\n```\n")
	if len(got) != 2 || flatten(got[0]) != "a\nb" || flatten(got[1]) != "d" {
		t.Errorf("got %q, want the two blocks of Go", got)
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// snippets are the fenced blocks of Go in a page.
func snippets(page string) []string {
	var all []string
	_, rest, ok := strings.Cut(page, "```go\n")
	for ok {
		var block string
		block, rest, _ = strings.Cut(rest, "```")
		all = append(all, block)
		_, rest, ok = strings.Cut(rest, "```go\n")
	}
	return all
}

// flatten drops indentation and empty lines: a snippet may stand deeper in its
// function than on the page.
func flatten(code string) string {
	var lines []string
	for line := range strings.Lines(code) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}
