package node_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/transport"
)

// What happens to a node and its servers is kept, in its order.
func TestEventsAreKept(t *testing.T) {
	t.Parallel()
	url := startNATS(t)
	n := start(t, config("n1", node.URL(url), public("box", hooks{handled: func(int) { panic("out of seats") }})))
	noErr(t, "cast", n.Ref("box").Cast(t.Context(), Put{}))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := transport.DialNATS(ctx, transport.NATSOptions{URL: url})
	noErr(t, "dial", err)
	defer conn.Close(context.WithoutCancel(ctx))
	var got []string
	follow, stop := context.WithCancel(ctx)
	defer stop()
	noErr(t, "read", cluster.ReadEvents(follow, conn, n.Cluster(), time.Time{}, true, func(e cluster.Event) error {
		if e.Node != "n1" || e.Incarnation == "" || e.Time.IsZero() {
			t.Errorf("got %+v, want the node, its incarnation and the time", e)
		}
		got = append(got, string(e.Kind)+" "+e.Server)
		if e.Kind == cluster.EventRestart {
			if !strings.Contains(e.Reason, "out of seats") {
				t.Errorf("restart: got reason %q, want the panic's", e.Reason)
			}
			go func() { _ = n.Stop(context.WithoutCancel(ctx)) }()
		}
		if e.Kind == cluster.EventLeave {
			stop()
		}
		return nil
	}))
	if text := strings.Join(got, ", "); text != "join , restart box, leave " {
		t.Errorf("got %q, want a join, a restart and a leave", text)
	}
	noErr(t, "stop", n.Stop(t.Context()))
}
