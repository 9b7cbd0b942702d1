package node

import (
	"context"
	"maps"
	"slices"

	"github.com/civitas-go/civitas/cluster"
)

// nameLost is called by the registry when a name is another's, though this node's
// session lives.
func (r *router) nameLost(server string, reason error) {
	r.mu.Lock()
	c := r.claims[server]
	if c == nil {
		c = r.claiming[server]
	}
	r.mu.Unlock()
	if c != nil {
		r.fence(reason, c)
	}
}

// sessionLost ends the servers of all names of a node that was declared dead. They
// have ended as fenced when it returns.
func (r *router) sessionLost(reason error) {
	r.mu.RLock()
	all := append(slices.Collect(maps.Values(r.claims)), slices.Collect(maps.Values(r.claiming))...)
	r.mu.RUnlock()
	for _, c := range all {
		c.lost.Store(true)
	}
	ended := r.endLost(reason, all)
	if r.begin() {
		go func() {
			defer r.wg.Done()
			r.drainLost(ended)
		}()
	}
}

// fence ends the servers of claims that are lost. Their gates are closed when it
// returns; the rest is done in the background.
func (r *router) fence(reason error, lost ...*claim) {
	for _, c := range lost {
		c.lost.Store(true)
	}
	if !r.begin() {
		return
	}
	go func() {
		defer r.wg.Done()
		r.drainLost(r.endLost(reason, lost))
	}()
}

// endLost ends the servers of those claims that are held still, and returns these.
func (r *router) endLost(reason error, lost []*claim) (held []*claim) {
	for _, c := range lost {
		r.mu.Lock()
		known := r.claims[c.name] == c
		if known {
			delete(r.claims, c.name)
		}
		r.mu.Unlock()
		if known { // and neither being claimed, nor released
			r.sys.Fence(c.name, c.epoch, asError(reason).Text)
			held = append(held, c)
		}
	}
	return held
}

// drainLost ends the public subjects of names that were lost.
func (r *router) drainLost(lost []*claim) {
	for _, c := range lost {
		ctx, cancel := context.WithTimeout(r.life, claimTimeout)
		if err := c.drain(ctx); err != nil {
			r.log.Warn("the public subject of a lost name was not drained", "server", c.name, "error", err)
		}
		cancel()
	}
}

// watchSession ends the node when its session is lost: its cluster-wide servers at
// once, then the tree.
func (n *Node) watchSession() {
	select {
	case <-n.registry.Lost():
	case <-n.router.life.Done():
		return
	}
	record := cluster.Key{Kind: cluster.KindSession, Name: n.registry.Incarnation()}
	reason := *asError(n.registry.Err())
	reason.Undelivered, reason.Text = false, reason.Text+"; its record is "+record.String()
	n.router.sessionLost(&reason)
	n.happened(cluster.Event{Kind: cluster.EventFenced, Reason: reason.Text})
	select {
	case <-n.started:
		n.root.RequestStop(&reason)
	case <-n.router.life.Done():
	}
}
