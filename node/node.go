package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
	"github.com/civitas-go/civitas/transport"
)

// rootName is the process name of a node's own supervisor.
const rootName = "_root"

// cleanupTimeout bounds each step of what is done after a failed start or a
// stop, when the caller's context may have ended.
const cleanupTimeout = 5 * time.Second

// Node is a running node. Its methods may be called from anywhere.
//
//	Start ──> running ──Stop──> draining ──> stopped
//	             │                              ^
//	             ├─ the tree gave up ──> failed ┤ Stop
//	             └─ declared dead ─────> failed ┘
//
// A node that NATS has not heard of for so long that another node declared it dead
// ends its cluster-wide servers at once, as fenced, and then its tree. The same process
// can't come back from that: whatever started it starts it anew.
type Node struct {
	cfg  Config
	log  *slog.Logger
	sys  *genserver.System
	root *genserver.Process

	// Without NATS, what follows is nil.
	link     *Link
	registry *cluster.Registry
	router   *router
	service  *transport.Service
	placed   *placed

	unmeasure []func() error // end the metrics
	takeOvers atomic.Pointer[takeOvers]

	operators *transport.Service // what they ask
	direct    *transport.Service // what they send to servers

	started  chan struct{} // closed when root is set
	stopping atomic.Bool
	stopped  chan struct{}
	err      error // of the stop; set before stopped is closed
}

// Start connects a node, claims its name, and starts its tree; ctx bounds the
// start alone. When it returns, every server of this node has run its init, and
// cluster-wide ones can be called from everywhere; those that other nodes run, and
// those for which there is no node, are not waited for. If anything fails, nothing
// is left behind, but for the records of the children of the cluster's tree.
//
// genserver.ErrNameTaken: the node's name has a holder, whom the error names.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("node config: %w", err)
	}
	n := &Node{cfg: cfg, log: cfg.Logger, started: make(chan struct{}), stopped: make(chan struct{})}
	if err := n.start(ctx); err != nil {
		n.cleanUp()
		if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", err, cause)
		}
		return nil, fmt.Errorf("start node %s: %w", cfg.Name, err)
	}
	return n, nil
}

func (n *Node) start(ctx context.Context) error {
	sys := genserver.Config{Node: n.cfg.Name, Logger: n.log, TracerProvider: n.cfg.TracerProvider, MeterProvider: n.cfg.MeterProvider, Notices: n.noticed}
	if n.cfg.NATS == nil {
		n.sys = genserver.NewSystem(sys)
		if err := n.startAdmin(ctx); err != nil {
			return err
		}
		return n.startRoot(ctx, n.cfg.Tree)
	}
	var err error
	if n.link, err = n.cfg.NATS.Connect(ctx, LinkOptions{Node: n.cfg.Name, Cluster: n.cfg.Cluster, Logger: n.log}); err != nil {
		return err
	}
	if n.registry, err = cluster.Join(ctx, n.link.Store, cluster.NodeInfo{
		Node: n.cfg.Name, Release: n.cfg.Release, Logger: n.log, EmbeddedServer: n.link.EmbeddedServer, Links: n.link.Links, Timing: n.cfg.Timing,
		NameLost: func(server string, reason error) {
			n.happened(cluster.Event{Kind: cluster.EventFenced, Server: server, Reason: reason.Error()})
			n.router.nameLost(server, reason)
		},
		TookOver: n.tookOver, Died: n.died,
	}); err != nil {
		return err
	}
	subjects, err := transport.NewSubjects(n.cfg.Cluster)
	if err != nil {
		return err
	}
	n.router = &router{
		conn: n.link.Conn, registry: n.registry, subjects: subjects, log: n.log,
		claims: map[string]*claim{}, claiming: map[string]*claim{},
	}
	n.router.life, n.router.end = context.WithCancel(context.WithoutCancel(ctx))
	n.router.monitors.begin(n.registry.Follow)
	sys.Router, sys.Codec = n.router, transport.MsgPack
	n.sys = genserver.NewSystem(sys)
	n.router.sys = n.sys
	n.router.overloads = overloads{
		incarnation: n.registry.Incarnation(), resolve: n.registry.ResolveNode, publish: n.router.publishOverload, log: n.log,
	}
	n.router.overloads.start()
	n.registry.FollowAll(n.router.nodeEnded)
	if n.service, err = transport.ServeNode(n.link.Conn, subjects, n.registry.Incarnation(), n.log, n.router.deliver); err != nil {
		return err
	}
	if err := errors.Join(n.measure(), n.measureCluster()); err != nil {
		return err
	}
	if n.router.discovery, err = n.discover(subjects); err != nil {
		return err
	}
	n.placed = newPlaced(n)
	n.router.runs = n.placed.childOf
	n.placed.lead = n.registry.Coordinate(n.placed)
	if err := n.startAdmin(ctx); err != nil {
		return err
	}
	if n.router.begin() {
		go func() {
			defer n.router.wg.Done()
			n.watchSession()
		}()
	}
	// Unless the broker knows the subscriptions, the first who call are refused.
	if err := n.link.Conn.Flush(ctx); err != nil {
		return err
	}
	if err := n.startSpread(ctx); err != nil {
		return err
	}
	n.happened(cluster.Event{Kind: cluster.EventJoin})
	return nil
}

