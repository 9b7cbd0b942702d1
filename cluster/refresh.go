package cluster

import (
	"context"
	"errors"
	"time"
)

// background repairs what lost copies and unknown writes have left, until the
// registry ends.
func (r *Registry) background(every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-r.life.Done():
			return
		case <-r.repair:
			r.mend()
			continue
		case <-ticker.C:
		}
		r.refresh(r.owners, r.owners.stale(refreshLimit, maxIdle))
		r.refresh(r.nodes, r.nodes.stale(refreshLimit, maxIdle))
		r.suspectTheSilent()
		r.lookForEnds()
		r.settleAll()
		r.checkOwned()
		r.forgetSightings()
	}
}

// mend reads again what is in doubt, and then rests, so that callers whose calls
// fail can't swamp the store.
func (r *Registry) mend() {
	r.refresh(r.owners, r.owners.takeDoubted())
	r.refresh(r.nodes, r.nodes.takeDoubted())
	r.lookForEnds()
	_ = pause(r.life, lookupPause)
}

// refresh reads again what callers use and no watch has confirmed, or what is in
// doubt. When the store does not answer it gives up until the next round.
func (r *Registry) refresh(c *cache, routes map[string]*route) {
	for what, route := range routes {
		e, err := r.get(Key{Kind: c.kind, Name: what})
		c.refreshed(what, route, e, err)
		if err != nil && transient(err) {
			return
		}
	}
}

func (r *Registry) get(k Key) (Entry, error) {
	ctx, cancel := bounded(r.life)
	defer cancel()
	return r.store.Get(ctx, k)
}

// checkOwned reads some of this node's own names, in case the copy of a change
// was lost; in the end each has its turn.
func (r *Registry) checkOwned() {
	const most = 20
	r.mu.Lock()
	names := make([]string, 0, most)
	for server := range r.epochs { // in no order
		if names = append(names, server); len(names) == most {
			break
		}
	}
	r.mu.Unlock()
	for _, server := range names {
		e, err := r.get(ownerKey(server))
		switch {
		case err == nil:
			r.supersede(server, e.Seq, false)
		case errors.Is(err, ErrNotFound):
			r.supersede(server, e.Seq, true)
		default:
			return // the store does not answer
		}
	}
}

func (r *Registry) settleAll() {
	r.mu.Lock()
	names := make([]string, 0, len(r.unsettled))
	for server := range r.unsettled {
		names = append(names, server)
	}
	r.mu.Unlock()
	for _, server := range names {
		ctx, done, err := r.lockName(r.life, server)
		if err != nil {
			return
		}
		err = r.settleUnlessHeld(ctx, server)
		done()
		if err != nil && r.life.Err() == nil {
			r.log.Warn("a name that this node gave up may still be recorded as its own; will look again",
				"server", server, "error", err)
		}
	}
}

// settleUnlessHeld passes over a name that was claimed anew meanwhile.
func (r *Registry) settleUnlessHeld(ctx context.Context, server string) error {
	r.mu.Lock()
	_, held := r.epochs[server]
	r.mu.Unlock()
	if held {
		return nil
	}
	return r.settleName(ctx, server)
}
