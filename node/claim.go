package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/transport"
)

// claimTimeout bounds the release of one name, and what a claim of it does
// besides waiting for the registry, which may have a crashed owner to judge.
const claimTimeout = 5 * time.Second

// claim is a cluster-wide name that the node owns, and its public subject.
type claim struct {
	router *router
	name   string
	epoch  uint64
	public *transport.Service
	gate   genserver.Gate // of the node's session
	lost   atomic.Bool    // the record is another's, though the session may live

	drained sync.Once
	err     error // of the drain
}

// Claim makes the node the owner of a name and lets plain NATS clients reach it.
func (r *router) Claim(ctx context.Context, name string) (genserver.Claim, error) {
	c := &claim{router: r, name: name, gate: r.registry.Gate()}
	r.mu.Lock()
	r.claiming[name] = c // to be told of a loss that comes at once
	r.mu.Unlock()
	err := c.take(ctx)
	r.mu.Lock()
	delete(r.claiming, name)
	lost := err == nil && c.lost.Load()
	if err == nil && !lost {
		r.claims[name] = c
	}
	r.mu.Unlock()
	if lost {
		err = c.relinquish(ctx)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// relinquish ends the public subject of a name that was lost before the claim of it
// was complete. The record is another's by now.
func (c *claim) relinquish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimTimeout)
	defer cancel()
	fenced := &genserver.Error{Code: genserver.ErrFenced.Code, Server: c.name, Text: "it was taken from this node at once"}
	if err := c.drain(ctx); err != nil {
		return fmt.Errorf("%w: %w", fenced, err)
	}
	return fenced
}

// take claims the name and serves its public subject.
func (c *claim) take(ctx context.Context) (err error) {
	r := c.router
	child, revision := r.runs(c.name)
	if c.epoch, err = r.registry.ClaimFor(ctx, c.name, child, revision); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	if c.public, err = transport.ServePublic(r.conn, r.subjects, c.name, r.log, r.deliverPublic); err == nil {
		err = r.conn.Flush(ctx)
	}
	if err != nil {
		return errors.Join(err, c.Release(context.WithoutCancel(ctx)))
	}
	r.discovery.Add(c.name, c.public)
	return nil
}

// owned counts the names that the node owns.
func (r *router) owned() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.claims)
}

func (c *claim) Epoch() uint64 { return c.epoch }

// Gate implements genserver.Claim.
func (c *claim) Gate() genserver.Gate { return c }

// Open is the session's gate's, unless the name is lost.
func (c *claim) Open() bool { return !c.lost.Load() && c.gate.Open() }

// Await is the session's gate's.
func (c *claim) Await(wake func()) (cancel func()) { return c.gate.Await(wake) }

// Release lets what has arrived on the public subject be delivered, and then
// frees the name.
func (c *claim) Release(ctx context.Context) error {
	c.router.mu.Lock()
	if c.router.claims[c.name] == c {
		delete(c.router.claims, c.name)
	}
	c.router.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	return errors.Join(c.drain(ctx), c.router.registry.Release(ctx, c.name))
}

// drain ends the public subject; what came on it has been delivered then.
func (c *claim) drain(ctx context.Context) error {
	c.drained.Do(func() {
		if c.public != nil {
			c.router.discovery.Remove(c.name, c.public)
			c.err = c.public.Drain(ctx)
		}
	})
	return c.err
}
