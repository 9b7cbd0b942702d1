package node

import (
	"context"
	"errors"
	"sync"
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

	drained sync.Once
	err     error // of the drain
}

// Claim makes the node the owner of a name and lets plain NATS clients reach it.
func (r *router) Claim(ctx context.Context, name string) (genserver.Claim, error) {
	epoch, err := r.registry.Claim(ctx, name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	c := &claim{router: r, name: name, epoch: epoch}
	if c.public, err = transport.ServePublic(r.conn, r.subjects, name, r.log, r.deliverPublic); err == nil {
		err = r.conn.Flush(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.Release(context.WithoutCancel(ctx)))
	}
	r.discovery.Add(name, c.public)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.claims[name] = c
	return c, nil
}

func (c *claim) Epoch() uint64 { return c.epoch }

// Gate implements genserver.Claim.
func (c *claim) Gate() genserver.Gate { return nil }

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
