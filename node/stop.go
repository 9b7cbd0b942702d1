package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/transport"
)

// Stop ends the node in two steps. First it drains: new calls from outside of
// any server are refused with ErrDraining, and what the servers had been sent
// by then, through NATS too, is handled. Then the tree stops in reverse order.
// The drain has half of the time that ctx leaves, so that one server that does
// not come to an end leaves the others time to terminate.
//
// When ctx ends first, the rest is hard: what still runs is killed. Either way
// the names are given back and everything that Start began is ended, at once or,
// where NATS does not answer, within fifteen seconds more. A ctx without a
// deadline has [Config].StopTimeout.
//
// The error says what was not in order: who had work left, what had to be
// killed, which records may be left. Stop may be called again, and at once: it
// waits for the first one's end, or its own ctx's, and returns the same.
//
// A handler must not call it: the drain would wait for the handler.
func (n *Node) Stop(ctx context.Context) error {
	if n.stopping.CompareAndSwap(false, true) {
		n.err = n.doStop(ctx)
		close(n.stopped)
		return n.err
	}
	select {
	case <-n.stopped:
		return n.err
	case <-ctx.Done():
		return fmt.Errorf("stop node %s: another Stop is at work: %w", n.cfg.Name, ctx.Err())
	}
}

func (n *Node) doStop(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, n.cfg.StopTimeout)
		defer cancel()
	}
	var errs []error
	note := func(step string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", step, err))
		}
	}
	if n.placed != nil {
		n.placed.leave(ctx)
	}
	if err := n.drain(ctx); err != nil {
		errs = append(errs, err)
	}
	if err := n.root.Stop(ctx, genserver.Shutdown); err != nil {
		n.root.Kill()
		note("stop the tree", err)
	}
	note("stop servers", n.sys.Stop(ctx))
	note("clean up", n.disconnect())
	if len(errs) > 0 {
		return fmt.Errorf("stop node %s: %w", n.cfg.Name, errors.Join(errs...))
	}
	return nil
}

// drain returns when the servers have handled what they were sent; ctx has a
// deadline.
func (n *Node) drain(ctx context.Context) error {
	until, _ := ctx.Deadline()
	ctx, cancel := context.WithTimeout(ctx, time.Until(until)/2)
	defer cancel()
	if err := n.sys.Drain(ctx); err != nil || n.router == nil {
		return err
	}
	// Now that few messages come, those on their way are let in and handled too.
	if err := n.router.settle(ctx); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	return n.sys.Drain(ctx)
}

// monitorsTimeout bounds the wait for other nodes to know of their monitored
// servers' ends. They learn of the node's end in any case.
const monitorsTimeout = time.Second

// disconnect gives the names back and ends the connection.
func (n *Node) disconnect() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	var errs []error
	if n.router != nil && n.router.end != nil {
		settled, cancel := context.WithTimeout(ctx, monitorsTimeout)
		n.router.monitors.settle(settled)
		cancel()
		n.router.close()
		n.router.peers.close()
		n.router.overloads.close()
	}
	if n.router != nil && n.router.discovery != nil {
		errs = append(errs, n.router.discovery.Drain(ctx))
	}
	for _, s := range []*transport.Service{n.operators, n.direct, n.service} {
		if s != nil {
			errs = append(errs, s.Drain(ctx))
		}
	}
	if n.registry != nil {
		err := n.registry.Leave(ctx)
		if err == nil && n.registry.Err() == nil && n.root != nil {
			n.happened(cluster.Event{Kind: cluster.EventLeave})
		}
		errs = append(errs, err)
	}
	for _, end := range n.unmeasure {
		errs = append(errs, end())
	}
	if n.link != nil {
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
		defer cancel()
		errs = append(errs, n.link.Close(ctx))
	}
	return errors.Join(errs...)
}

// cleanUp undoes a start that failed.
func (n *Node) cleanUp() {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	var errs []error
	n.stopping.Store(true)
	if n.placed != nil {
		n.placed.leave(ctx)
	}
	if n.root != nil {
		errs = append(errs, n.root.Stop(ctx, genserver.Shutdown))
	}
	if n.sys != nil {
		errs = append(errs, n.sys.Stop(ctx))
	}
	errs = append(errs, n.disconnect())
	if err := errors.Join(errs...); err != nil {
		n.log.Warn("cleaning up after a failed start", "node", n.cfg.Name, "error", err)
	}
}
