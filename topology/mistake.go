package topology

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Mistake is one thing that is wrong with a file.
type Mistake struct {
	// File is the file's name, as it was given.
	File string `json:"file"`
	// Line and Column are where the mistake is, counted from 1.
	Line   int `json:"line"`
	Column int `json:"column"`
	// Path is the same place in the file's terms, as in
	// supervision.children[1].strategy; "" for the file as a whole.
	Path string `json:"path"`
	// Message says which rule is broken.
	Message string `json:"message"`
	// Suggestion says what to write in its place, where that can be told.
	Suggestion string `json:"suggestion,omitempty"`
}

// Error is "file:line:column: message (suggestion)".
func (m Mistake) Error() string {
	s := fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Column, m.Message)
	if m.Suggestion != "" {
		s += " (" + m.Suggestion + ")"
	}
	return s
}

// Mistakes are all that is wrong with a file, in the file's order. It is the
// error of a Load of a file that could be read.
type Mistakes []Mistake

// Error has every mistake, each on a line of its own.
func (ms Mistakes) Error() string {
	lines := make([]string, len(ms))
	for i, m := range ms {
		lines[i] = m.Error()
	}
	return strings.Join(lines, "\n")
}

func (ms Mistakes) sort() {
	slices.SortStableFunc(ms, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}
