package node_test

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/civitas-go/civitas/internal/natsserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/transport"
)

func TestReady(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, nats node.Connector) {
		h := held()
		n := start(t, config("n1", nats, public("box", h)))
		noErr(t, "ready", n.Ready(soon(t)))
		done := callAsync(n.Ref("box"), Hold{})
		receive(t, "the handler", h.entered)
		stopped := make(chan error, 1)
		go func() { stopped <- n.Stop(soon(t)) }()
		ctx := soon(t)
		for n.Ready(ctx) == nil { // it's sure to come
			runtime.Gosched()
		}
		if got, want := n.Ready(ctx).Error(), "node n1 is not ready: it is draining, or has stopped"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		close(h.gate)
		noErr(t, "call", receive(t, "the call", done))
		noErr(t, "stop", receive(t, "the stop", stopped))
	})
}

func TestNotReadyWithoutItsTree(t *testing.T) {
	t.Parallel()
	n := start(t, config("n1", nil, local("box", hooks{})))
	noErr(t, "ready", n.Ready(soon(t)))
	noErr(t, "stop the root", n.Ref("_root").Stop(soon(t), errors.New("out of ideas")))
	receive(t, "the tree's end", n.Done())
	if n.Ready(soon(t)) == nil {
		t.Error("got nil of a node whose tree has ended, want an error")
	}
}

func TestNotReadyWithoutNATS(t *testing.T) {
	t.Parallel()
	s, err := natsserver.Start(context.Background(), natsserver.Options{JetStream: true})
	noErr(t, "start NATS", err)
	n := start(t, config("n1", node.URL(s.ClientURL()), local("box", hooks{})))
	noErr(t, "ready", n.Ready(soon(t)))
	noErr(t, "stop NATS", s.Shutdown(context.Background()))
	ctx := soon(t)
	for err = nil; err == nil; {
		err = n.Ready(ctx)
	}
	if !errors.Is(err, transport.ErrNotConnected) && !errors.Is(err, transport.ErrDisconnected) {
		t.Errorf("got %v, want ErrNotConnected", err)
	}
}
