package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/name"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/transport"
)

// operator is a command that asks the nodes of a cluster about their servers.
type operator struct {
	client
	output output
	node   string
}

func (o *operator) register(s Streams, cmd *cobra.Command) {
	o.registerFor(s, cmd, genserver.DefaultTimeout, "how long to wait")
}

func (o *operator) registerFor(s Streams, cmd *cobra.Command, timeout time.Duration, what string) {
	fs := cmd.Flags()
	o.client.registerFor(fs, timeout, what)
	o.output.register(fs)
	fs.StringVar(&o.node, "node", "", "ask this node alone")
	_ = cmd.RegisterFlagCompletionFunc("node", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		var names []string
		o.node = ""
		_ = o.do(cmd.Context(), s, func(_ context.Context, v *view) error {
			for _, n := range v.nodes {
				names = append(names, n.Node)
			}
			return nil
		})
		return names, cobra.ShellCompDirectiveNoFileComp
	})
}

// completeNames completes the name of a server.
func (o *operator) completeNames(s Streams) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		var names []string
		if len(args) == 0 {
			_ = o.do(cmd.Context(), s, func(ctx context.Context, v *view) error {
				servers, _ := v.servers(ctx)
				for _, server := range servers {
					if server.Kind == "server" {
						names = append(names, server.Name)
					}
				}
				return nil
			})
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// view is a connection, and the nodes to ask.
type view struct {
	cluster  string
	conn     *transport.NATS
	subjects transport.Subjects
	timeout  time.Duration
	nodes    []cluster.NodeRecord
	warn     func(format string, args ...any)
}

// do connects and finds the nodes, within --timeout, and gives do as long again.
func (o *operator) do(ctx context.Context, s Streams, do func(context.Context, *view) error) error {
	return o.open(ctx, s, func(v *view) error {
		ctx, cancel := context.WithTimeout(ctx, v.timeout)
		defer cancel()
		return do(ctx, v)
	})
}

func (o *operator) open(ctx context.Context, s Streams, do func(*view) error) error {
	if o.node != "" {
		if err := name.CheckToken("node", o.node); err != nil {
			return usage(fmt.Errorf("--node: %w", err))
		}
	}
	t, err := o.target(s)
	if err != nil {
		return err
	}
	dial, cancel := context.WithTimeout(ctx, o.nats.timeout)
	defer cancel()
	conn, err := o.connect(dial, t)
	if err != nil {
		return err
	}
	defer conn.Close(dial) //nolint:errcheck // nothing is on its way any more
	v := &view{
		cluster: o.cluster, conn: conn, subjects: t.subjects, timeout: o.nats.timeout,
		warn: func(format string, args ...any) { fmt.Fprintf(s.Err, "warning: "+format+"\n", args...) },
	}
	if err := v.find(dial, o.node); err != nil {
		return err
	}
	return do(v)
}

// find reads which nodes there are.
func (v *view) find(ctx context.Context, only string) error {
	nodes, err := cluster.ReadNodes(ctx, v.conn, v.cluster)
	if err != nil && !errors.Is(err, cluster.ErrNotFound) {
		return err
	}
	if len(nodes) == 0 {
		return coded(exitNoProcess, fmt.Errorf("no node is in cluster %s; start one by `run`, or name another by --cluster", v.cluster))
	}
	v.nodes = nodes
	if only == "" {
		return nil
	}
	v.nodes = slices.DeleteFunc(slices.Clone(nodes), func(n cluster.NodeRecord) bool { return n.Node != only })
	if len(v.nodes) == 0 {
		return coded(exitNoProcess, fmt.Errorf("no node %q in cluster %s; there are %s", only, v.cluster, nodeNames(nodes)))
	}
	return nil
}

func nodeNames(nodes []cluster.NodeRecord) string {
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.Node
	}
	return strings.Join(names, ", ")
}

// ask is one request to one node.
func (v *view) ask(ctx context.Context, n cluster.NodeRecord, question genserver.Message, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	reply, err := v.request(ctx, n, v.subjects.Admin(n.Incarnation, question.Op()), body)
	if err != nil {
		return err
	}
	return json.Unmarshal(reply, answer)
}

