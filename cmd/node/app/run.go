package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/civitas-go/civitas/internal/name"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/node/embedded"
	"github.com/civitas-go/civitas/services/ratelimit"
	"github.com/civitas-go/civitas/services/sessions"
	"github.com/civitas-go/civitas/services/ttlcache"
	"github.com/civitas-go/civitas/supervisor"
	"github.com/civitas-go/civitas/topology"
	"github.com/civitas-go/civitas/transport"
)

// defaultListen is where NATS clients look first.
const defaultListen = "127.0.0.1:4222"

// builtIn is the tree of `civitas run` without one of its own.
var builtIn = supervisor.Spec{Children: []supervisor.Child{
	{Name: "rate_limiter", Run: ratelimit.Limiter.With(ratelimit.Config{}), Scope: supervisor.Cluster},
	{Name: "cache", Run: ttlcache.Cache.With(ttlcache.Config{}), Scope: supervisor.Cluster},
	{Name: "sessions", Run: sessions.Registry.With(sessions.Config{}), Scope: supervisor.Cluster},
}}

// runTimeout is how long a NATS server may take to answer, by default.
const runTimeout = 2 * time.Second

type runFlags struct {
	file, name, cluster, listen, storeDir, http, failover string
	stopTimeout                                           time.Duration
	labels                                                map[string]string
	nats                                                  natsFlags
	output                                                output
}

