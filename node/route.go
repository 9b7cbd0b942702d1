package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/transport"
)

// router is a node's genserver.Router: it finds the incarnation that has a
// name, and sends there.
type router struct {
	conn     transport.Conn
	registry *cluster.Registry
	runs     func(name string) (child string, revision uint64) // whose a name is; set before anything is claimed
	subjects transport.Subjects
	sys      *genserver.System
	log      *slog.Logger

	discovery *transport.Discovery // set before anything is claimed

	mu     sync.RWMutex
	claims map[string]*claim // guarded by mu; of the names that plain clients can reach
	// claiming are those that are on their way there.
	claiming map[string]*claim // guarded by mu

	peers     peers
	overloads overloads
	origins   origins
	moving    moving

	monitors monitors
	life     context.Context //nolint:containedctx // ends what runs in the background
	end      context.CancelFunc
	wg       sync.WaitGroup // what runs in the background; begun with mu held
}

// settledName is where a node calls itself; no server has it.
const settledName = "_settled"

// Waits between attempts at a name whose recorded owner does not have it.
const (
	firstPause   = 2 * time.Millisecond
	longestPause = 250 * time.Millisecond
	// lastAttempt is what an attempt may take.
	lastAttempt = 50 * time.Millisecond
)

// Request sends a call to the incarnation that has the name. While the one on
// record does not answer for it, the call has certainly not been delivered, and
// Request looks again until ctx ends, or m.Deadline: a name on record comes back.
func (r *router) Request(ctx context.Context, m *genserver.Outgoing) (genserver.Body, error) {
	owner, known := r.known(m)
	if known {
		body, err := r.call(ctx, m, owner)
		if err == nil || !strayed(err) {
			return body, named(err, m.To)
		}
		if err := r.stray(m, owner, err); err != nil {
			return nil, err
		}
	}
	if !m.Deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, m.Deadline)
		defer cancel()
	}
	return r.search(ctx, m, owner, func(owner cluster.Owner) (genserver.Body, error) {
		return r.call(ctx, m, owner)
	})
}

// search sends what is for m's name, whose owner is not known, or is no longer the one
// given, if any. The ctx ends with the call.
func (r *router) search(ctx context.Context, m *genserver.Outgoing, last cluster.Owner, send func(cluster.Owner) (genserver.Body, error)) (genserver.Body, error) {
	pause := firstPause
	if last.Incarnation != "" && !r.await(ctx, m, pause) {
		return nil, silent(m, last)
	}
	var since time.Time // there was no owner, of a child of the cluster's tree
	for ; ; pause = min(2*pause, longestPause) {
		owner, err := r.resolve(ctx, m)
		switch {
		case err != nil && ctx.Err() != nil && last.Incarnation != "":
			return nil, silent(m, last)
		case errors.Is(err, genserver.ErrNoProcess) && m.Node == "" && r.mayCome(ctx, m.To, &since):
			if !r.await(ctx, m, pause) {
				return nil, homeless(m)
			}
			continue
		case err != nil:
			return nil, err
		}
		r.moving.came(m.To)
		body, err := send(owner)
		if err == nil || !strayed(err) {
			return body, named(err, m.To)
		}
		if err := r.stray(m, owner, err); err != nil {
			return nil, err
		}
		if !r.await(ctx, m, pause) {
			return nil, silent(m, owner)
		}
		last = owner
	}
}

// await waits until another attempt may go another way, a pause at most. It reports
// false if ctx ended first. One that would come just before the deadline is made only for
// a new owner: cut off by the deadline, it would leave open what became of the call.
func (r *router) await(ctx context.Context, m *genserver.Outgoing, pause time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < pause+lastAttempt {
		pause = time.Until(deadline) + lastAttempt
	}
	if m.Node == "" {
		return r.registry.AwaitChange(ctx, m.To, pause) == nil
	}
	return r.registry.AwaitNodeChange(ctx, m.Node, pause) == nil
}

// stray is what follows on an answer that tells that a call has not arrived: no
// error for another attempt.
func (r *router) stray(m *genserver.Outgoing, owner cluster.Owner, err error) error {
	r.forget(m, owner)
	if m.Node != "" && !errors.Is(err, transport.ErrNoResponders) {
		return err // that node has no such server, which is an answer
	}
	return nil
}

func silent(m *genserver.Outgoing, owner cluster.Owner) error {
	return &genserver.Error{
		Code: genserver.ErrUnavailable.Code, Server: m.To, Undelivered: true,
		Text: fmt.Sprintf("its owner on record, node %s (incarnation %s), does not answer for it", owner.Node, owner.Incarnation),
	}
}

// homeless is of a child of the cluster's tree that no node has run in time.
func homeless(m *genserver.Outgoing) error {
	return &genserver.Error{
		Code: genserver.ErrUnavailable.Code, Server: m.To, Undelivered: true,
		Text: "it's a child of the cluster's tree, and no node runs it at the moment",
	}
}

