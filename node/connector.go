package node

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/transport"
)

// Connector brings a node to its NATS. [NATS] and [URL] are some,
// embedded.Server and [Memory] are others.
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
	// EmbeddedServer is the id of the NATS server that Connect started in this
	// process, if that server alone has the cluster's records; see the same in
	// cluster.NodeInfo. Empty for none.
	EmbeddedServer string
	// Links brings fast death; see the same in cluster.NodeInfo. Nil for none.
	Links cluster.Links
	// Events keeps what happens in the cluster. Nil for nobody does.
	Events *cluster.EventLog
	// Close ends all that Connect began, Conn and Store included.
	Close func(ctx context.Context) error
}

// NATS is the [Connector] to servers that run elsewhere, with what they ask
// for. The servers must have JetStream enabled, which holds the records of names.
//
//	node.NATS{URL: "tls://nats.example.com", Auth: transport.Auth{Creds: "n1.creds", TLSCA: "ca.pem"}}
type NATS struct {
	// URL is one server's address, or several with commas between them.
	// Default nats://127.0.0.1:4222.
	URL string
	// Auth has the credentials and the TLS files. Default none.
	Auth transport.Auth
	// DialTimeout is how long one server may take to answer. Default 2s.
	DialTimeout time.Duration
	// Replicas is how many servers keep the cluster's records, if this node is
	// the first: see cluster.JetStreamOptions. Default 3 in a cluster of NATS servers,
	// else 1.
	Replicas int
}

var _ Connector = NATS{}

// lastEvents is how long the end of a Link waits for events to be kept.
const lastEvents = time.Second

// URL is [NATS] with nothing but a URL.
func URL(url string) Connector { return NATS{URL: url} }

// Connect implements [Connector]. It tries each address once; the error is a
// transport.ErrNotConnected that says what to check.
func (c NATS) Connect(ctx context.Context, o LinkOptions) (*Link, error) {
	return dial(ctx, o, transport.NATSOptions{URL: c.URL, Auth: c.Auth, DialTimeout: c.DialTimeout}, c.Replicas)
}

// Dial makes a Link of a NATS connection: for Connectors that know better than
// [NATS] how to connect.
func Dial(ctx context.Context, o LinkOptions, nats transport.NATSOptions) (*Link, error) {
	return dial(ctx, o, nats, 0)
}

func dial(ctx context.Context, o LinkOptions, nats transport.NATSOptions, replicas int) (*Link, error) {
	nats.Name = "civitas " + o.Cluster + "/" + o.Node
	nats.Logger = o.Logger
	conn, err := transport.DialNATS(ctx, nats)
	if err != nil {
		return nil, err
	}
	link, err := open(ctx, o, conn, replicas)
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		return nil, errors.Join(err, conn.Close(ctx))
	}
	return link, nil
}

// open makes a Link of a connection, which stays the caller's if that fails.
func open(ctx context.Context, o LinkOptions, conn *transport.NATS, replicas int) (*Link, error) {
	links, err := cluster.NATSLinks(conn, o.Cluster)
	if err != nil {
		return nil, err
	}
	store, err := cluster.OpenJetStream(ctx, conn, o.Cluster, cluster.JetStreamOptions{Replicas: replicas})
	if err != nil {
		return nil, err
	}
	events, err := cluster.OpenEventLog(conn, o.Cluster, o.Logger)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return &Link{
		Conn:   conn,
		Store:  store,
		Links:  links,
		URL:    conn.Conn().ConnectedUrlRedacted(),
		Events: events,
		Close: func(ctx context.Context) error {
			last, cancel := context.WithTimeout(ctx, lastEvents)
			defer cancel()
			return errors.Join(events.Close(last), store.Close(), conn.Close(ctx))
		},
	}, nil
}
