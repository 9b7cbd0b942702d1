package node

import (
	"context"
	"errors"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/transport"
)

// claim is a cluster-wide name that the node owns, and its public subject.
type claim struct {
	router *router
	name   string
	epoch  uint64
	public *transport.Service
}

// Claim makes the node the owner of a name and lets plain NATS clients reach it.
func (r *router) Claim(ctx context.Context, name string) (genserver.Claim, error) {
	epoch, err := r.registry.Claim(ctx, name)
	if err != nil {
		return nil, err
	}
	c := &claim{router: r, name: name, epoch: epoch}
	if c.public, err = transport.ServePublic(r.conn, r.subjects, name, r.log, r.sys.Deliver); err == nil {
		err = r.conn.Flush(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.Release(context.WithoutCancel(ctx)))
	}
	return c, nil
}

func (c *claim) Epoch() uint64 { return c.epoch }

// Release lets what has arrived on the public subject be delivered, and then
// frees the name.
func (c *claim) Release(ctx context.Context) error {
	var err error
	if c.public != nil {
		err = c.public.Drain(ctx)
	}
	return errors.Join(err, c.router.registry.Release(ctx, c.name))
}
