package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/name"
)

// Claim makes this node the owner of a cluster-wide name and returns the epoch,
// which is higher than that of any owner before. While the store is away or
// leaves an outcome open, it keeps trying until ctx ends. Without a deadline it
// takes no longer than [Timing].Judge and some seconds.
//
// A name whose owner has left or was declared dead is taken over at once; one
// whose owner is silent, once that has been so for Timing.Judge, or once
// the connections that witness its life are known to have ended: see [Links].
//
// genserver.ErrNameTaken: another incarnation has the name and lives, or is silent
// and ctx has ended first, or this one already has it; the text says which.
// genserver.ErrFenced: this node's session is lost. genserver.ErrUnavailable: the store did not answer;
// the name is not owned, and should its record come to be this incarnation's
// after all, it is removed in the background.
func (r *Registry) Claim(ctx context.Context, server string) (epoch uint64, err error) {
	return r.ClaimFor(ctx, server, "", 0)
}

// ClaimFor is Claim of a name of a child of the cluster's tree that runs by that
// revision of its [SpecRecord], which the owner's record says then.
func (r *Registry) ClaimFor(ctx context.Context, server, child string, revision uint64) (epoch uint64, err error) {
	if err := name.Check(server); err != nil {
		return 0, fmt.Errorf("claim: %w", err)
	}
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	ctx, done, err := r.lockName(ctx, server)
	if err != nil {
		return 0, err
	}
	defer done()

	r.mu.Lock()
	_, mine := r.epochs[server]
	lost := r.lostErr
	r.mu.Unlock()
	if lost != nil {
		return 0, fmt.Errorf("claim %s: %w", server, lost)
	}
	if mine {
		return 0, taken(server, "this node already owns it")
	}
	value, err := OwnerRecord{
		Incarnation: r.self.Incarnation, Node: r.info.Node, Since: time.Now().UTC(), Child: child, Revision: revision,
	}.Encode()
	if err != nil {
		return 0, fmt.Errorf("claim %s: %w", server, err)
	}
	got, err := r.take(ctx, ownerKey(server), value, ownerHolder)
	if err != nil {
		return 0, r.claimFailed(server, got.expect, err)
	}
	r.mu.Lock()
	r.epochs[server] = got.seq
	delete(r.unsettled, server)
	r.mu.Unlock()
	r.owners.put(server, Owner{Node: r.info.Node, Incarnation: r.self.Incarnation, Epoch: got.seq})
	if got.from != "" {
		t := TakeOver{Server: server, Epoch: got.seq, From: got.from, Node: got.seen.record.Node, Since: r.gate.now() - got.seen.at}
		r.log.Info("took over a name", "server", t.Server, "from", t.From, "epoch", t.Epoch, "after", t.Since)
		if r.info.TookOver != nil {
			r.info.TookOver(t)
		}
	}
	return got.seq, nil
}

// TakeOver is a name that this node has from one that has ended.
type TakeOver struct {
	Server string
	Epoch  uint64
	// From is the incarnation that had it, on the node Node, which is empty if
	// nobody here has seen its session.
	From, Node string
	// Since is how long ago this node has seen that session change last.
	Since time.Duration
}

func (r *Registry) claimFailed(server string, expect uint64, err error) error {
	var held *heldError
	if errors.As(err, &held) && held.unknown || errors.Is(err, ErrUnknown) {
		r.unsettle(server, expect)
	}
	if held != nil {
		return r.ownerTaken(server, held)
	}
	return unavailable(server, err)
}

// ownerChanged takes a watched change of an owner record.
func (r *Registry) ownerChanged(ch Change) {
	r.replaced(r.owners.changed(ch))
	r.supersede(ch.Key.Name, ch.Seq, ch.Deleted)
}

// supersede notes that an owner record has the sequence seq: if the name is ours
// by an older one, it is ours no more.
func (r *Registry) supersede(server string, seq uint64, deleted bool) {
	r.mu.Lock()
	epoch, mine := r.epochs[server]
	mine = mine && seq > epoch
	if mine {
		delete(r.epochs, server)
	}
	r.mu.Unlock()
	if !mine {
		return
	}
	how := fmt.Sprintf("another has owned it since epoch %d", seq)
	if deleted {
		how = "its record was removed"
	}
	err := &genserver.Error{
		Code: genserver.ErrFenced.Code, Server: server, Undelivered: true,
		Text: fmt.Sprintf("node %s owned it with epoch %d, %s", r.info.Node, epoch, how),
	}
	r.log.Error("a name was taken from this node", "server", server, "error", err)
	if r.info.NameLost != nil {
		r.info.NameLost(server, err)
	}
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
	if err := r.letGo(ctx, ownerKey(server), epoch); err != nil {
		r.unsettle(server, epoch)
		return unavailable(server, err)
	}
	return nil
}

// unsettle has the background look after a name that may be recorded as ours.
func (r *Registry) unsettle(server string, expect uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unsettled[server] = r.unsettled[server].With(expect)
}

// settleName makes sure that the record of a name we do not own is not ours.
func (r *Registry) settleName(ctx context.Context, server string) error {
	release, err := r.settle(ctx, ownerKey(server), ownerHolder)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// While the node leaves a read will do: the end of its session frees the name.
	if d := r.unsettled[server]; d != nil && (d.Settled(r.gate.now(), release, r.timing.Judge) || r.left) {
		delete(r.unsettled, server)
	}
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
		return r.settleName(ctx, server)
	}
	if err := r.letGo(ctx, ownerKey(server), epoch); err != nil {
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

func ownerKey(server string) Key { return Key{Kind: KindOwner, Name: server} }
