package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/transport"
)

func callCommand(_ Options, s Streams) *cobra.Command {
	c := &client{}
	return c.command(s, &cobra.Command{
		Use:     "call NAME JSON",
		Short:   "Call a cluster-wide server and print its reply",
		Long:    "Call a cluster-wide server and print its reply as one line of JSON.",
		Example: `  civitas call rate_limiter '{"type":"acquire"}'`,
	}, func(_ context.Context, conn *transport.NATS, m message) (func(context.Context) ([]byte, error), error) {
		return func(ctx context.Context) ([]byte, error) { return c.call(ctx, conn, m) }, nil
	})
}

// ownerPause is between two attempts at a name whose owner does not take its calls.
const ownerPause = 100 * time.Millisecond

// call waits for a name that nobody takes calls for, if it's on record: its owner will
// serve it again, or the next one will.
func (c *client) call(ctx context.Context, conn *transport.NATS, m message) ([]byte, error) {
	for {
		reply, err := conn.Request(ctx, transport.Msg{
			Subject: m.subject,
			Header:  transport.Header{transport.HeaderTimeout: {c.nats.timeout.String()}},
			Data:    m.payload,
		})
		switch {
		case errors.Is(err, transport.ErrNoResponders):
			if err := c.awaitOwner(ctx, conn, m.server); err != nil {
				return nil, err
			}
			continue
		case errors.Is(err, context.DeadlineExceeded):
			return nil, coded(exitUnreachable, fmt.Errorf("%s did not reply within %v; --timeout gives it longer", m.server, c.nats.timeout))
		case err != nil:
			return nil, err
		}
		return reply.Data, transport.PublicError(reply)
	}
}

// awaitOwner returns nil when it's time for another attempt at a name on record.
func (c *client) awaitOwner(ctx context.Context, conn *transport.NATS, server string) error {
	owner, err := cluster.ReadOwner(ctx, conn, c.cluster, server)
	if errors.Is(err, cluster.ErrNotFound) {
		return c.unknown(server)
	}
	select {
	case <-time.After(ownerPause):
		return nil
	case <-ctx.Done():
	}
	switch {
	case !errors.Is(ctx.Err(), context.DeadlineExceeded):
		return ctx.Err()
	case err != nil:
		return coded(exitUnreachable, fmt.Errorf("nobody takes the calls for %s, and whether there is such a server is not known: %w", server, err))
	default:
		return coded(exitUnreachable, fmt.Errorf("nobody takes the calls for %s, which is node %s's (incarnation %s): that has crashed, or is cut off, "+
			"and none has taken the name over within %v; the call was not delivered", server, owner.Node, owner.Incarnation, c.nats.timeout))
	}
}

// printReply writes a reply as one line.
func printReply(w io.Writer, reply []byte) error {
	var line bytes.Buffer
	if err := json.Compact(&line, reply); err != nil {
		return fmt.Errorf("the reply is not JSON: %w", err)
	}
	line.WriteByte('\n')
	_, err := w.Write(line.Bytes())
	return err
}
