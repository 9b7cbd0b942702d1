package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/internal/name"
	"github.com/civitas-go/civitas/transport"
)

func callCommand(_ Options, s Streams) *cobra.Command {
	c := &client{}
	var on string
	cmd := c.command(s, &cobra.Command{
		Use:   "call NAME JSON",
		Short: "Call a server and print its reply",
		Long: `Call a cluster-wide server, or with --node any server of that node, and print its
reply as one line of JSON. If a cluster-wide server's node has died, the call
waits for whoever takes the name over.`,
		Example: `  civitas call rate_limiter '{"type":"acquire"}'
  civitas call --node n1 cache.local '{"op":"get","key":"k"}'`,
	}, func(ctx context.Context, conn *transport.NATS, m message) (func(context.Context) ([]byte, error), error) {
		if on == "" {
			return func(ctx context.Context) ([]byte, error) { return c.call(ctx, conn, m) }, nil
		}
		if err := name.CheckToken("node", on); err != nil {
			return nil, usage(fmt.Errorf("--node: %w", err))
		}
		v := &view{cluster: c.cluster, conn: conn, subjects: m.subjects, timeout: c.nats.timeout}
		if err := v.find(ctx, on); err != nil {
			return nil, err
		}
		to := v.nodes[0]
		return func(ctx context.Context) ([]byte, error) {
			return v.request(ctx, to, v.subjects.Direct(to.Incarnation, m.server), m.payload)
		}, nil
	})
	cmd.Flags().StringVar(&on, "node", "", "the server of this node, whose name may be node-local (default whoever owns the name)")
	return cmd
}

// call waits for a name that nobody takes calls for, if it's on record: its owner will
// serve it again, or the next one will.
func (c *client) call(ctx context.Context, conn *transport.NATS, m message) ([]byte, error) {
	owner := &ownerWait{server: m.server, timeout: c.nats.timeout, read: func(ctx context.Context) (cluster.Ownership, error) {
		return cluster.ReadOwner(ctx, conn, c.cluster, m.server)
	}}
	for {
		reply, err := conn.Request(ctx, transport.Msg{
			Subject: m.subject,
			Header:  transport.Header{transport.HeaderTimeout: {c.nats.timeout.String()}},
			Data:    m.payload,
		})
		switch {
		case errors.Is(err, transport.ErrNoResponders):
			switch err := owner.wait(ctx); {
			case errors.Is(err, cluster.ErrNotFound):
				return nil, c.unknown(m.server)
			case err != nil:
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
