package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/civitas-go/civitas/internal/name"
)

// Claim makes this node the owner of a cluster-wide name and returns the epoch,
// which is higher than that of any owner before. While the store is away or
// leaves an outcome open, it keeps trying until ctx ends, or for five seconds
// if that has no deadline.
//
// genserver.ErrNameTaken: another incarnation has the name, or this one already
// does; the text says which. genserver.ErrUnavailable: the store did not answer;
// the name is not owned, and should its record come to be this incarnation's
// after all, it is removed in the background.
func (r *Registry) Claim(ctx context.Context, server string) (epoch uint64, err error) {
	if err := name.Check(server); err != nil {
		return 0, fmt.Errorf("claim: %w", err)
	}
	ctx, done, err := r.lockName(ctx, server)
	if err != nil {
		return 0, err
	}
	defer done()

	r.mu.Lock()
	_, mine := r.epochs[server]
	r.mu.Unlock()
	if mine {
		return 0, taken(server, "this node already owns it")
	}
	value, err := OwnerRecord{Incarnation: r.self.Incarnation, Node: r.info.Node, Since: time.Now().UTC()}.Encode()
	if err != nil {
		return 0, fmt.Errorf("claim %s: %w", server, err)
	}
	epoch, err = hold(ctx, r.store, ownerKey(server), value, r.owns)
	if err != nil {
		return 0, r.claimFailed(server, err)
	}
	r.mu.Lock()
	r.epochs[server] = epoch
	delete(r.unsettled, server)
	r.mu.Unlock()
	r.owners.put(server, Owner{Node: r.info.Node, Incarnation: r.self.Incarnation, Epoch: epoch})
	return epoch, nil
}

func (r *Registry) claimFailed(server string, err error) error {
	var held *heldError
	switch {
	case errors.As(err, &held):
		return ownerTaken(server, held.entry, r.store)
	case errors.Is(err, ErrUnknown):
		r.unsettle(server)
	}
	return unavailable(server, err)
}

// Release gives a name back: it deletes the very record that the claim wrote.
// The node must not serve the name any more, and from here on the registry does
// not own it, whatever the result. Releasing a name that is not owned is nil.
//
// genserver.ErrUnavailable: the record may still be there; it is removed in the
// background, or by Leave, as soon as the store answers.
func (r *Registry) Release(ctx context.Context, server string) error {
	ctx, done, err := r.lockName(ctx, server)
	if err != nil {
		return err
	}
	defer done()

	r.mu.Lock()
	epoch, mine := r.epochs[server]
	delete(r.epochs, server)
	r.mu.Unlock()
	if !mine {
		return nil
	}
	r.owners.forget(server, r.self.Incarnation)
	if err := letGo(ctx, r.store, ownerKey(server), epoch); err != nil {
		r.unsettle(server)
		return unavailable(server, err)
	}
	return nil
}

// unsettle has the background look after a name that may be recorded as ours.
func (r *Registry) unsettle(server string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unsettled[server] = struct{}{}
}

// settle makes sure that the record of a name we do not own is not ours.
func (r *Registry) settle(ctx context.Context, server string) error {
	if err := settle(ctx, r.store, ownerKey(server), r.owns); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.unsettled, server)
	return nil
}

// releaseAll deletes what this incarnation still has, some records at a time.
func (r *Registry) releaseAll(ctx context.Context) error {
	r.mu.Lock()
	names := make(map[string]uint64, len(r.epochs)+len(r.unsettled))
	for server := range r.unsettled {
		names[server] = 0
	}
	maps.Copy(names, r.epochs)
	r.mu.Unlock()

	const atOnce = 16
	var (
		wg    sync.WaitGroup
		slots = make(chan struct{}, atOnce)
		mu    sync.Mutex
		errs  []error
	)
	for server, epoch := range names {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := r.releaseLast(ctx, server, epoch); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, unavailable(server, err))
			}
		})
	}
	wg.Wait()
	const shown = 10
	if extra := len(errs) - shown; extra > 0 {
		errs = append(errs[:shown], fmt.Errorf("and %d more", extra))
	}
	return errors.Join(errs...)
}

func (r *Registry) releaseLast(ctx context.Context, server string, epoch uint64) error {
	if epoch == 0 {
		return r.settle(ctx, server)
	}
	if err := letGo(ctx, r.store, ownerKey(server), epoch); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.epochs, server)
	return nil
}

// lockName makes a claim or release of a name wait for the one before it. The
// context it returns ends with the registry too, and after some seconds if ctx
// has no deadline.
func (r *Registry) lockName(ctx context.Context, server string) (context.Context, func(), error) {
	ctx, cancel := bounded(ctx)
	for {
		r.mu.Lock()
		if r.left {
			r.mu.Unlock()
			cancel()
			return nil, nil, undelivered(unavailable(server, errLeft))
		}
		other, locked := r.busy[server]
		if !locked {
			r.wg.Add(1)
			mine := make(chan struct{})
			r.busy[server] = mine
			r.mu.Unlock()
			ctx, cancelBoth := context.WithCancel(ctx)
			unbind := context.AfterFunc(r.life, cancelBoth)
			return ctx, func() {
				unbind()
				cancelBoth()
				cancel()
				r.mu.Lock()
				delete(r.busy, server)
				r.mu.Unlock()
				close(mine)
				r.wg.Done()
			}, nil
		}
		r.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			cancel()
			return nil, nil, unavailable(server, ctx.Err())
		}
	}
}

// owns reports whether an owner record names this incarnation.
func (r *Registry) owns(value []byte) bool {
	rec, err := DecodeOwner(value)
	return err == nil && rec.Incarnation == r.self.Incarnation
}

func ownerKey(server string) Key { return Key{Kind: KindOwner, Name: server} }
