package app

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/civitas-go/civitas/node"
)

// crowd is how many siblings are shown one by one; of more, those that are as
// they should be are summed up.
const crowd = 30

func treeCommand(_ Options, s Streams) *cobra.Command {
	var o operator
	var all bool
	cmd := &cobra.Command{
		Use:   "tree",
		Short: "Show the supervision trees of all nodes, as they run",
		Long: `Show the supervision trees of all nodes, as they run. Of many siblings those
that run and never crashed are summed up, unless --all is given; JSON has
every one.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.do(cmd.Context(), s, func(ctx context.Context, v *view) error {
				servers, err := v.servers(ctx)
				if err != nil {
					return err
				}
				trees := grow(servers)
				return printAll(s.Out, o.output, trees, func(w io.Writer) error { return writeTrees(w, trees, all) })
			})
		},
	}
	o.register(s, cmd)
	cmd.Flags().BoolVarP(&all, "all", "a", false, "every server, however many there are, and the runtime's own")
	return cmd
}

// branch is a server with those below it.
type branch struct {
	node.ServerInfo
	Children []*branch `json:"children,omitempty"`
}

// grow makes trees of lists: one for each node, as `tree -o json` prints it.
func grow(servers []node.ServerInfo) []*branch {
	var roots []*branch
	byPath := map[[2]string]*branch{}
	for _, i := range servers { // by node and path, so that those above come first
		b := &branch{ServerInfo: i}
		byPath[[2]string{i.Node, i.Path}] = b
		if above := byPath[[2]string{i.Node, i.Supervisor}]; above != nil {
			above.Children = append(above.Children, b)
		} else {
			roots = append(roots, b)
		}
	}
	for _, b := range byPath {
		slices.SortFunc(b.Children, func(a, b *branch) int { return cmp.Compare(a.Place, b.Place) })
	}
	return roots
}

// roomy is the width that shows all columns of most trees.
const roomy = 120

// treeTable is a table of branches.
type treeTable struct {
	table
	narrow bool // so that what matters is still on the screen
}

func writeTrees(w io.Writer, roots []*branch, all bool) error {
	t := treeTable{table: table{width: terminalWidth(w)}}
	t.narrow = t.width > 0 && t.width < roomy
	node := ""
	for _, root := range roots {
		if root.Kind == "runtime" && !all {
			continue
		}
		if root.Node != node {
			if node != "" {
				t.add("")
			}
			node = root.Node
			if node == "" { // of the cluster, and no node runs it
				t.add("no node")
			} else {
				t.add("node " + node)
			}
		}
		t.add(t.line("", root)...)
		t.below(root, "", all)
	}
	return t.write(w)
}

// below adds the lines below a branch.
func (t *treeTable) below(above *branch, indent string, all bool) {
	shown, left := above.Children, 0
	if len(shown) > crowd && !all {
		shown = nil
		for i, b := range above.Children {
			if i < crowd/3 || b.State != "running" || b.Restarts > 0 || len(b.Children) > 0 {
				shown = append(shown, b)
			} else {
				left++
			}
		}
	}
	for i, b := range shown {
		fork, under := "├─ ", "│  "
		if i == len(shown)-1 && left == 0 {
			fork, under = "└─ ", "   "
		}
		t.add(t.line(indent+fork, b)...)
		t.below(b, indent+under, all)
	}
	if left > 0 {
		t.add(fmt.Sprintf("%s└─ and %d more, all running and never restarted; --all shows them", indent, left))
	}
}

// line is one server in a tree.
func (t *treeTable) line(indent string, b *branch) []string {
	what := b.Type
	if b.Kind == "supervisor" {
		what = cmp.Or(b.Strategy, "supervisor")
	}
	state := b.State
	if b.Handling != "" && state == "running" {
		state = b.Handling
	}
	var more string
	switch {
	case b.Restarts == 1:
		more = "1 restart"
	case b.Restarts > 1:
		more = fmt.Sprintf("%d restarts", b.Restarts)
	}
	if b.LastReason != "" {
		more += ": " + oneLine(b.LastReason)
	}
	if b.Mailbox > 0 {
		more = fmt.Sprintf("%d waiting  ", b.Mailbox) + more
	}
	if t.narrow {
		return []string{indent + b.Name, what[strings.LastIndex(what, ".")+1:], state, age(b.Uptime), more}
	}
	return []string{indent + b.Name, what, b.Scope, state, age(b.Uptime), more}
}
