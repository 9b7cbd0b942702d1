package app

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/name"
	"github.com/civitas-go/civitas/node"
)

func inspectCommand(_ Options, s Streams) *cobra.Command {
	var o operator
	cmd := &cobra.Command{
		Use:   "inspect NAME",
		Short: "Show all that is known of one server",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkTarget(args[0]); err != nil {
				return err
			}
			return o.do(cmd.Context(), s, func(ctx context.Context, v *view) error {
				_, info, err := v.locate(ctx, args[0])
				if err != nil {
					return err
				}
				return printOne(s.Out, o.output, info, func(w io.Writer) error { return inspectTable(w, info) })
			})
		},
	}
	o.register(s, cmd)
	cmd.ValidArgsFunction = o.completeNames(s)
	return cmd
}

// checkTarget refuses what is the name of neither a user's server nor of one of
// the runtime's.
func checkTarget(server string) error {
	if err := name.Check(server); err != nil && !name.Runtime(server) {
		return usage(err)
	}
	return nil
}

func inspectTable(w io.Writer, i node.ServerInfo) error {
	t := table{}
	add := func(key, value string) {
		if value != "" {
			t.add(key, value)
		}
	}
	add("name", i.Name)
	add("node", i.Node)
	add("kind", i.Kind)
	add("type", i.Type)
	add("strategy", i.Strategy)
	add("supervisor", i.Supervisor)
	add("scope", i.Scope)
	add("restart", i.Restart)
	add("state", i.State)
	add("handling", i.Handling)
	add("generation", number(i.Generation))
	add("up", age(i.Uptime))
	add("restarts", number(i.Restarts))
	add("last reason", i.LastReason)
	add("mailbox", strconv.Itoa(i.Mailbox))
	add("calls", strconv.Itoa(i.InFlight)+" not answered yet")
	add("handled", number(i.Handled))
	if i.Epoch > 0 {
		add("epoch", number(i.Epoch))
	}
	return t.write(w)
}

func stopCommand(_ Options, s Streams) *cobra.Command {
	return orderCommand(s, &cobra.Command{
		Use:   "stop NAME",
		Short: "Stop a server, and leave it stopped",
		Long: `Stop a server in order: the handler that runs ends, and terminate runs. It stays
stopped, whatever its restart type says, until it is restarted by the command
or with its supervisor. A temporary server, or one of a dynamic supervisor, is
forgotten.`,
	}, func(server string) genserver.Message { return node.StopServer{Name: server} }, func(w io.Writer, i node.ServerInfo) error {
		_, err := fmt.Fprintf(w, "%s on %s is stopped\n", i.Name, i.Node)
		return err
	})
}

func restartCommand(_ Options, s Streams) *cobra.Command {
	return orderCommand(s, &cobra.Command{
		Use:   "restart NAME",
		Short: "Start a server anew",
		Long: `Stop a server in order, if it runs, and start it anew from its config. That
costs nothing of its supervisor's restart limit.`,
	}, func(server string) genserver.Message { return node.RestartServer{Name: server} }, func(w io.Writer, i node.ServerInfo) error {
		text := i.Name
		if i.Node != "" {
			text += " on " + i.Node
		}
		text += " is " + i.State
		if i.Generation > 0 { // a child of the cluster's tree may have gone elsewhere
			text += fmt.Sprintf(", generation %d", i.Generation)
		}
		_, err := fmt.Fprintln(w, text)
		return err
	})
}

// orderCommand has a node do something to one server.
func orderCommand(s Streams, cmd *cobra.Command, order func(server string) genserver.Message, done func(io.Writer, node.ServerInfo) error) *cobra.Command {
	var o operator
	cmd.Args = arguments
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkTarget(args[0]); err != nil {
			return err
		}
		return o.do(cmd.Context(), s, func(ctx context.Context, v *view) error {
			on, _, err := v.locate(ctx, args[0])
			if err != nil {
				return err
			}
			var info node.ServerInfo
			if err := v.ask(ctx, on, order(args[0]), &info); err != nil {
				return explainOrder(args[0], err)
			}
			return printOne(s.Out, o.output, info, func(w io.Writer) error { return done(w, info) })
		})
	}
	o.register(s, cmd)
	cmd.ValidArgsFunction = o.completeNames(s)
	return cmd
}
