package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/civitas-go/civitas/internal/membership"
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
	// EmbeddedServer is the id of the NATS server in this process, if that
	// server alone has the cluster's records and nobody else can have its store
	// directory open; empty otherwise. It lets a node that comes back with its
	// server know at once that its predecessor, whose session names the server
	// before, has ended with it.
	EmbeddedServer string
	// NameLost is called when the record of a name that this node owns was found
	// to be another's or gone, though the node's session lives; only foul play or
	// an operator brings that about. The node must not serve the name any more,
	// nor release it. It is called from a goroutine of the store's or the
	// registry's and must not wait for either. May be nil.
	NameLost func(server string, reason error)
	// TookOver is called when a claim has succeeded an owner that has ended, by
	// whoever claims. May be nil.
	TookOver func(TakeOver)
	// Died is called when this node has declared another dead, from a goroutine of
	// the registry's. May be nil.
	Died func(node, incarnation, reason string)
	// Links brings fast death: witnesses of this node's life, and word of the
	// ends of others'. Nil for none. It must work until Leave or Close has returned.
	Links Links
	// Timing has the waits of the protocol; it must be the same on each node of
	// a cluster. Default: see [Timing].
	Timing Timing
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

	timing membership.Timing
	gate   *Gate
	renew  bell // the session wants to be looked after before its time
	repair bell // so does the background

	unasked atomic.Bool // it was said that NATS can't be asked

	joined     chan struct{} // closed when the session was acknowledged first, or lost
	joinedOnce sync.Once
	lost       chan struct{} // closed when the session is lost

	owners  *cache
	nodes   *cache
	endings endings
	stops   []func() // of the watches

	life context.Context // ends with Leave or Close
	end  context.CancelFunc
	wg   sync.WaitGroup // all goroutines and all claims and releases under way

	mu        sync.Mutex
	left      bool
	session   *membership.Session
	lostErr   error               // set before lost is closed
	sightings map[string]sighting // of others' sessions, by incarnation
	inquiries map[string]*inquiry // likewise
	ends      membership.Ends     // of others' witnesses
	eventsErr error               // why this node is told of none

	witnessServers []string        // that this node's witnesses are to; replaced, not changed
	testify        sync.WaitGroup  // the goroutines of Links, which outlast the life of a node that leaves
	testimony      context.Context //nolint:containedctx // theirs
	endTestimony   context.CancelFunc
	epochs         map[string]uint64            // of this node's cluster-wide names
	unsettled      map[string]*membership.Doubt // names that may be recorded as ours though we do not own them
	busy           map[string]chan struct{}     // names with a claim or release under way

	leaving chan struct{} // holds a token while a Leave is at work
	// Whether the node's record and its session are known not to be there; for
	// whoever has leaving's token, or joins.
	nameGone, sessionGone bool
}

// Times of the background goroutine. Tests set refreshEvery alone.
const (
	refreshEvery = 5 * time.Second
	refreshLimit = 500 // reads per round and kind, so that a large cache cannot swamp the store
	maxIdle      = 60  // rounds
	lastTry      = 2 * time.Second
)

// Join begins a fresh incarnation of a node: it writes its session, renews that
// from then on, and takes the node's name. It keeps trying until ctx ends while
// the store is away. Without a deadline it takes no longer than [Timing].Judge
// and some seconds.
//
// A name whose bearer lives is refused with an *Error of the code name_taken
// (errors.Is with genserver.ErrNameTaken), whose text says which incarnation it
// is, since when, where it runs and what can be done. A bearer that has crashed
// is declared dead once it has been silent for Timing.Judge, or its witnesses are
// known to have ended, and then succeeded.
//
// After an error the node is not joined; Join has tried to remove what it has
// written, and says so if it could not.
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
		unsettled: map[string]*membership.Doubt{},
		busy:      map[string]chan struct{}{},
		timing:    info.Timing.withDefaults(),
		gate:      newGate(),
		renew:     newBell(),
		repair:    newBell(),
		joined:    make(chan struct{}),
		lost:      make(chan struct{}),
		sightings: map[string]sighting{},
		inquiries: map[string]*inquiry{},
		leaving:   make(chan struct{}, 1),
	}
	r.session = membership.NewSession(r.timing, NewIncarnation)
	r.life, r.end = context.WithCancel(context.WithoutCancel(ctx))
	r.testimony, r.endTestimony = context.WithCancel(context.WithoutCancel(ctx))
	r.eventsErr = errAsking
	if info.Links == nil {
		r.eventsErr = fmt.Errorf("%w: the node has no links to NATS for it", ErrNoEvents)
	}
	if err := r.timing.Check(); err != nil {
		return nil, fmt.Errorf("join as node %s: timing: %w", info.Node, err)
	}
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	if err := r.watch(ctx); err != nil {
		_ = r.Close() // never fails
		return nil, fmt.Errorf("join as node %s: %w", info.Node, unavailable("", err))
	}
	r.wg.Go(func() { r.gate.run(r.life.Done()) })
	if err := r.enter(ctx); err != nil {
		return nil, fmt.Errorf("join as node %s: %w; %s", info.Node, err, r.undoJoin(ctx))
	}
	r.wg.Go(func() { r.background(every) })
	return r, nil
}

