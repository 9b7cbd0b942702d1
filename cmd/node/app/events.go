package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/civitas-go/civitas/cluster"
)

func eventsCommand(_ Options, s Streams) *cobra.Command {
	var c client
	var o output
	var since time.Duration
	var follow bool
	cmd := &cobra.Command{
		Use:   "events",
		Short: "List what has happened in the cluster, or follow it",
		Long: `List what has happened in the cluster: nodes that joined, left, or were declared
dead, names that were taken over, nodes and servers that were fenced, servers
that were restarted, supervisors that gave up, and children that no node can run.
The last 10,000 of a week are kept.`,
		Example: "  civitas events --since 1h\n  civitas events --follow -o jsonl | jq -r 'select(.event == \"takeover\") | .server'",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if since < 0 {
				return usage(fmt.Errorf("--since: %v is negative", since))
			}
			if follow && o == outputJSON {
				return usage(errors.New("--follow: a JSON array has an end; use -o jsonl"))
			}
			return events(cmd.Context(), c, s, o, since, follow)
		},
	}
	c.register(cmd.Flags())
	o.register(cmd.Flags())
	cmd.Flags().DurationVar(&since, "since", 0, "only what is no older than this, as in 1h (default all that is kept)")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "wait for more, until interrupted")
	return cmd
}

func events(ctx context.Context, c client, s Streams, o output, since time.Duration, follow bool) error {
	t, err := c.target(s)
	if err != nil {
		return err
	}
	dial, cancel := context.WithTimeout(ctx, c.nats.timeout)
	defer cancel()
	conn, err := c.connect(dial, t)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.nats.timeout)
		defer cancel()
		_ = conn.Close(ctx) // nothing is on its way
	}()
	var from time.Time
	if since > 0 {
		from = time.Now().Add(-since)
	}
	var all []cluster.Event
	each := func(e cluster.Event) error {
		switch o {
		case outputTable:
			return eventLine(s.Out, e)
		case outputLines:
			return json.NewEncoder(s.Out).Encode(e)
		default:
			all = append(all, e)
			return nil
		}
	}
	if !follow {
		var done context.CancelFunc
		ctx, done = context.WithTimeout(ctx, c.nats.timeout)
		defer done()
	}
	switch err := cluster.ReadEvents(ctx, conn, c.cluster, from, follow, each); {
	case errors.Is(err, cluster.ErrNotFound):
		return coded(exitNoProcess, fmt.Errorf("nothing has happened yet in cluster %s; start a node by `run`, or name another cluster by --cluster", c.cluster))
	case err != nil:
		return err
	}
	if o == outputJSON {
		return printAll(s.Out, o, all, nil)
	}
	return nil
}

// eventLine is for people, who read line by line while they follow.
func eventLine(w io.Writer, e cluster.Event) error {
	what := []string{e.Node}
	if e.Server != "" {
		what = append(what, e.Server)
	}
	if e.Epoch > 0 {
		what = append(what, fmt.Sprintf("epoch %d", e.Epoch))
	}
	if e.Reason != "" {
		what = append(what, oneLine(e.Reason))
	}
	if e.TraceID != "" {
		what = append(what, "trace "+e.TraceID)
	}
	_, err := fmt.Fprintf(w, "%s  %-11s  %s\n", e.Time.Local().Format(time.DateTime), e.Kind, strings.Join(what, "  "))
	return err
}
