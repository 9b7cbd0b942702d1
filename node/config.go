package node

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/name"
	"github.com/civitas-go/civitas/supervisor"
	"github.com/civitas-go/civitas/transport"
)

// Defaults of a [Config].
const (
	DefaultCluster     = "dev"
	DefaultStopTimeout = 30 * time.Second
)

// Config is a node's. The zero value is a node that is this process alone,
// with an empty tree.
type Config struct {
	// Name names the node in its cluster: one token of [A-Za-z0-9_-]. Default
	// the host's name and a random suffix.
	Name string
	// Cluster names the cluster, which keeps clusters on one NATS apart.
	// Default "dev".
	Cluster string
	// NATS connects the node. Default nil: no other nodes, and cluster-wide
	// names are this process's.
	NATS Connector
	// Failover is how soon the node is succeeded when it has died. Default
	// [FailoverNormal].
	Failover Failover
	// Timing has the waits by which nodes tell life from death, for those who
	// need others than Failover gives. Default: see cluster.Timing.
	Timing cluster.Timing
	// Tree is the supervision tree that the node runs. With NATS, children of its
	// root that have cluster-wide names are the cluster's, if the root is
	// one_for_one and has no AutoShutdown: each runs once, on one of the nodes that
	// have its Type and meet its Placement. The first node that brings such a
	// child writes it to the cluster's records, and what is there holds: where
	// another node's Tree says otherwise, that is logged, and in [Status].Differs.
	Tree supervisor.Spec
	// Types are what the node may be given to run besides those of its Tree.
	Types []genserver.Type
	// Labels are what a supervisor.Placement may ask for: names of tokens of
	// [A-Za-z0-9_-] joined by dots, with values of the same kind.
	Labels map[string]string
	// Release is the program's version, for those who look at the records.
	Release string
	// StopTimeout bounds the stop that ends [Node.Run], and every [Node.Stop]
	// whose context has no deadline. Default 30 s.
	StopTimeout time.Duration
	// Logger is for the runtime's log. Default slog.Default().
	Logger *slog.Logger
	// TracerProvider makes the spans. Default the global one, as it is at the
	// start.
	TracerProvider trace.TracerProvider
	// MeterProvider takes the metrics. Default the global one, as it is at the
	// start.
	MeterProvider metric.MeterProvider
}

// withDefaults fills in and checks; the error names every wrong field.
func (c Config) withDefaults() (Config, error) {
	if c.Name == "" {
		c.Name = DefaultName()
	}
	if c.Cluster == "" {
		c.Cluster = DefaultCluster
	}
	if c.StopTimeout == 0 {
		c.StopTimeout = DefaultStopTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	var errs []error
	if err := name.CheckToken("node", c.Name); err != nil {
		errs = append(errs, fmt.Errorf("Name: %w", err))
	}
	if _, err := transport.NewSubjects(c.Cluster); err != nil {
		errs = append(errs, fmt.Errorf("Cluster: %w", err))
	}
	var err error
	if c.Timing, err = c.Failover.timing(c.Timing); err != nil {
		errs = append(errs, err)
	}
	if c.StopTimeout < 0 {
		errs = append(errs, fmt.Errorf("StopTimeout: %v is negative", c.StopTimeout))
	}
	for i, t := range c.Types {
		if t == nil {
			errs = append(errs, fmt.Errorf("Types[%d]: nil", i))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.Labels)) {
		for _, word := range []string{key, c.Labels[key]} {
			if err := name.Check(word); err != nil {
				errs = append(errs, fmt.Errorf("Labels: %w", err))
			}
		}
	}
	if err := c.Tree.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("Tree: %w", err))
	}
	return c, errors.Join(errs...)
}

// DefaultName is the host's name and a random suffix, so that many nodes can
// run on one host.
func DefaultName() string {
	host, _ := os.Hostname()
	var suffix [3]byte
	_, _ = rand.Read(suffix[:]) // never fails
	return hostToken(host) + "-" + hex.EncodeToString(suffix[:])
}

// hostToken makes a host's name fit to begin a node's.
func hostToken(host string) string {
	host, _, _ = strings.Cut(host, ".")
	host = strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, strings.TrimLeft(host, "_"))
	if host == "" {
		return "node"
	}
	const most = 64
	return host[:min(len(host), most)]
}