func (r *Registry) watch(ctx context.Context) error {
	for kind, fn := range map[Kind]func(Change){
		KindOwner: r.ownerChanged, KindNode: r.nodeChanged, KindSession: r.sessionChanged,
	} {
		stop, err := r.store.Watch(ctx, kind, fn)
		if err != nil {
			return err
		}
		r.stops = append(r.stops, stop)
	}
	return nil
}

// enter begins the session, which says that this incarnation lives, and then
// takes the node's name.
func (r *Registry) enter(ctx context.Context) error {
	node, err := r.nodeRecord().Encode()
	if err != nil {
		return err
	}
	r.wg.Go(r.keepSession)
	select {
	case <-r.joined:
	case <-ctx.Done():
		return unavailable("", fmt.Errorf("the session is not acknowledged: %w", ctx.Err()))
	}
	if err := r.Err(); err != nil {
		return err
	}
	if r.info.Links != nil { // they may be asked about the one who bore the name
		r.testify.Go(r.keepLinks)
	}
	got, err := r.take(ctx, nodeKey(r.info.Node), node, nodeHolder)
	if err != nil {
		return r.nodeRefused(err)
	}
	r.self.Epoch = got.seq
	r.nodes.put(r.info.Node, r.self)
	return nil
}

func (r *Registry) nodeRecord() NodeRecord {
	return NodeRecord{
		Incarnation: r.self.Incarnation,
		Node:        r.info.Node,
		Since:       r.since,
		Host:        r.info.Host,
		PID:         r.info.PID,
		Release:     r.info.Release,
	}
}

// undoJoin removes what a join that failed may have written, and says whether
// it could.
func (r *Registry) undoJoin(ctx context.Context) string {
	_ = r.Close() // never fails
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTry)
	defer cancel()
	if err := r.removeNode(ctx); err != nil {
		return fmt.Sprintf("records of the attempt may be left: %v", err)
	}
	return "nothing is left of the attempt"
}

// bounded gives a context without a deadline one that allows for judging a
// predecessor.
func (r *Registry) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, r.timing.Judge+mostWait)
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
	r.shut()
	r.endWitnesses()
	return nil
}

// shut is Close, but for the witnesses: their ends would have a node that leaves
// taken for dead.
func (r *Registry) shut() {
	r.mu.Lock()
	r.left = true
	stops := r.stops
	r.stops = nil
	r.mu.Unlock()
	r.end()
	r.gate.lose()
	for _, stop := range stops {
		stop()
	}
	r.wg.Wait()
	r.owners.clear()
	r.nodes.clear()
}

// Leave closes the registry, deletes the records of its names, the node's own,
// and at last its session. The node must serve none of these names by then.
// Claims and releases under way are cut short and settled here.
//
// An error names the records that may still be there; Leave may be called again
// to go on with them. Once all are gone it returns nil. Where the session is
// left, others can have the names when they have found it silent for as long as
// [Timing].Judge.
func (r *Registry) Leave(ctx context.Context) error {
	defer r.endWitnesses()
	r.shut()
	select {
	case r.leaving <- struct{}{}:
		defer func() { <-r.leaving }()
	case <-ctx.Done():
		return fmt.Errorf("leave as node %s: %w", r.info.Node, ctx.Err())
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	// The session goes even if an own record is left: it is what keeps others
	// from the name.
	if err := errors.Join(r.releaseAll(ctx), r.removeNode(ctx)); err != nil {
		return fmt.Errorf("leave as node %s: %w", r.info.Node, err)
	}
	return nil
}

// removeNode deletes the node's record and its session, unless they are another's
// or say that it is dead.
func (r *Registry) removeNode(ctx context.Context) error {
	if !r.nameGone {
		if _, err := r.settle(ctx, nodeKey(r.info.Node), nodeHolder); err != nil {
			return unavailable("", err)
		}
		r.nameGone = true
	}
	if !r.sessionGone {
		if _, err := r.settle(ctx, sessionKey(r.self.Incarnation), sessionHolder); err != nil {
			return unavailable("", err)
		}
		r.sessionGone = true
	}
	return nil
}

func nodeKey(node string) Key { return Key{Kind: KindNode, Name: node} }
