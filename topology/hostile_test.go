package topology_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/civitas-go/civitas/topology"
)

// Whatever a large file says, an answer comes, and is short.
func TestHostileFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	t.Parallel()
	const most = 1 << 17 // an eighth of the largest, since -race takes long
	fill := func(head string, line func(i int) string) string {
		var b strings.Builder
		b.WriteString(head)
		for i := 0; b.Len() < most-1000; i++ {
			b.WriteString(line(i))
		}
		return b.String()
	}
	const children = "supervision:\n  children:\n"
	limiterWith := children + "    - name: a\n      type: myapp.services.RateLimiter\n      config:\n"
	for name, text := range map[string]string{
		"unknown keys":      fill("supervision:\n  children: []\n", func(i int) string { return fmt.Sprintf("  key_that_is_unknown_%d: 1\n", i) }),
		"unknown in config": fill(limiterWith, func(i int) string { return fmt.Sprintf("        capacity_%d: 1\n", i) }),
		"long words":        fill(children, func(int) string { return "    - {name: a, " + strings.Repeat("x", 180) + ": 1}\n" }),
		"one word":          children + "    - {name: " + strings.Repeat("a", most-100) + "}\n",
		"unknown types":     fill(children, func(i int) string { return fmt.Sprintf("    - {name: n%d, type: myapp.services.Rate%d}\n", i, i) }),
		"the same name":     fill(children, func(int) string { return "    - {name: a, type: myapp.agents.WorkerAgent}\n" }),
		"no references":     fill(children, func(int) string { return "    - {name: \"${A}${B}${C}\"}\n" }),
		"empty children":    fill(children, func(int) string { return "    - {}\n" }),
		"the same key":      fill("supervision: {children: []}\n", func(int) string { return "a: 1\n" }),
		"aliases":           fill("supervision: {children: []}\nnode: &a {x: 1}\ncluster: [", func(int) string { return "*a," }) + "]\n",
		"merges":            merges(),
		"nested":            "supervision: " + strings.Repeat("{children: [", 45) + strings.Repeat("]}", 45),
		"brackets":          strings.Repeat("[", most),
		"keys without end":  strings.Repeat("? ", most/2),
		"anchors":           fill("", func(i int) string { return fmt.Sprintf("&a%d ", i) }),
		"comments":          fill("supervision: {children: []}\nnode:\n", func(int) string { return "# x\n" }),
		"one long line":     "supervision: {children: [" + strings.Repeat("{name: a},", most/12) + "]}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			_, err := load(text)
			took := time.Since(began)
			t.Logf("%d bytes, %v", len(text), took)
			var mistakes topology.Mistakes
			if !errors.As(err, &mistakes) {
				t.Fatalf("got %v, want Mistakes", err)
			}
			if len(mistakes) > 201 || len(err.Error()) > 400_000 {
				t.Errorf("got %d mistakes in %d bytes, want them bounded", len(mistakes), len(err.Error()))
			}
			if took > time.Minute { // a second or two, on a quiet machine
				t.Errorf("took %v", took)
			}
		})
	}
}

// merges are mappings that merge those before them, each twice.
func merges() string {
	var b strings.Builder
	b.WriteString("m0: &m0 {k0: 1}\n")
	for i := 1; i < 16; i++ {
		fmt.Fprintf(&b, "m%d: &m%d {k%d: 1, <<: [*m%d, *m%d]}\n", i, i, i, i-1, i-1)
	}
	b.WriteString("supervision: {children: [{name: a, type: myapp.services.RateLimiter, config: {<<: *m15}}]}\n")
	return b.String()
}