// Publish sends a cast or an info, once, unless its owner has said that they flood
// the server, or is known to have ended. Whether it arrived is not known.
func (r *router) Publish(ctx context.Context, m *genserver.Outgoing) error {
	owner, err := r.resolve(ctx, m)
	if err != nil {
		return err
	}
	p := r.peer(owner.Incarnation)
	if reason := p.life.Ended(); reason != nil {
		r.doubt(m, owner) // the name may have another owner by now
		return &genserver.Error{Code: genserver.ErrNoProcess.Code, Server: m.To, Text: asError(reason).Text, Undelivered: true}
	}
	if err := p.refusals.of(m.To); err != nil {
		return err
	}
	return transport.Publish(r.conn, r.route(p, m, owner), m)
}

// settle ends the public subjects and returns when everything that NATS has
// had for the node by then has been delivered to its servers' mailboxes.
func (r *router) settle(ctx context.Context) error {
	r.mu.RLock()
	claims := slices.Collect(maps.Values(r.claims))
	r.mu.RUnlock()
	for _, c := range claims {
		if err := c.drain(ctx); err != nil {
			return err
		}
	}
	// Messages come one after another, so the answer to a call of our own,
	// whatever it says, comes after all that was there before.
	self := r.subjects.Node(r.registry.Incarnation(), settledName)
	_, err := transport.Request(ctx, r.conn, transport.Route{Subject: self}, &genserver.Outgoing{
		Envelope: genserver.Envelope{To: settledName, Kind: genserver.KindCall}, Message: genserver.Map{},
	})
	if errors.Is(err, genserver.ErrNoProcess) || errors.Is(err, genserver.ErrDraining) {
		return nil
	}
	return err
}

// known is what resolve finds without having to ask, if it does.
func (r *router) known(m *genserver.Outgoing) (cluster.Owner, bool) {
	if m.Node == "" {
		return r.registry.Known(m.To)
	}
	incarnation, ok := r.registry.KnownNode(m.Node)
	return cluster.Owner{Node: m.Node, Incarnation: incarnation}, ok
}

func (r *router) resolve(ctx context.Context, m *genserver.Outgoing) (cluster.Owner, error) {
	if m.Node == "" {
		return r.registry.Resolve(ctx, m.To)
	}
	incarnation, err := r.registry.ResolveNode(ctx, m.Node)
	return cluster.Owner{Node: m.Node, Incarnation: incarnation}, err
}

func (r *router) doubt(m *genserver.Outgoing, owner cluster.Owner) {
	if m.Node == "" {
		r.registry.Doubt(m.To, owner.Incarnation)
	} else {
		r.registry.DoubtNode(m.Node, owner.Incarnation)
	}
}

func (r *router) forget(m *genserver.Outgoing, owner cluster.Owner) {
	if m.Node == "" {
		r.registry.Forget(m.To, owner.Incarnation)
	} else {
		r.registry.ForgetNode(m.Node, owner.Incarnation)
	}
}

// route is the way to an owner, whose peer it is.
func (r *router) route(p *peer, m *genserver.Outgoing, owner cluster.Owner) transport.Route {
	return transport.Route{
		Subject: p.subject(m.To), Epoch: owner.Epoch, From: r.registry.Incarnation(),
		Peer: &p.life, Sequence: p.sequence, Bundle: p.bundle(),
	}
}

// call sends a call to that owner.
func (r *router) call(ctx context.Context, m *genserver.Outgoing, owner cluster.Owner) (genserver.Body, error) {
	body, err := transport.Request(ctx, r.conn, r.route(r.peer(owner.Incarnation), m, owner), m)
	switch {
	case err == nil:
	case errors.Is(err, transport.ErrPeerEnded):
		r.forget(m, owner)
	case errors.Is(err, context.DeadlineExceeded):
		r.doubt(m, owner) // the route may be wrong; or the server is slow
	}
	return body, err
}

// named makes the one error of transport.Request that is no *genserver.Error
// one: of a caller that canceled, and does not know what came of its call.
func named(err error, server string) error {
	if err == nil {
		return nil
	}
	if e := (*genserver.Error)(nil); errors.As(err, &e) {
		return err
	}
	return fmt.Errorf("%w: %w", &genserver.Error{Code: genserver.ErrTimeout.Code, Server: server}, context.Canceled)
}

// strayed reports an answer that tells only that the message went to the wrong
// place.
func strayed(err error) bool {
	return errors.Is(err, transport.ErrNoResponders) || genserver.NotDelivered(err) &&
		(errors.Is(err, genserver.ErrNoProcess) || errors.Is(err, genserver.ErrMoved))
}

// wait reports false if ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
