package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/node"
)

// probes are the paths of --http's probes, by the word of --probe.
var probes = map[string]string{"live": "/livez", "startup": "/startupz", "ready": "/readyz"}

func healthCommand(_ Options, s Streams) *cobra.Command {
	var o operator
	var addr, probe string
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask whether nodes can take work",
		Long: `Ask whether nodes can take work: with --http, or $CIVITAS_HTTP, the one that
serves its probes there, without NATS; else all nodes of the cluster, or the
--node, through NATS. It exits with 0 if every node that was asked is ready, and
with 1 or, where one does not answer, 5 if not. In an image without a shell:

  HEALTHCHECK CMD ["/civitas", "health", "--http", "127.0.0.1:8080"]`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if addr == "" && !cmd.Flags().Changed("http") && o.node == "" && !cmd.Flags().Changed("server") {
				addr = s.Getenv("CIVITAS_HTTP")
			}
			if addr != "" {
				return o.probe(cmd.Context(), s, addr, probe)
			}
			return o.do(cmd.Context(), s, func(ctx context.Context, v *view) error { return o.health(ctx, s, v) })
		},
	}
	o.register(s, cmd)
	cmd.Flags().StringVar(&addr, "http", "", "the address that the node's --http names (default $CIVITAS_HTTP, else ask through NATS)")
	cmd.Flags().StringVar(&probe, "probe", "ready", "with --http: ready, live or startup")
	return cmd
}

// probeResult is the JSON of `health --http`.
type probeResult struct {
	URL    string `json:"url"`
	OK     bool   `json:"ok"`
	Answer string `json:"answer"`
}

func (o *operator) probe(ctx context.Context, s Streams, addr, probe string) error {
	path := probes[probe]
	if path == "" {
		return usage(fmt.Errorf("--probe %q: want ready, live or startup", probe))
	}
	if err := checkHTTP(addr); err != nil {
		return usage(err)
	}
	if err := timeoutFlag(s, o.nats.set, &o.nats.timeout); err != nil {
		return usage(err)
	}
	host, port, _ := net.SplitHostPort(addr) // checked
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1" // where a node that listens everywhere is, too
	}
	result := probeResult{URL: "http://" + net.JoinHostPort(host, port) + path}
	ctx, cancel := context.WithTimeout(ctx, o.nats.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, result.URL, nil)
	if err != nil {
		return usage(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		if ctx.Err() == context.Canceled {
			return ctx.Err()
		}
		return coded(exitUnreachable, fmt.Errorf("%w; does the node run, with --http %s?", err, addr))
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	const most = 4 << 10
	body, err := io.ReadAll(io.LimitReader(response.Body, most))
	if err != nil {
		return coded(exitUnreachable, err)
	}
	result.OK, result.Answer = response.StatusCode == http.StatusOK, strings.TrimSpace(string(body))
	if err := printOne(s.Out, o.output, result, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, result.Answer)
		return err
	}); err != nil {
		return err
	}
	if !result.OK {
		return fmt.Errorf("%s: %s", result.URL, response.Status)
	}
	return nil
}

// health asks all nodes.
func (o *operator) health(ctx context.Context, s Streams, v *view) error {
	type answer struct {
		status node.Status
		err    error
	}
	answers, err := each(v, func(n cluster.NodeRecord) ([]answer, error) {
		a := answer{status: node.Status{Node: n.Node, Cluster: v.cluster, Incarnation: n.Incarnation, Host: n.Host, PID: n.PID, Release: n.Release}}
		if a.err = v.ask(ctx, n, node.AskStatus{}, &a.status); a.err != nil {
			a.status.State, a.status.Reason = "silent", a.err.Error()
		}
		return []answer{a}, nil
	})
	if err != nil {
		return err
	}
	statuses := make([]node.Status, len(answers))
	var bad []error
	for i, a := range answers {
		statuses[i] = a.status
		switch {
		case a.err != nil:
			bad = append(bad, a.err)
		case a.status.State != "ready":
			bad = append(bad, fmt.Errorf("node %s is not ready: %s", a.status.Node, a.status.Reason))
		}
	}
	err = printAll(s.Out, o.output, statuses, func(w io.Writer) error {
		t := table{head: []string{"NODE", "STATE", "SERVERS", "UP", "HOST", "PID", "RELEASE"}}
		for _, n := range statuses {
			t.add(n.Node, n.State, fmt.Sprint(n.Servers), age(n.Uptime), n.Host, fmt.Sprint(n.PID), n.Release)
		}
		return t.write(w)
	})
	return errors.Join(append(bad, err)...)
}
