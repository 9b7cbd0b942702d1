package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/civitas-go/civitas/genserver"
)

// Stop ends the node in two steps. First it drains: new work from outside of
// the node's servers is refused with ErrDraining, what they have been sent is
// handled, and the tree stops in reverse order. When ctx ends before that is
// done, the rest is hard: what still runs is killed. Either way the names are
// given back and everything that Start began is ended.
//
// The error says what was not in order: what had to be killed, which records
// may be left. A second Stop waits for the first and returns the same.
func (n *Node) Stop(ctx context.Context) error {
	n.stop.Do(func() { n.err = n.doStop(ctx) })
	return n.err
}

func (n *Node) doStop(ctx context.Context) error {
	var errs []error
	note := func(step string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", step, err))
		}
	}
	note("drain", n.sys.Drain(ctx))
	if err := n.root.Stop(ctx, genserver.Shutdown); err != nil {
		n.root.Kill()
		note("stop the tree", err)
	}
	note("stop servers", n.sys.Stop(ctx))

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	note("clean up", n.disconnect(ctx))
	if len(errs) > 0 {
		return fmt.Errorf("stop node %s: %w", n.cfg.Name, errors.Join(errs...))
	}
	return nil
}

// disconnect gives the names back and ends the connection.
func (n *Node) disconnect(ctx context.Context) error {
	var errs []error
	if n.service != nil {
		errs = append(errs, n.service.Drain(ctx))
	}
	if n.registry != nil {
		errs = append(errs, n.registry.Leave(ctx))
	}
	if n.link != nil {
		errs = append(errs, n.link.Close(ctx))
	}
	return errors.Join(errs...)
}

// cleanUp undoes a start that failed.
func (n *Node) cleanUp(ctx context.Context) {
	var errs []error
	if n.sys != nil {
		errs = append(errs, n.sys.Stop(ctx))
	}
	errs = append(errs, n.disconnect(ctx))
	if err := errors.Join(errs...); err != nil {
		n.log.Warn("cleaning up after a failed start", "node", n.cfg.Name, "error", err)
	}
}
