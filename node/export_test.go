package node

import (
	"context"

	"github.com/civitas-go/civitas/cluster"
)

// Lost is how many messages other nodes sent here that never came.
func (n *Node) Lost() uint64 {
	if n.service == nil {
		return 0
	}
	return n.service.Stats().Lost
}

// Asking counts the monitors that another node has not answered for yet.
func Asking(n *Node) (asking int) {
	ms := &n.router.monitors
	ms.mu.Lock()
	defer ms.mu.Unlock()
	for _, m := range ms.asked {
		if m.generation == 0 {
			asking++
		}
	}
	return asking
}

// Watched counts what other nodes' monitors have this node watch or tell.
func Watched(n *Node) (watched int) {
	ms := &n.router.monitors
	ms.mu.Lock()
	defer ms.mu.Unlock()
	for _, w := range ms.watchers {
		watched += len(w.watches)
	}
	return watched
}

// MarkStopped has a child's record say that it is stopped, or is not, and does
// nothing else about it.
func MarkStopped(ctx context.Context, n *Node, child string, stopped bool) error {
	_, err := n.registry.MarkStopped(ctx, child, cluster.Stop{Stopped: stopped})
	return err
}

// Received counts the messages that a node has had from others.
func Received(n *Node) uint64 { return n.service.Stats().Received }

// Acquainted waits until a node has asked those it has met what they can.
func Acquainted(n *Node) { n.router.peers.asking.Wait() }

// Refused counts what was not let in since its sender did not own its name any more.
func Refused(n *Node) uint64 { return n.router.origins.refused.Load() }

// OrderStop has a node carry out an order to stop a child, as if its leader gave it.
func OrderStop(ctx context.Context, n *Node, child string) error { return n.placed.stop(ctx, child) }

// ErrNotStopped is of an order that is not carried out.
var ErrNotStopped = errNotStopped

// Record is a child's record, as it is read.
func Record(ctx context.Context, n *Node, child string) (cluster.SpecRecord, bool) {
	return n.registry.Spec(ctx, child)
}