func runCommand(o Options, s Streams) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run a node until it is told to stop",
		Long: `Run a node: connect it to NATS, start its tree, and serve until SIGINT or
SIGTERM, which drains it. A second one, or the end of --stop-timeout, ends it
hard. The tree is the topology file's, if one is named; what the file says of
names and of NATS, flags and the environment can say otherwise.

Without --server, NATS_URL, a transport in the file or a NATS context, a NATS server with JetStream runs
within the node; its files go to a temporary folder that is removed at the end, or to
--store-dir.

With --http the node serves /metrics for Prometheus, and the probes /livez,
/startupz and /readyz. Traces and metrics are exported as OpenTelemetry's
variables say: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_EXPORTER,
OTEL_METRICS_EXPORTER and their like; with none of them set nothing is. systemd
is told when the node is ready and when it stops, where NOTIFY_SOCKET asks for it.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), o, s, f) },
	}
	fs := cmd.Flags()
	fs.StringVarP(&f.file, "file", "f", "", "a topology file; - reads it from stdin")
	fs.DurationVar(&f.stopTimeout, "stop-timeout", node.DefaultStopTimeout, "how long draining and stopping may take")
	fs.StringVar(&f.name, "name", "", "the node's name (default the host's and a random suffix)")
	fs.StringVar(&f.cluster, "cluster", node.DefaultCluster, "the cluster to join")
	fs.StringToStringVar(&f.labels, "label", nil, "a label of the node, which placements may ask for, as in role=worker; may be repeated")
	fs.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "nats" { // what --server was called first
			name = "server"
		}
		return pflag.NormalizedName(name)
	})
	f.nats.register(fs, `"embedded", or the URL of a NATS server with JetStream (default $NATS_URL, else embedded)`, runTimeout, "how long a NATS server may take to answer")
	fs.StringVar(&f.listen, "listen", defaultListen, "the address of the embedded NATS; port 0 takes a free one")
	fs.StringVar(&f.storeDir, "store-dir", "", "where the embedded NATS keeps its files (default a temporary folder)")
	fs.StringVar(&f.http, "http", "", "serve metrics and probes on this address, as in 127.0.0.1:8080 (default $CIVITAS_HTTP, else nowhere)")
	fs.StringVar(&f.failover, "failover", string(node.FailoverNormal), `how soon the node is succeeded when it has died: normal, or fast, which a pause of 300 ms disturbs`)
	f.output.register(fs)
	return cmd
}

func run(ctx context.Context, o Options, s Streams, f runFlags) error {
	log := slog.New(logHandler(s.Err))
	tree := o.Tree
	if len(tree.Children) == 0 {
		tree = builtIn
	}
	var top *topology.Topology
	if f.file != "" {
		var err error
		if top, err = loadTopology(o, s, f.file, false); err != nil {
			return err
		}
		tree = top.Tree
		f.name = cmp.Or(f.name, top.Node)
		if !f.nats.set.Changed("cluster") {
			f.cluster = cmp.Or(top.Cluster, f.cluster)
		}
	}
	f.http = cmp.Or(f.http, s.Getenv("CIVITAS_HTTP"))
	nats, err := f.connector(s, top)
	if err := errors.Join(err, f.check()); err != nil {
		return usage(err)
	}
	if f.name == "" {
		f.name = node.DefaultName() // which the telemetry bears too
	}
	// What was opened first is closed last: probes are answered until the last
	// telemetry of the stopped node has been exported.
	var w *web
	if f.http != "" {
		if w, err = listen(ctx, f.http); err != nil {
			return err
		}
		defer w.close(ctx)
	}
	tel, err := newTelemetry(ctx, identity{o.Name, o.Version, f.name}, s, w != nil, log)
	if err != nil {
		return err
	}
	defer tel.close(ctx)
	if w != nil {
		w.serve(tel.page, log)
	}
	cfg := node.Config{
		Name: f.name, Cluster: f.cluster, NATS: nats, Tree: tree, Types: o.types(), Labels: f.labels, StopTimeout: f.stopTimeout, Failover: node.Failover(f.failover),
		Release: o.Version, Logger: log, TracerProvider: tel.tracers, MeterProvider: tel.meters,
	}
	n, err := node.Start(ctx, cfg)
	if err != nil {
		return explainStart(err, f.listen)
	}
	if w != nil {
		w.node.Store(n)
	}
	if err = notify(s, "READY=1"); err == nil {
		err = f.ready(s.Out, o, tree, n, w.url())
	}
	if err != nil {
		return errors.Join(err, n.Stop(ctx))
	}
	stopping := context.AfterFunc(ctx, func() {
		log.Info("stopping: what the servers have been sent is handled first", "node", n.Name(), "within", f.stopTimeout)
		if err := notify(s, "STOPPING=1"); err != nil {
			log.Warn("stopping", "error", err)
		}
	})
	defer stopping()
	err = n.Run(ctx)
	if err == nil {
		log.Info("stopped", "node", n.Name())
	}
	return err
}

// explainStart says what to do where a node did not start.
func explainStart(err error, listen string) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w; join the node that is there by --server nats://%s, or take a free port by --listen 127.0.0.1:0", err, listen)
	}
	return err
}

// connector decides between the flag, the environment and the default.
func (f runFlags) connector(s Streams, top *topology.Topology) (node.Connector, error) {
	o, err := f.nats.resolve(s, sourceOfFile(top))
	if err != nil {
		return nil, err
	}
	if o.URL != "" && o.URL != embeddedNATS {
		if f.storeDir != "" {
			return nil, errors.New("--store-dir is the embedded NATS's, and --server, NATS_URL or a context names another; leave it out")
		}
		o.DialTimeout = f.nats.timeout
		return external{o}, nil
	}
	if o.URL == "" && top != nil && top.Transport.Type == "in_process" {
		return nil, nil // which is how node.Config says it
	}
	if flag := f.nats.auth.given(); flag != "" {
		return nil, fmt.Errorf("%s is for a NATS server elsewhere, and the embedded one asks for nothing; name the other by --server", flag)
	}
	_, port, err := net.SplitHostPort(f.listen)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return nil, fmt.Errorf("--listen %q: want host:port, as in %s", f.listen, defaultListen)
	}
	return embedded.Server{Listen: f.listen, StoreDir: f.storeDir}, nil
}

// external is a NATS that runs elsewhere.
type external struct{ transport.NATSOptions }

// Connect makes it a node.Connector.
func (e external) Connect(ctx context.Context, o node.LinkOptions) (*node.Link, error) {
	link, err := node.Dial(ctx, o, e.NATSOptions)
	if err != nil && errors.Is(err, transport.ErrNotConnected) {
		err = hint(err, true)
	}
	return link, err
}

func (f runFlags) check() error {
	var errs []error
	if f.name != "" {
		if err := name.CheckToken("node", f.name); err != nil {
			errs = append(errs, fmt.Errorf("--name: %w", err))
		}
	}
	if f.http != "" {
		errs = append(errs, checkHTTP(f.http))
	}
	if f.stopTimeout <= 0 {
		errs = append(errs, fmt.Errorf("--stop-timeout: %v is not a positive duration", f.stopTimeout))
	}
	if _, err := transport.NewSubjects(f.cluster); err != nil {
		errs = append(errs, fmt.Errorf("--cluster: %w", err))
	}
	if fail := node.Failover(f.failover); fail != node.FailoverNormal && fail != node.FailoverFast {
		errs = append(errs, fmt.Errorf("--failover: %q is neither normal nor fast", f.failover))
	}
	return errors.Join(errs...)
}

// ready is the command's first word on stdout: the node serves.
func (f runFlags) ready(w io.Writer, o Options, tree supervisor.Spec, n *node.Node, httpURL string) error {
	if f.output != outputTable {
		return json.NewEncoder(w).Encode(readyEvent{
			Event: "ready", Node: n.Name(), Cluster: n.Cluster(), NATS: n.URL(), HTTP: httpURL, Servers: serverNames(tree),
		})
	}
	where := cmp.Or(n.URL(), "nowhere")
	if httpURL != "" {
		where += ", HTTP " + httpURL
	}
	_, err := fmt.Fprintf(w, "ready: node %s, cluster %s, NATS %s\n\n%s\n%s\nCtrl-C stops the node.\n",
		n.Name(), n.Cluster(), where, treeText(tree), tryLines(o, tree, n))
	return err
}

// readyEvent is the line of `run -o json`; its fields are a contract.
type readyEvent struct {
	Event   string   `json:"event"`
	Node    string   `json:"node"`
	Cluster string   `json:"cluster"`
	NATS    string   `json:"nats"`
	HTTP    string   `json:"http,omitempty"` // with --http
	Servers []string `json:"servers"`
}
