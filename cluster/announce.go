package cluster

import (
	"context"
	"fmt"
	"slices"
)

// Announce writes into the node's record what it can run for the cluster; the
// coordinator gives it children from then on.
//
// genserver.ErrUnavailable: the store did not answer until ctx ended; the record
// may say it or not. genserver.ErrNameTaken: the record is another incarnation's.
func (r *Registry) Announce(ctx context.Context, o Offer) error {
	if err := r.Err(); err != nil {
		return fmt.Errorf("announce node %s: %w", r.info.Node, err)
	}
	record := r.nodeRecord()
	record.Offer = &o
	value, err := record.Encode()
	if err != nil {
		return fmt.Errorf("announce node %s: %w", r.info.Node, err)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	if !r.begin() {
		return fmt.Errorf("announce node %s: %w", r.info.Node, unavailable("", errLeft))
	}
	defer r.wg.Done()
	ctx, unbind := r.within(ctx)
	defer unbind()
	if _, err := r.take(ctx, nodeKey(r.info.Node), value, nodeHolder); err != nil {
		return fmt.Errorf("announce node %s: %w", r.info.Node, r.nodeRefused(err))
	}
	return nil
}

// within is ctx, ended by the registry's end too.
func (r *Registry) within(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	unbind := context.AfterFunc(r.life, cancel)
	return ctx, func() {
		unbind()
		cancel()
	}
}

// living are the incarnations that were heard of not long ago, this one
// included, in order.
func (r *Registry) living() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.gate.now()
	all := []string{r.self.Incarnation}
	for incarnation, seen := range r.sightings {
		if now-seen.at <= r.timing.Judge {
			all = append(all, incarnation)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
