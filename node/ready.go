package node

import (
	"context"
	"errors"
	"fmt"
)

// errStopping is of a node that has been told to stop.
var errStopping = errors.New("it is draining, or has stopped")

// Ready says whether the node can take work now: nil while its tree runs, it
// has not been told to stop, and NATS answers it before ctx ends. It's what a
// readiness probe wants to know; it asks NATS each time.
func (n *Node) Ready(ctx context.Context) error {
	if err := n.ready(ctx); err != nil {
		return fmt.Errorf("node %s is not ready: %w", n.cfg.Name, err)
	}
	return nil
}

func (n *Node) ready(ctx context.Context) error {
	if n.stopping.Load() {
		return errStopping
	}
	select {
	case <-n.Done():
		return errors.New("the tree has ended")
	default:
	}
	if n.link == nil {
		return nil
	}
	if !n.registry.Gate().Open() {
		return errors.New("it can't prove at the moment that it is alive, and its cluster-wide servers pause")
	}
	if err := n.link.Conn.Flush(ctx); err != nil {
		return fmt.Errorf("NATS does not answer: %w", err)
	}
	return nil
}
