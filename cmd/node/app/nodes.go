package app

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/node"
)

func nodesCommand(_ Options, s Streams) *cobra.Command {
	var o operator
	cmd := &cobra.Command{
		Use:   "nodes",
		Short: "List the nodes, and how soon each is succeeded if it dies",
		Long: `List the nodes of the cluster, and how many cluster-wide names each owns. A node that is
on record and does not answer is silent. One that owns names and is not on record
any more is dead: the names wait for somebody to take them over.

FAILOVER is how long after its end a node is known to be dead: some hundred
milliseconds where NATS tells disconnect events, else until it has been silent
for long enough.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.do(cmd.Context(), s, func(ctx context.Context, v *view) error {
				nodes, err := v.members(ctx, o.node)
				if err != nil {
					return err
				}
				return printAll(s.Out, o.output, nodes, func(w io.Writer) error { return nodesTable(w, nodes) })
			})
		},
	}
	o.register(s, cmd)
	return cmd
}

// member is a node as `nodes` prints it.
type member struct {
	Node        string `json:"node"`
	Incarnation string `json:"incarnation"`
	// State is ready, unready, silent or dead; Reason says why it is not ready.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	// Names is how many cluster-wide names it owns.
	Names   int        `json:"names"`
	Since   *time.Time `json:"since,omitempty"`
	Host    string     `json:"host,omitempty"`
	PID     int        `json:"pid,omitempty"`
	Release string     `json:"release,omitempty"`
	// DisconnectEvents and Failover are as in node.Status; absent if it does not answer.
	DisconnectEvents *bool   `json:"disconnect_events,omitempty"`
	Failover         float64 `json:"failover_seconds,omitempty"`
}

// members are the nodes on record, and those that are not and own names still.
func (v *view) members(ctx context.Context, only string) ([]member, error) {
	owners, err := cluster.ReadOwners(ctx, v.conn, v.cluster)
	if err != nil {
		return nil, err
	}
	names, whose := map[string]int{}, map[string]string{}
	for _, o := range owners {
		names[o.Incarnation]++
		whose[o.Incarnation] = o.Node
	}
	members, err := each(v, func(n cluster.NodeRecord) ([]member, error) {
		m := member{
			Node: n.Node, Incarnation: n.Incarnation, Names: names[n.Incarnation],
			Since: &n.Since, Host: n.Host, PID: n.PID, Release: n.Release,
		}
		var status node.Status
		if err := v.ask(ctx, n, node.AskStatus{}, &status); err != nil {
			m.State, m.Reason = "silent", err.Error()
		} else {
			m.State, m.Reason = status.State, status.Reason
			m.DisconnectEvents, m.Failover = &status.DisconnectEvents, status.Failover
		}
		return []member{m}, nil
	})
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		delete(whose, m.Incarnation)
	}
	if len(whose) > 0 { // one of them may have joined meanwhile
		now, err := cluster.ReadNodes(ctx, v.conn, v.cluster)
		if err != nil {
			return nil, err
		}
		for _, n := range now {
			delete(whose, n.Incarnation)
		}
	}
	for incarnation, of := range whose {
		if only == "" || only == of {
			members = append(members, member{Node: of, Incarnation: incarnation, State: "dead", Names: names[incarnation]})
		}
	}
	slices.SortFunc(members, func(a, b member) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Incarnation, b.Incarnation))
	})
	return members, nil
}

func nodesTable(w io.Writer, nodes []member) error {
	t := table{head: []string{"NODE", "STATE", "NAMES", "FAILOVER", "SINCE", "HOST", "PID", "INCARNATION"}, width: terminalWidth(w)}
	for _, n := range nodes {
		failover, since, pid := "-", "-", "-"
		if n.Failover > 0 {
			failover = fmt.Sprint(time.Duration(n.Failover * float64(time.Second)))
		}
		if n.Since != nil {
			since, pid = n.Since.Format(time.RFC3339), fmt.Sprint(n.PID)
		}
		t.add(n.Node, n.State, fmt.Sprint(n.Names), failover, since, cmp.Or(n.Host, "-"), pid, n.Incarnation)
	}
	return t.write(w)
}
