package node

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

// askSupervisor is how long a supervisor may take to tell of its children. It
// does so at once, unless it is starting or stopping them.
const askSupervisor = 200 * time.Millisecond

// longestReason keeps rows of one size.
const longestReason = 500

// inventory is what runs on a node, and what its supervisors know besides.
type inventory struct {
	rows   []ServerInfo // by path
	silent []string
}

// inventory asks the process table, and every supervisor in turn.
func (n *Node) inventory(ctx context.Context) inventory {
	var inv inventory
	rows := map[string]*ServerInfo{} // by name
	above := map[string]string{}     // the name of its supervisor
	var supervisors []string
	for _, p := range n.sys.Processes() {
		row := &ServerInfo{Name: p.Name, Node: n.cfg.Name, Kind: "server", Type: p.Type, State: "running"}
		switch {
		case p.Type == supervisor.TypeName:
			row.Kind = "supervisor"
			supervisors = append(supervisors, p.Name)
		case strings.HasPrefix(p.Name, "_"):
			row.Kind = "runtime"
		}
		if p.State == "starting" || p.State == "stopping" {
			row.State = p.State
		}
		row.Handling, row.Generation, row.Uptime = p.Handling, p.Generation, since(p.Started)
		row.Mailbox, row.InFlight, row.Handled, row.Epoch = p.Mailbox, p.InFlight, p.Handled, p.Epoch
		rows[p.Name], above[p.Name] = row, p.Supervisor
	}
	slices.Sort(supervisors)
	for _, name := range supervisors {
		children, err := genserver.Call(ctx, n.sys.Ref(name), supervisor.WhichChildren{}, genserver.WithTimeout(askSupervisor))
		if err != nil {
			inv.silent = append(inv.silent, name)
			continue
		}
		rows[name].Strategy = children.Strategy
		for place, c := range children.Children {
			row := rows[c.Name]
			if row == nil {
				row = &ServerInfo{Name: c.Name, Node: n.cfg.Name, Kind: "server", Type: c.Runs, Generation: c.Generation}
				if c.Type == "supervisor" {
					row.Kind = "supervisor"
				}
				rows[c.Name] = row
			}
			above[c.Name] = name
			row.Place, row.State, row.Scope, row.Restart = place, c.Status, c.Scope, c.Restart
			row.Restarts, row.LastReason = c.Restarts, shortened(c.LastReason)
		}
	}
	n.placed.addUnplaced(ctx, func(row *ServerInfo) {
		if rows[row.Name] == nil {
			rows[row.Name], above[row.Name] = row, rootName
		}
	})
	for name, row := range rows {
		row.Supervisor = pathOf(above[name], above)
		row.Path = joined(row.Supervisor, name)
		inv.rows = append(inv.rows, *row)
	}
	slices.SortFunc(inv.rows, func(a, b ServerInfo) int { return cmp.Compare(a.Path, b.Path) })
	return inv
}

// addUnplaced adds the cluster's children that no node runs, if this one leads.
func (p *placed) addUnplaced(ctx context.Context, add func(*ServerInfo)) {
	if p == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askSupervisor)
	defer cancel()
	all, _ := p.lead.Children(ctx) // of one that does not lead, none
	for place, c := range all {
		if c.On != "" || c.Listed {
			continue
		}
		row := &ServerInfo{
			Name: c.Name, Place: place, Kind: "server", Type: c.Type, Scope: supervisor.Cluster.String(), Restart: c.Restart.String(),
			State: c.State, LastReason: shortened(cmp.Or(c.Why, c.Reason)),
		}
		if c.Type == supervisor.TypeName {
			row.Kind, row.Scope = "supervisor", supervisor.Local.String()
		}
		add(row)
	}
}

// pathOf joins the names from the root down to name.
func pathOf(name string, above map[string]string) string {
	path := name
	// The table changes meanwhile; no tree is as deep as this.
	for up, depth := above[name], 0; up != "" && depth < 100; up, depth = above[up], depth+1 {
		path = joined(up, path)
	}
	return path
}

func joined(above, name string) string {
	if above == "" {
		return name
	}
	return above + "/" + name
}

func shortened(reason string) string {
	if len(reason) <= longestReason {
		return reason
	}
	return strings.ToValidUTF8(reason[:longestReason], "") + "…"
}

// find is the row of that name.
func (inv inventory) find(name string) (ServerInfo, bool) {
	i := slices.IndexFunc(inv.rows, func(row ServerInfo) bool { return row.Name == name })
	if i < 0 {
		return ServerInfo{}, false
	}
	return inv.rows[i], true
}

// isDynamic reports whether a supervisor keeps no child that has ended.
func (inv inventory) isDynamic(path string) bool {
	return slices.ContainsFunc(inv.rows, func(row ServerInfo) bool { return row.Path == path && row.Strategy == "dynamic" })
}
