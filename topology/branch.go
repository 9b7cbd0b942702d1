package topology

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// The kinds of a [Branch].
const (
	kindServer     = "server"
	kindSupervisor = "supervisor"
	kindDynamic    = "dynamic_supervisor"
)

// Branch is one server or supervisor of a file's tree, to look at.
type Branch struct {
	Name string `json:"name"`
	// Kind is "server", "supervisor" or "dynamic_supervisor".
	Kind string `json:"kind"`
	// Type is a server's.
	Type string `json:"type,omitempty"`
	// Fields are what else the file says of it, or leaves at its default, in
	// the order of docs/topology.md. Those of a config follow as they are
	// written, as in config.capacity.
	Fields []Field `json:"fields"`
	// Children are a supervisor's, in the order they start.
	Children []Branch `json:"children,omitempty"`
	// Line is where it is in the file.
	Line int `json:"line"`
}

// Field is a key and its value as text.
type Field struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	// Given is false of a default.
	Given bool `json:"given"`
}

// field is a field's value; "" for none.
func (b Branch) field(key string) string {
	for _, f := range b.Fields {
		if f.Key == key {
			return f.Value
		}
	}
	return ""
}

// String draws the tree with its policies, and the settings below it.
func (t *Topology) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	t.Root.draw(w, "", "", "")
	_ = w.Flush() // a strings.Builder takes all
	servers, supervisors := t.Root.count()
	fmt.Fprintf(&b, "\n%s, %s\n", plural(servers, "server"), plural(supervisors, "supervisor"))
	for _, f := range t.Settings {
		fmt.Fprintf(&b, "%s %s\n", f.Key, f.Value)
	}
	return b.String()
}

func (b Branch) draw(w *tabwriter.Writer, indent, branch, below string) {
	what := b.Type
	switch b.Kind {
	case kindSupervisor:
		what = b.field("strategy")
	case kindDynamic:
		what = "dynamic"
	}
	_, _ = fmt.Fprintf(w, "%s%s%s\t%s\t%s\n", indent, branch, b.Name, what, strings.Join(b.policies(), ", "))
	for i, c := range b.Children {
		if i == len(b.Children)-1 {
			c.draw(w, indent+below, "└─ ", "   ")
		} else {
			c.draw(w, indent+below, "├─ ", "│  ")
		}
	}
}

// policies are the fields in words: those that everyone asks for, and what else
// was given.
func (b Branch) policies() []string {
	var words []string
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	said := map[string]bool{"strategy": true, "restart_window": true, "scope": b.Kind != kindServer}
	if b.Kind != kindServer {
		restarts := "restarts"
		if b.field("max_restarts") == "1" {
			restarts = "restart"
		}
		add("%s %s in %s", b.field("max_restarts"), restarts, b.field("restart_window"))
	}
	for _, f := range b.Fields {
		switch {
		case said[f.Key] || f.Key == "max_restarts":
		case f.Key == "restart" && (b.Kind == kindServer || f.Given):
			add("%s", f.Value)
		case f.Key == "scope":
			add("%s", f.Value)
		case f.Given && f.Value == "true":
			add("%s", f.Key)
		case f.Given:
			add("%s %s", f.Key, f.Value)
		}
	}
	return words
}

func (b Branch) count() (servers, supervisors int) {
	if b.Kind == kindServer {
		return 1, 0
	}
	supervisors = 1
	for _, c := range b.Children {
		s, v := c.count()
		servers, supervisors = servers+s, supervisors+v
	}
	return servers, supervisors
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
