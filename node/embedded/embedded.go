// Package embedded is a NATS server with JetStream inside the node: no other
// process is needed for a node on its own, and other nodes and plain NATS
// clients can still connect to it.
//
//	n, err := node.Start(ctx, node.Config{NATS: embedded.Server{Listen: "127.0.0.1:4222"}, …})
//
// It is the one library package that links nats-server, which more than
// doubles a binary's size.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/civitas-go/civitas/internal/natsserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/transport"
)

// Server is a [node.Connector] that starts a NATS server with JetStream for
// the node, and ends it with the node. The node itself reaches it in process.
type Server struct {
	// Listen is the address for other clients, as "127.0.0.1:4222"; port 0
	// takes a free one. Default "127.0.0.1:0".
	Listen string
	// StoreDir keeps JetStream's files, and with them the cluster's records,
	// over restarts. It belongs to this server alone: a second one is refused.
	// Do not start one on a copy while the first runs. Default a temporary
	// folder that is removed at the end.
	StoreDir string
	// SyncAlways has every write to the records reach the disk before it is
	// acknowledged: slower, and safe from a power failure. Default false:
	// nats-server flushes every two minutes.
	SyncAlways bool
}

var _ node.Connector = Server{}

// Connect starts the server and connects the node to it.
func (s Server) Connect(ctx context.Context, o node.LinkOptions) (*node.Link, error) {
	subjects, err := transport.NewSubjects(o.Cluster)
	if err != nil {
		return nil, fmt.Errorf("embedded NATS: %w", err)
	}
	opts := natsserver.Options{
		ServerName:       o.Node,
		JetStream:        true,
		StoreDir:         s.StoreDir,
		SyncAlways:       s.SyncAlways,
		DisconnectEvents: subjects.Disconnects(),
		Logger:           o.Logger,
	}
	if s.Listen != "" {
		host, port, err := net.SplitHostPort(s.Listen)
		if err != nil {
			return nil, fmt.Errorf("embedded NATS: listen address %q: want host:port, as in 127.0.0.1:4222", s.Listen)
		}
		opts.Host = host
		if opts.Port, err = strconv.Atoi(port); err != nil {
			return nil, fmt.Errorf("embedded NATS: listen address %q: port %q is not a number", s.Listen, port)
		}
	}
	server, err := natsserver.Start(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("embedded NATS: %w", err)
	}
	link, err := node.Dial(ctx, o, transport.NATSOptions{InProcess: server})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("embedded NATS: %w", err), server.Shutdown(context.WithoutCancel(ctx)))
	}
	link.URL = server.ClientURL()
	if server.Exclusive() {
		link.EmbeddedServer = server.ID()
	}
	disconnect := link.Close
	link.Close = func(ctx context.Context) error { return errors.Join(disconnect(ctx), server.Shutdown(ctx)) }
	return link, nil
}
