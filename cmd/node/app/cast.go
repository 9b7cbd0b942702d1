package app

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/transport"
)

func castCommand(_ Options, s Streams) *cobra.Command {
	c := &client{}
	return c.command(s, &cobra.Command{
		Use:     "cast NAME JSON",
		Short:   "Send a cluster-wide server a message that has no answer",
		Long:    "Send a cluster-wide server a message that has no answer. That it was sent\ndoes not say that it was handled.",
		Example: `  civitas cast rate_limiter '{"type":"reset"}'`,
	}, c.cast)
}

func (c *client) cast(ctx context.Context, conn *transport.NATS, m message) (func(context.Context) ([]byte, error), error) {
	// NATS does not tell whether anybody listens; the records do.
	_, err := cluster.ReadOwner(ctx, conn, c.cluster, m.server)
	switch {
	case errors.Is(err, cluster.ErrNotFound):
		return nil, c.unknown(m.server)
	case err != nil:
		return nil, err
	}
	return func(context.Context) ([]byte, error) {
		return nil, conn.Publish(transport.Msg{Subject: m.subject, Data: m.payload})
	}, nil
}
