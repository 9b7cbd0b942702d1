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
	}, func(_ context.Context, conn *transport.NATS, m message) (func(context.Context) ([]byte, error), error) {
		return func(ctx context.Context) ([]byte, error) { return c.call(ctx, conn, m) }, nil
	})
}

func (c *client) call(ctx context.Context, conn *transport.NATS, m message) ([]byte, error) {
	reply, err := conn.Request(ctx, transport.Msg{
		Subject: m.subject,
		Header:  transport.Header{transport.HeaderTimeout: {c.nats.timeout.String()}},
		Data:    m.payload,
	})
	switch {
	case errors.Is(err, transport.ErrNoResponders):
		return nil, c.unknown(m.server)
	case errors.Is(err, context.DeadlineExceeded):
		return nil, coded(exitUnreachable, fmt.Errorf("%s did not reply within %v; --timeout gives it longer", m.server, c.nats.timeout))
	case err != nil:
		return nil, err
	}
	return reply.Data, transport.PublicError(reply)
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
