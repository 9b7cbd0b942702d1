package topology_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/topology"
)

// A file is refused with mistakes that are in it, or says what can run.
func FuzzLoad(f *testing.F) {
	for _, text := range goodFiles(f) {
		f.Add(text)
	}
	f.Add(diffBefore)
	f.Add(diffAfter)
	f.Add(bomb())
	f.Add("supervision: {children: [{name: a, type: fuzz, config: {by_name: {a: 1}, any: [1, {a: ${X:-1}}], list: [5]}}]}")
	f.Add("supervision: &a {children: [{name: a, <<: *a}, {<<: [*a, *a]}]}")
	f.Add("supervision:\n  children:\n    - agent:\n      name: ${X}\n      type: fuzz\n")
	typ := genserver.Define("fuzz", func(*genserver.Context, wide) (*nothing, error) { return &nothing{}, nil })
	types := []genserver.Type{limiter, worker, typ}
	f.Fuzz(func(t *testing.T, text string) {
		began := time.Now()
		top, err := topology.Loader{Types: types, Lookup: lookup("X", "1")}.Load(strings.NewReader(text))
		if took := time.Since(began); took > 30*time.Second {
			t.Fatalf("got an answer after %v, want it soon", took)
		}
		var mistakes topology.Mistakes
		switch {
		case err == nil:
			if err := top.Tree.Validate(); err != nil {
				t.Errorf("got a tree that is not valid: %v", err)
			}
			if changes := topology.Diff(top, top); len(changes) != 0 {
				t.Errorf("got %v, want a topology to be equal to itself", changes)
			}
			if top.String() == "" {
				t.Error("got no drawing")
			}
		case !errors.As(err, &mistakes) || len(mistakes) == 0:
			t.Errorf("got %v, want Mistakes", err)
		}
		lines := strings.Count(text, "\n") + strings.Count(text, "\r") + strings.Count(text, "\u0085") + strings.Count(text, "\u2028") + strings.Count(text, "\u2029") + 2
		for _, m := range mistakes {
			if m.Line < 1 || m.Line > lines || m.Column < 1 || m.Message == "" {
				t.Errorf("got %+v, want a place within %d lines, and a message", m, lines)
			}
		}
		if len(err2text(err)) > 400_000 {
			t.Errorf("got %d bytes of mistakes, want them short", len(err2text(err)))
		}
		if _, err := (topology.Loader{AnyType: true, Lookup: lookup("X", "1")}).Load(strings.NewReader(text)); err != nil && mistakes == nil {
			t.Errorf("got %v with AnyType, want it loaded as it is without", err)
		}
	})
}

func err2text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
