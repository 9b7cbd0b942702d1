package topology

import (
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Change is one difference between two topologies.
type Change struct {
	// Kind is "added", "removed", "changed" or "moved".
	Kind string `json:"kind"`
	// Path is the names from the root to what differs, with slashes between
	// them: in the second topology, and in the first of what was removed. It is
	// "" of a setting.
	Path string `json:"path"`
	// Field is what was changed; of what moved, "parent" or "position".
	Field string `json:"field,omitempty"`
	// Old and New are the field's values, "" for none. Of what was added, New is
	// its type or kind; of what was removed, Old.
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
}

// Changes are what differs between two topologies.
type Changes []Change

// Diff compares what two topologies say: first their settings, then their trees
// in the second's order, and last what was removed. A server or supervisor is
// the same one if its name is; of one that is now of another kind, only that is
// told. Defaults count as if they were written.
func Diff(a, b *Topology) Changes {
	d := &diff{before: map[string]place{}, after: map[string]place{}}
	d.fields("", a.Settings, b.Settings)
	enlist(d.before, a.Root, a.Root.Name, place{})
	enlist(d.after, b.Root, b.Root.Name, place{})
	d.branch(b.Root.Name, a.Root, b.Root)
	d.removed(a.Root)
	return d.changes
}

// place is where a name is in a tree.
type place struct {
	Branch
	path       string
	parent     string // its name; the root's is always the same
	parentPath string
	position   int
}

const anyRoot = "/" // is no name

// enlist notes where each name below a branch is.
func enlist(places map[string]place, b Branch, path string, above place) {
	above.Branch, above.path = b, path
	id := b.Name
	if above.position == 0 {
		id = anyRoot
	}
	places[id] = above
	for i, c := range b.Children {
		enlist(places, c, path+"/"+c.Name, place{parent: id, parentPath: path, position: i + 1})
	}
}

type diff struct {
	before, after map[string]place
	changes       Changes
}

func (d *diff) add(c Change) { d.changes = append(d.changes, c) }

// branch compares two branches of one name, and goes down the second.
func (d *diff) branch(path string, a, b Branch) {
	if a.Name != b.Name {
		d.change(path, "name", a.Name, b.Name)
	}
	d.change(path, "kind", a.Kind, b.Kind)
	d.change(path, "type", a.Type, b.Type)
	if a.Kind == b.Kind {
		d.fields(path, a.Fields, b.Fields)
	}
	d.children(path, b)
}

func (d *diff) children(path string, b Branch) {
	stay := d.stay(b)
	for _, c := range b.Children {
		at := path + "/" + c.Name
		old, was := d.before[c.Name]
		now := d.after[c.Name]
		switch {
		case !was:
			d.add(Change{Kind: "added", Path: at, New: c.what()})
			d.children(at, c)
			continue
		case old.parent != now.parent:
			d.add(Change{Kind: "moved", Path: at, Field: "parent", Old: old.parentPath, New: now.parentPath})
		case !stay[c.Name]:
			d.add(Change{Kind: "moved", Path: at, Field: "position", Old: strconv.Itoa(old.position), New: strconv.Itoa(now.position)})
		}
		d.branch(at, old.Branch, c)
	}
}

// stay are the children that keep their order, as many as can: the longest run
// of growing old positions.
func (d *diff) stay(b Branch) map[string]bool {
	var kept []place
	for _, c := range b.Children {
		if old, was := d.before[c.Name]; was && old.parent == d.after[c.Name].parent {
			kept = append(kept, old)
		}
	}
	longest, from := make([]int, len(kept)), make([]int, len(kept))
	best := -1
	for i := range kept {
		longest[i], from[i] = 1, -1
		for j := range i {
			if kept[j].position < kept[i].position && longest[j] >= longest[i] {
				longest[i], from[i] = longest[j]+1, j
			}
		}
		if best < 0 || longest[i] > longest[best] {
			best = i
		}
	}
	stay := map[string]bool{}
	for ; best >= 0; best = from[best] {
		stay[kept[best].Name] = true
	}
	return stay
}

// removed goes down the first tree.
func (d *diff) removed(a Branch) {
	for _, c := range a.Children {
		if _, is := d.after[c.Name]; !is {
			d.add(Change{Kind: "removed", Path: d.before[c.Name].path, Old: c.what()})
		}
		d.removed(c)
	}
}

func (d *diff) fields(path string, a, b []Field) {
	values := map[string]string{}
	for _, f := range a {
		values[f.Key] = f.Value
	}
	for _, f := range b {
		d.change(path, f.Key, values[f.Key], f.Value)
		delete(values, f.Key)
	}
	for _, f := range a {
		if old, left := values[f.Key]; left {
			d.change(path, f.Key, old, "")
		}
	}
}

func (d *diff) change(path, field, a, b string) {
	if a != b {
		d.add(Change{Kind: "changed", Path: path, Field: field, Old: a, New: b})
	}
}

// what is a branch's type, or its kind.
func (b Branch) what() string {
	if b.Type != "" {
		return b.Type
	}
	return b.Kind
}

// String has each change on a line: + added, - removed, ~ changed, > moved. It is
// "" where nothing differs.
func (cs Changes) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, c := range cs {
		_, _ = fmt.Fprintln(w, c.line())
	}
	_ = w.Flush() // a strings.Builder takes all
	return b.String()
}

func (c Change) line() string {
	path := c.Path
	if path == "" {
		path = "settings"
	}
	switch c.Kind {
	case "added":
		return fmt.Sprintf("+ %s\t%s", path, c.New)
	case "removed":
		return fmt.Sprintf("- %s\t%s", path, c.Old)
	case "moved":
		return fmt.Sprintf("> %s\t%s: %s -> %s", path, c.Field, c.Old, c.New)
	default:
		return fmt.Sprintf("~ %s\t%s: %s -> %s", path, c.Field, orNone(c.Old), orNone(c.New))
	}
}

func orNone(value string) string {
	if value == "" {
		return "(none)"
	}
	return value
}