// request is one to a subject of one node.
func (v *view) request(ctx context.Context, n cluster.NodeRecord, subject string, body []byte) ([]byte, error) {
	m := transport.Msg{Subject: subject, Data: body}
	if until, ok := ctx.Deadline(); ok {
		m.Header = transport.Header{transport.HeaderTimeout: {time.Until(until).String()}}
	}
	reply, err := v.conn.Request(ctx, m)
	switch {
	case errors.Is(err, transport.ErrNoResponders):
		return nil, coded(exitUnreachable, fmt.Errorf("node %s is on record (since %s, host %s, pid %d) and does not answer: it has crashed, or is cut off",
			n.Node, n.Since.Format(time.RFC3339), n.Host, n.PID))
	case errors.Is(err, context.DeadlineExceeded):
		return nil, coded(exitUnreachable, fmt.Errorf("node %s did not answer within %v; --timeout gives it longer", n.Node, v.timeout))
	case err != nil:
		return nil, err
	}
	return reply.Data, transport.PublicError(reply)
}

// each asks all nodes at once, and warns of those that do not answer; the error
// is that none did.
func each[T any](v *view, one func(n cluster.NodeRecord) ([]T, error)) ([]T, error) {
	answers, errs := make([][]T, len(v.nodes)), make([]error, len(v.nodes))
	var wg sync.WaitGroup
	for i, n := range v.nodes {
		wg.Go(func() { answers[i], errs[i] = one(n) })
	}
	wg.Wait()
	var all []T
	answered := false
	for i, err := range errs {
		answered = answered || err == nil
		all = append(all, answers[i]...)
	}
	if !answered {
		return nil, errors.Join(errs...)
	}
	for _, err := range errs {
		if err != nil {
			v.warn("%v", err)
		}
	}
	return all, nil
}

// servers are all that the nodes have, node by node, by path.
func (v *view) servers(ctx context.Context) ([]node.ServerInfo, error) {
	return each(v, func(n cluster.NodeRecord) ([]node.ServerInfo, error) { return v.serversOf(ctx, n) })
}

func (v *view) serversOf(ctx context.Context, n cluster.NodeRecord) (all []node.ServerInfo, err error) {
	for after := ""; ; {
		var page node.Servers
		if err := v.ask(ctx, n, node.ListServers{After: after}, &page); err != nil {
			return all, err
		}
		all = append(all, page.Servers...)
		if after == "" && len(page.Silent) > 0 {
			v.warn("node %s: these supervisors are too busy to tell of their children: %s", n.Node, strings.Join(page.Silent, ", "))
		}
		if after = page.Next; after == "" {
			return all, nil
		}
	}
}

// locate finds the one node that has a server.
func (v *view) locate(ctx context.Context, server string) (cluster.NodeRecord, node.ServerInfo, error) {
	type hit struct {
		on   cluster.NodeRecord
		info node.ServerInfo
	}
	hits, err := each(v, func(n cluster.NodeRecord) ([]hit, error) {
		h := hit{on: n}
		err := v.ask(ctx, n, node.InspectServer{Name: server}, &h.info)
		if errors.Is(err, node.ErrNoServer) {
			return nil, nil
		}
		return []hit{h}, err
	})
	hits = slices.DeleteFunc(hits, func(h hit) bool { return h.info.Name == "" })
	switch {
	case err != nil:
		return cluster.NodeRecord{}, node.ServerInfo{}, err
	case len(hits) == 0:
		return cluster.NodeRecord{}, node.ServerInfo{}, coded(exitNoProcess,
			fmt.Errorf("no server %q on %s; `ps` lists those that there are", server, nodeNames(v.nodes)))
	case len(hits) > 1:
		var on []string
		for _, h := range hits {
			on = append(on, h.on.Node)
		}
		return cluster.NodeRecord{}, node.ServerInfo{}, usage(fmt.Errorf("%q is on %s; say which one by --node", server, strings.Join(on, " and ")))
	}
	return hits[0].on, hits[0].info, nil
}
