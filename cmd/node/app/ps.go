package app

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/civitas-go/civitas/node"
)

func psCommand(_ Options, s Streams) *cobra.Command {
	var o operator
	var all bool
	by := sortKey("name")
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List the servers of all nodes",
		Long: `List the servers of all nodes, with their state, restarts and load. Servers that
were stopped, or wait for a restart, are listed as such.`,
		Example: "  civitas ps --sort mailbox\n  civitas ps -o jsonl | jq -r 'select(.restarts > 0) | .name'",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.do(cmd.Context(), s, func(ctx context.Context, v *view) error {
				servers, err := v.servers(ctx)
				if err != nil {
					return err
				}
				servers = slices.DeleteFunc(servers, func(i node.ServerInfo) bool { return !all && i.Kind != "server" })
				by.sort(servers)
				return printAll(s.Out, o.output, servers, func(w io.Writer) error { return psTable(w, servers) })
			})
		},
	}
	o.register(s, cmd)
	cmd.Flags().BoolVarP(&all, "all", "a", false, "supervisors and the runtime's own servers too")
	cmd.Flags().Var(&by, "sort", "by "+strings.Join(sortKeys(), ", "))
	return cmd
}

func psTable(w io.Writer, servers []node.ServerInfo) error {
	t := table{head: []string{"NAME", "NODE", "STATE", "GEN", "RESTARTS", "MAILBOX", "CALLS", "HANDLED", "UP", "TYPE", "LAST REASON"}, width: terminalWidth(w)}
	for _, i := range servers {
		t.add(i.Name, i.Node, i.State, number(i.Generation), number(i.Restarts), strconv.Itoa(i.Mailbox), strconv.Itoa(i.InFlight),
			number(i.Handled), age(i.Uptime), i.Type, oneLine(i.LastReason))
	}
	return t.write(w)
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// oneLine is the beginning of a text that may have a stack below it.
func oneLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// sortKey is the --sort flag: what is most first, but names from a to z.
type sortKey string

var comparisons = map[sortKey]func(a, b node.ServerInfo) int{
	"name":     func(node.ServerInfo, node.ServerInfo) int { return 0 },
	"node":     func(a, b node.ServerInfo) int { return cmp.Compare(a.Node, b.Node) },
	"type":     func(a, b node.ServerInfo) int { return cmp.Compare(a.Type, b.Type) },
	"state":    func(a, b node.ServerInfo) int { return cmp.Compare(a.State, b.State) },
	"restarts": func(a, b node.ServerInfo) int { return cmp.Compare(b.Restarts, a.Restarts) },
	"mailbox":  func(a, b node.ServerInfo) int { return cmp.Compare(b.Mailbox, a.Mailbox) },
	"calls":    func(a, b node.ServerInfo) int { return cmp.Compare(b.InFlight, a.InFlight) },
	"handled":  func(a, b node.ServerInfo) int { return cmp.Compare(b.Handled, a.Handled) },
	"up":       func(a, b node.ServerInfo) int { return cmp.Compare(b.Uptime, a.Uptime) },
}

// sortKeys are the words of --sort.
func sortKeys() []string {
	return []string{"name", "node", "type", "state", "restarts", "mailbox", "calls", "handled", "up"}
}

func (k sortKey) sort(servers []node.ServerInfo) {
	slices.SortFunc(servers, func(a, b node.ServerInfo) int {
		return cmp.Or(comparisons[k](a, b), byName(a, b))
	})
}

// String, Set and Type make it a flag.
func (k *sortKey) String() string { return string(*k) }

// Set refuses what nothing is sorted by.
func (k *sortKey) Set(s string) error {
	if comparisons[sortKey(s)] == nil {
		return fmt.Errorf("want one of %s", strings.Join(sortKeys(), ", "))
	}
	*k = sortKey(s)
	return nil
}

// Type is the flag's word in the help.
func (k *sortKey) Type() string { return "column" }
