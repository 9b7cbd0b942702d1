package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// NodeInfo describes the node that joins.
type NodeInfo struct {
	// Node is the node's name, one token of [A-Za-z0-9_-]. Required.
	Node string
	// Host and PID tell a human where the node runs. Default: this process's.
	Host string
	PID  int
	// Release is the program's version, for a human too. May be empty.
	Release string
	// Logger gets what goes wrong in the background. Default: none.
	Logger *slog.Logger
}

// Registry is one node's part in a cluster: it bears the node's name, owns and
// gives back cluster-wide names, and finds the owners of others.
//
//	Join ──▶ joined ──Leave──▶ left (its records are deleted)
//	            └─────Close──▶ left (its records stay, as after a crash)
//
// All methods may be called at once from many goroutines. The registry has one
// goroutine of its own, one per read that callers wait for, and the store's for
// two watches; Leave and Close end them all and wait.
type Registry struct {
	store Store
	info  NodeInfo
	self  Owner // of the node's name
	log   *slog.Logger
	since time.Time

	owners *cache
	nodes  *cache
	stops  []func() // of the watches

	life context.Context // ends with Leave or Close
	end  context.CancelFunc
	wg   sync.WaitGroup // all goroutines and all claims and releases under way

	mu        sync.Mutex
	left      bool
	epochs    map[string]uint64        // of this node's cluster-wide names
	unsettled map[string]struct{}      // names that may be recorded as ours though we do not own them
	busy      map[string]chan struct{} // names with a claim or release under way

	leaving chan struct{} // holds a token while a Leave is at work
}

// Times of the background goroutine. Tests set refreshEvery alone.
const (
	refreshEvery = 5 * time.Second
	refreshLimit = 500 // reads per round and kind, so that a large cache cannot swamp the store
	maxIdle      = 60  // rounds
	lastTry      = 2 * time.Second
)

// Join gives a fresh incarnation the name of a node, and keeps trying until ctx
// ends, or for five seconds if it has no deadline, while the store is away.
//
// A name that has a bearer is refused with an *Error of the code name_taken
// (errors.Is with genserver.ErrNameTaken), whose text says which incarnation it
// is, since when, where it runs and what can be done. After
// genserver.ErrUnavailable the node is not joined; Join has tried to remove what
// it may have written, and if the text says "outcome unknown" a record may be left.
func Join(ctx context.Context, s Store, info NodeInfo) (*Registry, error) {
	return join(ctx, s, info, refreshEvery)
}

func join(ctx context.Context, s Store, info NodeInfo, every time.Duration) (*Registry, error) {
	if info.Host == "" {
		info.Host, _ = os.Hostname() // only for a human's eyes
	}
	if info.PID == 0 {
		info.PID = os.Getpid()
	}
	if info.Logger == nil {
		info.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Registry{
		store:     s,
		info:      info,
		self:      Owner{Node: info.Node, Incarnation: NewIncarnation()},
		log:       info.Logger.With("node", info.Node),
		since:     time.Now().UTC(),
		owners:    newCache(KindOwner, decodeOwnerRoute),
		nodes:     newCache(KindNode, decodeNodeRoute),
		epochs:    map[string]uint64{},
		unsettled: map[string]struct{}{},
		busy:      map[string]chan struct{}{},
		leaving:   make(chan struct{}, 1),
	}
	r.life, r.end = context.WithCancel(context.WithoutCancel(ctx))
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := r.watch(ctx); err != nil {
		_ = r.Close() // never fails
		return nil, fmt.Errorf("join as node %s: %w", info.Node, unavailable("", err))
	}
	if err := r.takeNodeName(ctx); err != nil {
		_ = r.Close() // never fails
		return nil, fmt.Errorf("join as node %s: %w", info.Node, err)
	}
	r.wg.Go(func() { r.background(every) })
	return r, nil
}

func (r *Registry) watch(ctx context.Context) error {
	for _, c := range []*cache{r.owners, r.nodes} {
		stop, err := r.store.Watch(ctx, c.kind, c.changed)
		if err != nil {
			return err
		}
		r.stops = append(r.stops, stop)
	}
	return nil
}

func (r *Registry) takeNodeName(ctx context.Context) error {
	value, err := NodeRecord{
		Incarnation: r.self.Incarnation,
		Node:        r.info.Node,
		Since:       r.since,
		Host:        r.info.Host,
		PID:         r.info.PID,
		Release:     r.info.Release,
	}.Encode()
	if err != nil {
		return err
	}
	key := Key{Kind: KindNode, Name: r.info.Node}
	ours := func(v []byte) bool {
		rec, err := DecodeNode(v)
		return err == nil && rec.Incarnation == r.self.Incarnation
	}
	r.self.Epoch, err = hold(ctx, r.store, key, value, ours)
	var held *heldError
	switch {
	case errors.As(err, &held):
		return nodeTaken(held.entry, r.store)
	case errors.Is(err, ErrUnknown):
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTry)
		defer cancel()
		if settle(ctx, r.store, key, ours) == nil {
			err = errors.New("no acknowledgement in time; nothing is left of the attempt")
		}
		return unavailable("", err)
	case err != nil:
		return unavailable("", err)
	}
	r.nodes.put(r.info.Node, r.self)
	return nil
}

// Incarnation is the id of this life of the node.
func (r *Registry) Incarnation() string { return r.self.Incarnation }

// Node is the node's name.
func (r *Registry) Node() string { return r.info.Node }

// begin lets a claim, release or read start unless the registry has been left.
// Whoever got true calls r.wg.Done.
func (r *Registry) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left {
		return false
	}
	r.wg.Add(1)
	return true
}

// Close ends the registry and leaves its records as they are, as a crash would.
// It cancels what is under way, waits for it, and returns nil.
func (r *Registry) Close() error {
	r.mu.Lock()
	r.left = true
	stops := r.stops
	r.stops = nil
	r.mu.Unlock()
	r.end()
	for _, stop := range stops {
		stop()
	}
	r.wg.Wait()
	r.owners.clear()
	r.nodes.clear()
	return nil
}

// Leave closes the registry, deletes the records of its names, and then the
// node's own. The node must serve none of these names by then. Claims and
// releases under way are cut short and settled here.
//
// An error names the records that may still be there; Leave may be called again
// to go on with them. Once all are gone it returns nil.
func (r *Registry) Leave(ctx context.Context) error {
	_ = r.Close() // never fails
	select {
	case r.leaving <- struct{}{}:
		defer func() { <-r.leaving }()
	case <-ctx.Done():
		return fmt.Errorf("leave as node %s: %w", r.info.Node, ctx.Err())
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := r.releaseAll(ctx); err != nil {
		return fmt.Errorf("leave as node %s: %w", r.info.Node, err)
	}
	if r.self.Epoch == 0 {
		return nil
	}
	if err := letGo(ctx, r.store, Key{Kind: KindNode, Name: r.info.Node}, r.self.Epoch); err != nil {
		return fmt.Errorf("leave as node %s: %w", r.info.Node, unavailable("", err))
	}
	r.self.Epoch = 0
	return nil
}
