package transport

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
)

// Server is the address of a NATS server that a [NATS] knows. Two are equal if
// they are the same address with the same credentials in it.
type Server struct{ at natsServer }

// String is the address without a password in it.
func (s Server) String() string { return s.at.String() }

// Servers are the addresses that this connection was given and those that its
// server has told it of, each server's own included; one server may have several.
// The last is the address of the newest connection.
func (c *NATS) Servers() []Server {
	c.mu.Lock()
	newest := c.newest
	c.mu.Unlock()
	var all []Server
	for _, s := range c.servers(newest) {
		all = append(all, Server{s})
	}
	return all
}

// Lost is closed when the newest connection is of no more use, and stays so
// until there is another, which has another channel.
func (c *NATS) Lost() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.newest.ctx.Done()
}

// DialApart makes a connection of the caller's own to exactly one server, with
// this one's credentials; its name is this one's and what it is for. It is never
// dialled anew, and this one's callbacks hear nothing of it. opts are for all but
// that. The errors are those of [DialNATS]; ctx bounds the dialling alone.
func (c *NATS) DialApart(ctx context.Context, to Server, what string, opts ...nats.Option) (*nats.Conn, error) {
	socket := newDialer(ctx, c.opts.DialTimeout)
	socket.plain = true
	nc, err := c.dialApart(to.at, socket, what, opts)
	if dial := socket.connected(); err != nil {
		err = explain(ctx, err, dial)
		return nil, fmt.Errorf("%w: NATS %s: %w", ErrNotConnected, to, c.opts.Auth.refusal(err, to.at.url))
	}
	return nc, nil
}

func (c *NATS) dialApart(to natsServer, socket *dialer, what string, opts []nats.Option) (*nats.Conn, error) {
	o, err := c.dialOptions(to, socket)
	if err != nil {
		return nil, err
	}
	o.Name += " " + what
	// Whoever dials asks the server what it wants to know.
	o.AsyncErrorCB = func(*nats.Conn, *nats.Subscription, error) {}
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	o.AllowReconnect = false
	o.RetryOnFailedConnect = false
	o.IgnoreDiscoveredServers = true
	return o.Connect()
}
