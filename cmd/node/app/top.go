package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"

	"github.com/civitas-go/civitas/node"
)

func topCommand(_ Options, s Streams) *cobra.Command {
	var o operator
	var interval time.Duration
	by := topKey{"rate"}
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch the servers of all nodes at work",
		Long: `Watch the servers of all nodes at work: what is busiest comes first, or what the
key of another column chooses. / finds servers by a part of their names.

With -o json it prints one observation, of one interval, and with -o jsonl one
a line until it is interrupted.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if interval < 100*time.Millisecond {
				return usage(fmt.Errorf("--interval %v: want 100ms or more", interval))
			}
			if o.output == outputTable && terminalWidth(s.Out) == 0 {
				return usage(errors.New("top needs a terminal; -o jsonl prints what it would show, and ps lists once"))
			}
			return o.open(cmd.Context(), s, func(v *view) error {
				w := &watcher{operator: &o, view: v, interval: interval}
				if o.output != outputTable {
					return w.print(cmd.Context(), s, o.output, by.sortKey)
				}
				return w.show(cmd.Context(), s, by.sortKey)
			})
		},
	}
	o.register(s, cmd)
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "between observations")
	cmd.Flags().Var(&by, "sort", "by rate, "+strings.Join(sortKeys(), ", "))
	return cmd
}

// observation is what top shows at one time; its JSON is a contract.
type observation struct {
	Time    time.Time   `json:"time"`
	Nodes   int         `json:"nodes"`
	Servers []serverRow `json:"servers"`
	// Warnings are what the nodes did not tell, and why.
	Warnings []string `json:"warnings,omitempty"`
	err      error
}

// serverRow is a server and how fast it works.
type serverRow struct {
	node.ServerInfo
	// Rate is how many messages it handled in a second of the last interval.
	Rate float64 `json:"rate"`
}

// watcher observes again and again.
type watcher struct {
	operator *operator
	view     *view
	interval time.Duration

	last map[generation]uint64 // what had been handled
	at   time.Time
}

type generation struct {
	node, name string
	number     uint64
}

// observe asks all nodes; the set of nodes is read again each time.
func (w *watcher) observe(ctx context.Context) observation {
	ctx, cancel := context.WithTimeout(ctx, w.view.timeout)
	defer cancel()
	var o observation
	v := *w.view
	warnings := make(chan string, 1000)
	v.warn = func(format string, args ...any) {
		select {
		case warnings <- fmt.Sprintf(format, args...):
		default:
		}
	}
	var servers []node.ServerInfo
	if o.err = v.find(ctx, w.operator.node); o.err == nil {
		servers, o.err = v.servers(ctx)
	}
	close(warnings)
	for text := range warnings {
		o.Warnings = append(o.Warnings, text)
	}
	slices.Sort(o.Warnings)
	o.Time, o.Nodes = time.Now(), len(v.nodes)
	o.Servers = w.rated(servers, o.Time)
	return o
}

// rated compares with the observation before.
func (w *watcher) rated(servers []node.ServerInfo, now time.Time) []serverRow {
	rows := make([]serverRow, 0, len(servers))
	handled := make(map[generation]uint64, len(servers))
	for _, i := range servers {
		if i.Kind != "server" {
			continue
		}
		g := generation{i.Node, i.Name, i.Generation}
		handled[g] = i.Handled
		row := serverRow{ServerInfo: i}
		switch before, ok := w.last[g]; {
		case w.last == nil:
		case ok:
			row.Rate = float64(i.Handled-before) / now.Sub(w.at).Seconds()
		case i.Uptime > 0:
			row.Rate = float64(i.Handled) / min(i.Uptime, now.Sub(w.at).Seconds())
		}
		rows = append(rows, row)
	}
	w.last, w.at = handled, now
	return rows
}

// print is top for programs.
func (w *watcher) print(ctx context.Context, s Streams, format output, by sortKey) error {
	if o := w.observe(ctx); o.err != nil {
		return o.err
	}
	tick := time.NewTicker(w.interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		o := w.observe(ctx)
		if o.err != nil {
			return o.err
		}
		by.sortRows(o.Servers)
		if err := json.NewEncoder(s.Out).Encode(o); err != nil || format == outputJSON {
			return err
		}
	}
}

// show is top for people.
func (w *watcher) show(ctx context.Context, s Streams, by sortKey) error {
	options := []tea.ProgramOption{tea.WithContext(ctx), tea.WithOutput(s.Out), tea.WithoutSignalHandler()}
	if in, ok := s.In.(*os.File); ok {
		options = append(options, tea.WithInput(in))
	}
	m, err := tea.NewProgram(newTopModel(ctx, w, by), options...).Run()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return err
	}
	return m.(*topModel).failed
}

// topKey is top's --sort flag, which can be by rate too.
type topKey struct{ sortKey }

// Set refuses what nothing is sorted by.
func (k *topKey) Set(s string) error {
	if s == "rate" {
		k.sortKey = "rate"
		return nil
	}
	return k.sortKey.Set(s)
}
