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

// client is a plain NATS client of a cluster: what call and cast are.
type client struct {
	server, cluster string
	timeout         time.Duration
	auth            authFlags
	flags           *pflag.FlagSet
}

func (c *client) register(fs *pflag.FlagSet) {
	fs.StringVarP(&c.server, "server", "s", "", "the URL of NATS (default $NATS_URL, else nats://"+defaultListen+")")
	fs.StringVar(&c.cluster, "cluster", node.DefaultCluster, "the cluster")
	fs.DurationVar(&c.timeout, "timeout", genserver.DefaultTimeout, "how long to wait, as 500ms or 10s (default $NATS_TIMEOUT, else 5s)")
	fs.Lookup("timeout").DefValue = "" // the text above has it
	c.auth.register(fs)
	c.flags = fs
}

// command is a subcommand that sends one message, and leaves it to send what to
// do once there is a connection. The context ends with --timeout.
func (c *client) command(s Streams, cmd *cobra.Command, send func(context.Context, *transport.NATS, message) error) *cobra.Command {
	cmd.Args = cobra.ExactArgs(2)
	cmd.Long = cmd.Long + "\nJSON is the payload, an object; - reads it from stdin."
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		m, err := c.read(s, args)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), c.timeout)
		defer cancel()
		conn, err := c.connect(ctx, m.nats)
		if err != nil {
			return err
		}
		defer conn.Close(ctx) //nolint:errcheck // send has waited for what must not be lost
		return send(ctx, conn, m)
	}
	c.register(cmd.Flags())
	return cmd
}

func (c *client) unknown(server string) error {
	return coded(exitNoProcess, fmt.Errorf("no process %q in cluster %s", server, c.cluster))
}

// message is what to send where, from the arguments, flags and environment.
type message struct {
	nats    string
	server  string
	subject string
	payload []byte
}

// read checks the arguments; a payload of - is read from stdin.
func (c *client) read(s Streams, args []string) (message, error) {
	subjects, err := transport.NewSubjects(c.cluster)
	if err != nil {
		return message{}, usage(fmt.Errorf("--cluster: %w", err))
	}
	if err := name.Check(args[0]); err != nil {
		return message{}, usage(err)
	}
	if err := timeoutFlag(s, c.flags, &c.timeout); err != nil {
		return message{}, usage(err)
	}
	url, err := c.url(s)
	if err != nil {
		return message{}, usage(err)
	}
	if err := c.auth.fill(s, url, c.server != ""); err != nil {
		return message{}, usage(err)
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
	return message{nats: url, server: args[0], subject: subjects.Public(args[0]), payload: payload}, nil
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

// url is where NATS is, by the flag, the environment or the default.
func (c *client) url(s Streams) (string, error) {
	switch env := s.Getenv("NATS_URL"); {
	case c.server != "":
		return c.server, checkURL("--server", c.server)
	case env != "":
		return env, checkURL("NATS_URL", env)
	default:
		return "nats://" + defaultListen, nil
	}
}

// connect dials NATS for as long as ctx allows.
func (c *client) connect(ctx context.Context, url string) (*transport.NATS, error) {
	conn, err := transport.DialNATS(ctx, transport.NATSOptions{URL: url, Auth: c.auth.Auth, Name: "civitas client"})
	if err != nil {
		return nil, hint(err)
	}
	return conn, nil
}
