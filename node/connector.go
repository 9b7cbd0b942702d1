package node

import (
	"context"
	"errors"
	"log/slog"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/transport"
)

// Connector brings a node to its NATS. [URL] is one, embedded.Server and
// [Memory] are others.
type Connector interface {
	// Connect is called once, by Start.
	Connect(ctx context.Context, o LinkOptions) (*Link, error)
}

// LinkOptions say who connects.
type LinkOptions struct {
	Node    string
	Cluster string
	Logger  *slog.Logger
}

// Link is a node's connection to its NATS.
type Link struct {
	// Conn carries the messages.
	Conn transport.Conn
	// Store has the cluster's records.
	Store cluster.Store
	// URL is where clients find this NATS, for people to read, without a
	// password in it; "" for nowhere.
	URL string
	// Close ends all that Connect began, Conn and Store included.
	Close func(ctx context.Context) error
}

// URL connects to the NATS server at a URL, or at one of several with commas
// between them. The servers must have JetStream enabled, which holds the
// records of names.
func URL(url string) Connector { return urlConnector(url) }

type urlConnector string

func (u urlConnector) Connect(ctx context.Context, o LinkOptions) (*Link, error) {
	return Dial(ctx, o, transport.NATSOptions{URL: string(u)})
}

// Dial makes a Link of a NATS connection: for Connectors that know better than
// [URL] how to connect.
func Dial(ctx context.Context, o LinkOptions, nats transport.NATSOptions) (*Link, error) {
	nats.Name = "civitas " + o.Cluster + "/" + o.Node
	nats.Logger = o.Logger
	conn, err := transport.DialNATS(ctx, nats)
	if err != nil {
		return nil, err
	}
	store, err := cluster.OpenJetStream(ctx, conn.Conn(), o.Cluster, cluster.JetStreamOptions{})
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		return nil, errors.Join(err, conn.Close(ctx))
	}
	return &Link{
		Conn:  conn,
		Store: store,
		URL:   conn.Conn().ConnectedUrlRedacted(),
		Close: func(ctx context.Context) error { return errors.Join(store.Close(), conn.Close(ctx)) },
	}, nil
}
