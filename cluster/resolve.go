package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/civitas-go/civitas/internal/name"
)

// recallAfter is how long the store may take to correct a route that was forgotten
// before that is tried again: its owner may just have been reconnecting.
const recallAfter = 250 * time.Millisecond

// lookupPause is between reads of a name while the store is away.
const lookupPause = 50 * time.Millisecond

// Resolve finds the owner of a cluster-wide name. A name asked for before costs a
// map lookup and no allocation; its answer can be outdated, so whoever finds that
// the owner does not have it calls [Registry.Forget] and asks again. A name that
// was not asked for is read from the store; all who ask meanwhile share the read.
//
// genserver.ErrNoProcess: there is no record of the name, which is asked anew
// each time. genserver.ErrUnavailable: the store did not answer until ctx ended,
// or for five seconds if that has no deadline; nobody knows whether the name
// exists. Both are undelivered.
func (r *Registry) Resolve(ctx context.Context, server string) (Owner, error) {
	if o, ok := r.owners.get(server); ok {
		return o, nil
	}
	if err := name.Check(server); err != nil {
		return Owner{}, noProcess(server, err.Error())
	}
	return r.lookUp(ctx, r.owners, server)
}

// Known is Resolve for what is known already, if it is.
func (r *Registry) Known(server string) (Owner, bool) { return r.owners.get(server) }

// KnownNode is ResolveNode for what is known already, if it is.
func (r *Registry) KnownNode(node string) (incarnation string, ok bool) {
	o, ok := r.nodes.get(node)
	return o.Incarnation, ok
}

// ResolveNode finds the incarnation that bears a node's name, as Resolve does
// for a server's.
func (r *Registry) ResolveNode(ctx context.Context, node string) (incarnation string, err error) {
	if o, ok := r.nodes.get(node); ok {
		return o.Incarnation, nil
	}
	if err := name.CheckToken("node", node); err != nil {
		return "", noProcess("", err.Error())
	}
	o, err := r.lookUp(ctx, r.nodes, node)
	return o.Incarnation, err
}

// Forget drops what is cached of a name if it is still this incarnation, which
// did not have the server: the message met no responder, or was answered with
// "moved". The next Resolve reads the record; while the store does not answer, it falls
// back on what was forgotten.
func (r *Registry) Forget(server, incarnation string) { r.owners.forget(server, incarnation) }

// ForgetNode drops what is cached of a node's name, as Forget does for a server's.
func (r *Registry) ForgetNode(node, incarnation string) { r.nodes.forget(node, incarnation) }

// Doubt has what is cached of a name read again soon, if it is still this
// incarnation, which has not answered a call; until then it stays. Whether the
// incarnation has ended is looked up, too.
func (r *Registry) Doubt(server, incarnation string) { r.doubt(r.owners, server, incarnation) }

// DoubtNode has what is cached of a node's name read again, as Doubt does for a server's.
func (r *Registry) DoubtNode(node, incarnation string) { r.doubt(r.nodes, node, incarnation) }

func (r *Registry) doubt(c *cache, what, incarnation string) {
	c.doubt(what, incarnation)
	r.endings.suspect(incarnation)
	r.repair.signal()
}

// AwaitChange returns when a watch has shown who owns a name from then on, or after d: copies
// can be lost. A name that is given back is no such change. It returns ctx's error if that ends first.
func (r *Registry) AwaitChange(ctx context.Context, server string, d time.Duration) error {
	return awaitChange(ctx, r.owners, server, d)
}

// AwaitNodeChange waits for a change of a node's record, as AwaitChange does for a server's.
func (r *Registry) AwaitNodeChange(ctx context.Context, node string, d time.Duration) error {
	return awaitChange(ctx, r.nodes, node, d)
}

func awaitChange(ctx context.Context, c *cache, what string, d time.Duration) error {
	news, stop := c.await(what)
	defer stop()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-news:
		return nil
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// nodeChanged takes a watched change of a node's record.
func (r *Registry) nodeChanged(ch Change) { r.replaced(r.nodes.changed(ch)) }

// replaced has the session read of an incarnation, if any, that another has taken the
// place of, for it may have ended unnoticed; and what is in doubt since copies were lost.
func (r *Registry) replaced(before string, gap bool) {
	if before != "" {
		r.endings.suspect(before)
	}
	if before != "" || gap {
		r.repair.signal()
	}
}

func (r *Registry) lookUp(ctx context.Context, c *cache, what string) (Owner, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	for {
		l, begun := c.join(what)
		if begun {
			r.read(c, what, l)
		}
		late, inTime := lateFor(c, what)
		select {
		case <-l.done:
			inTime()
		case <-late:
			if o, ok := c.recall(what); ok {
				return o, nil
			}
			continue
		case <-ctx.Done():
			inTime()
			return Owner{}, undelivered(unavailable(serverIn(c, what), ctx.Err()))
		}
		switch {
		case l.err == nil:
			return l.owner, nil
		case errors.Is(l.err, ErrNotFound):
			return Owner{}, noProcess(serverIn(c, what), "no "+Key{c.kind, what}.String()+" in the cluster's records")
		case !transient(l.err) || pause(ctx, lookupPause) != nil:
			return Owner{}, undelivered(unavailable(serverIn(c, what), l.err))
		}
		if o, ok := c.recall(what); ok {
			return o, nil
		}
	}
}

// lateFor is when a forgotten route has waited for its correction for long enough; never,
// if there is none.
func lateFor(c *cache, what string) (late <-chan time.Time, stop func()) {
	if !c.mayRecall(what) {
		return nil, func() {}
	}
	t := time.NewTimer(recallAfter)
	return t.C, func() { t.Stop() }
}

// read finishes a lookup from a goroutine of the registry's, so that the caller
// who began it can give up without spoiling it for the others.
func (r *Registry) read(c *cache, what string, l *lookup) {
	if !r.begin() {
		c.finish(what, l, Entry{}, errLeft)
		return
	}
	go func() {
		defer r.wg.Done()
		ctx, cancel := bounded(r.life)
		defer cancel()
		e, err := r.store.Get(ctx, Key{Kind: c.kind, Name: what})
		c.finish(what, l, e, err)
	}()
}

func decodeOwnerRoute(_ string, value []byte) (Owner, error) {
	rec, err := DecodeOwner(value)
	return Owner{Node: rec.Node, Incarnation: rec.Incarnation}, err
}

func decodeNodeRoute(node string, value []byte) (Owner, error) {
	rec, err := DecodeNode(value)
	if err == nil && rec.Node != node {
		err = fmt.Errorf("node record of %s says it is of %s", node, rec.Node)
	}
	return Owner{Node: rec.Node, Incarnation: rec.Incarnation}, err
}

// serverIn is the server an error is about; none if a node was asked for.
func serverIn(c *cache, what string) string {
	if c.kind == KindOwner {
		return what
	}
	return ""
}
