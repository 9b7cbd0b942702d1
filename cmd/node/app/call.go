package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/civitas-go/civitas/transport"
)

func callCommand(_ Options, s Streams) *cobra.Command {
	c := &client{}
	return c.command(s, &cobra.Command{
		Use:     "call NAME JSON",
		Short:   "Call a cluster-wide server and print its reply",
		Long:    "Call a cluster-wide server and print its reply as one line of JSON.",
		Example: `  civitas call rate_limiter '{"type":"acquire"}'`,
	}, func(ctx context.Context, conn *transport.NATS, m message) error { return c.call(ctx, s, conn, m) })
}

func (c *client) call(ctx context.Context, s Streams, conn *transport.NATS, m message) error {
	reply, err := conn.Request(ctx, transport.Msg{
		Subject: m.subject,
		Header:  transport.Header{transport.HeaderTimeout: {c.nats.timeout.String()}},
		Data:    m.payload,
	})
	switch {
	case errors.Is(err, transport.ErrNoResponders):
		return c.unknown(m.server)
	case errors.Is(err, context.DeadlineExceeded):
		return coded(exitUnreachable, fmt.Errorf("%s did not reply within %v", m.server, c.nats.timeout))
	case err != nil:
		return err
	}
	if err := transport.PublicError(reply); err != nil {
		return err
	}
	return printReply(s.Out, reply.Data)
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
