package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/name"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/transport"
)

// client is a plain NATS client of a cluster: what all commands but run are.
type client struct {
	cluster string
	nats    natsFlags
	source  natsSource // of a topology file, if there is one
}

func (c *client) register(fs *pflag.FlagSet) {
	c.registerFor(fs, genserver.DefaultTimeout, "how long to wait")
}

func (c *client) registerFor(fs *pflag.FlagSet, timeout time.Duration, what string) {
	fs.StringVar(&c.cluster, "cluster", node.DefaultCluster, "the cluster")
	c.nats.register(fs, "the URL of NATS (default $NATS_URL, else nats://"+defaultListen+")", timeout, what)
}

// target is the cluster, as the flags and the environment have it.
type target struct {
	nats     transport.NATSOptions
	subjects transport.Subjects
}

func (c *client) target(s Streams) (target, error) {
	subjects, err := transport.NewSubjects(c.cluster)
	if err != nil {
		return target{}, usage(fmt.Errorf("--cluster: %w", err))
	}
	o, err := c.nats.resolve(s, c.source)
	if err == nil && o.URL == embeddedNATS {
		err = fmt.Errorf("%q is a NATS within a node, which `run` alone has; name the URL that it prints", embeddedNATS)
	}
	if err != nil {
		return target{}, usage(err)
	}
	return target{nats: o, subjects: subjects}, nil
}

// connect dials NATS for as long as ctx allows.
func (c *client) connect(ctx context.Context, t target) (*transport.NATS, error) {
	named := t.nats.URL != ""
	if !named {
		t.nats.URL = "nats://" + defaultListen
	}
	t.nats.Name = "civitas client"
	conn, err := transport.DialNATS(ctx, t.nats)
	if err != nil {
		return nil, hint(err, named)
	}
	return conn, nil
}

// command is a subcommand that sends a message, once or --count times, and
// leaves it to sender to say how; a nil reply is none.
func (c *client) command(s Streams, cmd *cobra.Command, sender func(ctx context.Context, conn *transport.NATS, m message) (send func(context.Context) ([]byte, error), err error)) *cobra.Command {
	var l load
	cmd.Args = arguments
	cmd.Long = cmd.Long + "\nJSON is the payload, an object; - reads it from stdin."
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		m, err := c.read(s, args)
		if err != nil {
			return err
		}
		if err := l.check(); err != nil {
			return usage(err)
		}
		dial, cancel := context.WithTimeout(cmd.Context(), c.nats.timeout)
		defer cancel()
		conn, err := c.connect(dial, m.target)
		if err != nil {
			return err
		}
		defer conn.Close(dial) //nolint:errcheck // what must not be lost was waited for
		send, err := sender(dial, conn, m)
		if err != nil {
			return err
		}
		if l.count == 1 {
			reply, err := send(dial)
			switch {
			case err != nil:
				return err
			case reply == nil:
				return conn.Flush(dial)
			default:
				return printReply(s.Out, reply)
			}
		}
		err = l.run(cmd.Context(), s, func() error {
			ctx, cancel := context.WithTimeout(cmd.Context(), c.nats.timeout)
			defer cancel()
			_, err := send(ctx)
			return err
		})
		flush, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), c.nats.timeout)
		defer cancel()
		return errors.Join(err, conn.Flush(flush))
	}
	c.register(cmd.Flags())
	l.register(cmd)
	return cmd
}

func (c *client) unknown(server string) error {
	return coded(exitNoProcess, fmt.Errorf("no process %q in cluster %s; `ps` lists those that there are", server, c.cluster))
}

// message is what to send where, from the arguments, flags and environment.
type message struct {
	target
	server  string
	subject string
	payload []byte
}

// read checks the arguments; a payload of - is read from stdin.
func (c *client) read(s Streams, args []string) (message, error) {
	if err := name.Check(args[0]); err != nil {
		return message{}, usage(err)
	}
	t, err := c.target(s)
	if err != nil {
		return message{}, err
	}
	payload := []byte(args[1])
	if args[1] == "-" {
		if payload, err = io.ReadAll(s.In); err != nil {
			return message{}, fmt.Errorf("read the payload: %w", err)
		}
	}
	if err := checkObject(payload); err != nil {
		return message{}, usage(err)
	}
	return message{target: t, server: args[0], subject: t.subjects.Public(args[0]), payload: payload}, nil
}

func checkObject(payload []byte) error {
	var object map[string]json.RawMessage
	err := json.Unmarshal(payload, &object)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("the payload is not JSON: %w at byte %d", err, syntax.Offset)
	case err != nil || object == nil:
		return errors.New(`the payload is not a JSON object, such as {"type":"acquire"}`)
	default:
		return nil
	}
}

// pause waits d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
