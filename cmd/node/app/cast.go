package app

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/transport"
)

func castCommand(_ Options, s Streams) *cobra.Command {
	var c client
	cmd := &cobra.Command{
		Use:     "cast NAME JSON",
		Short:   "Send a cluster-wide server a message that has no answer",
		Long:    "Send a cluster-wide server a message that has no answer. That it was sent\ndoes not say that it was handled.\nJSON is the payload, an object; - reads it from stdin.",
		Example: `  civitas cast rate_limiter '{"type":"reset"}'`,
		Args:    cobra.ExactArgs(2),
		RunE:    func(cmd *cobra.Command, args []string) error { return c.cast(cmd.Context(), s, args) },
	}
	c.register(cmd.Flags())
	return cmd
}

func (c *client) cast(ctx context.Context, s Streams, args []string) error {
	m, err := c.read(s, args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	conn, err := c.connect(ctx, m.nats)
	if err != nil {
		return err
	}
	defer conn.Close(ctx) //nolint:errcheck // the flush below has sent everything

	// NATS does not tell whether anybody listens; the records do.
	_, err = cluster.ReadOwner(ctx, conn.Conn(), c.cluster, m.server)
	switch {
	case errors.Is(err, cluster.ErrNotFound):
		return c.unknown(m.server)
	case err != nil:
		return err
	}
	if err := conn.Publish(transport.Msg{Subject: m.subject, Data: m.payload}); err != nil {
		return err
	}
	return conn.Flush(ctx)
}