// discover shows the node to NATS's own tools.
func (n *Node) discover(s transport.Subjects) (*transport.Discovery, error) {
	return transport.Discover(n.link.Conn, s, transport.DiscoveryOptions{
		ID: n.registry.Incarnation(), Version: n.cfg.Release, Logger: n.log,
		Metadata: map[string]string{"cluster": n.cfg.Cluster, "node": n.cfg.Name},
	})
}

func (n *Node) startRoot(ctx context.Context, tree supervisor.Spec) (err error) {
	n.root, err = n.sys.Start(ctx, rootName, tree, genserver.SpawnOptions{})
	if cause := errors.Unwrap(err); cause != nil {
		return cause
	}
	if err == nil {
		close(n.started)
	}
	return err
}

// Name is the node's name.
func (n *Node) Name() string { return n.cfg.Name }

// Cluster is the name of the node's cluster.
func (n *Node) Cluster() string { return n.cfg.Cluster }

// Incarnation is the id of this life of the node, "" without NATS.
func (n *Node) Incarnation() string {
	if n.registry == nil {
		return ""
	}
	return n.registry.Incarnation()
}

// URL is where NATS clients find this node's NATS; "" for nowhere.
func (n *Node) URL() string {
	if n.link == nil {
		return ""
	}
	return n.link.URL
}

// System is the process table of the node.
func (n *Node) System() *genserver.System { return n.sys }

// Ref addresses a server by name: this node's own, else the cluster-wide name's
// owner. Ref(name).On(node) is a node-local server of another node.
func (n *Node) Ref(name string) genserver.Ref { return n.sys.Ref(name) }

// Done is closed when the tree has ended: by Stop, because its root supervisor
// gave up, or because the node was declared dead. [Node.Err] tells which; a node
// that failed still wants Stop, to give its names back.
func (n *Node) Done() <-chan struct{} { return n.root.Exited() }

// Err is why the tree gave up, with the chain of reasons, or that the node was
// declared dead, which matches genserver.ErrFenced, and by which record; nil while
// it runs and after a stop.
func (n *Node) Err() error {
	reason := n.root.Reason()
	if reason == nil || errors.Is(reason, genserver.Shutdown) || errors.Is(reason, genserver.Killed) {
		return nil
	}
	if n.registry != nil && n.registry.Err() != nil && errors.Is(reason, genserver.ErrFenced) {
		return fmt.Errorf("node %s was declared dead: %w", n.cfg.Name, reason)
	}
	return fmt.Errorf("node %s: the tree ended: %w", n.cfg.Name, reason)
}

// Run waits until ctx ends or the tree gives up, then stops the node within
// Config.StopTimeout. The error is the tree's or the stop's; nil is a clean end.
func (n *Node) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-n.Done():
	}
	failed := n.Err()
	if failed != nil {
		n.log.Error("the tree ended", "node", n.cfg.Name, "reason", failed)
	}
	return errors.Join(failed, n.Stop(context.WithoutCancel(ctx)))
}
