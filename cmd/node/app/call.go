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
	var c client
	cmd := &cobra.Command{
		Use:     "call NAME JSON",
		Short:   "Call a cluster-wide server and print its reply",
		Long:    "Call a cluster-wide server and print its reply as one line of JSON.\nJSON is the payload, an object; - reads it from stdin.",
		Example: `  civitas call rate_limiter '{"type":"acquire"}'`,
		Args:    cobra.ExactArgs(2),
		RunE:    func(cmd *cobra.Command, args []string) error { return c.call(cmd.Context(), s, args) },
	}
	c.register(cmd.Flags())
	return cmd
}

func (c *client) call(ctx context.Context, s Streams, args []string) error {
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
	defer conn.Close(ctx) //nolint:errcheck // nothing is left to be lost

	reply, err := conn.Request(ctx, transport.Msg{
		Subject: m.subject,
		Header:  transport.Header{transport.HeaderTimeout: {c.timeout.String()}},
		Data:    m.payload,
	})
	switch {
	case errors.Is(err, transport.ErrNoResponders):
		return c.unknown(m.server)
	case errors.Is(err, context.DeadlineExceeded):
		return coded(exitUnreachable, fmt.Errorf("%s did not reply within %v", m.server, c.timeout))
	case err != nil:
		return err
	}
	if err := transport.PublicError(reply); err != nil {
		return err
	}
	return printReply(s.Out, reply.Data)
}

func (c *client) unknown(server string) error {
	return coded(exitNoProcess, fmt.Errorf("no process %q in cluster %s", server, c.cluster))
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
