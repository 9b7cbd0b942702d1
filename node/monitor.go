package node

import (
	"context"
	"errors"
	"sync"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/transport"
)

// A monitor of another node's server is kept by both nodes. The one that
// monitors asks until the other has answered, and follows that incarnation, whose
// end is the server's. The other one tells of the server's end until that is
// answered (watch.go). So nothing that the network loses is lost, and what it
// brings twice is known by its id: a connection may come and go in between.

// monitors are both nodes' parts in this node.
type monitors struct {
	follow func(incarnation string, fn func(reason error)) (stop func())

	mu       sync.Mutex
	last     uint64
	asked    map[uint64]*farMonitor
	watchers map[string]*watcher // by incarnation
	closed   bool
	told     chan struct{} // holds a token when something has been told
}

// begin readies them; follow is the registry's.
func (ms *monitors) begin(follow func(string, func(error)) func()) {
	ms.follow, ms.asked, ms.watchers = follow, map[uint64]*farMonitor{}, map[string]*watcher{}
	ms.told = make(chan struct{}, 1)
}

// farMonitor waits for the end of a server of another node.
type farMonitor struct {
	id   uint64
	to   *genserver.Outgoing // nothing but a name, and a node or none
	down func(genserver.Down)
	end  context.CancelFunc // of what asks

	// Guarded by monitors.mu.
	owner      cluster.Owner // who is, or was, asked
	generation uint64        // once it's known
	gone       error         // why the owner has ended, if that came before its answer
	unfollow   func()
}

// Monitor implements genserver.Router.
func (r *router) Monitor(name, node string, down func(genserver.Down)) (cancel func()) {
	ctx, end := context.WithCancel(r.life)
	m := &farMonitor{down: down, end: end}
	m.to = &genserver.Outgoing{Envelope: genserver.Envelope{To: name}, Node: node}
	ms := &r.monitors
	ms.mu.Lock()
	ms.last++
	m.id = ms.last
	ms.asked[m.id] = m
	ms.mu.Unlock()
	if r.begin() {
		go func() {
			defer r.wg.Done()
			r.monitor(ctx, m)
		}()
	}
	return func() {
		owner, waiting := ms.take(m)
		if waiting && owner.Incarnation != "" {
			// Should it get lost: what the other node tells is not asked for then.
			_ = transport.Publish(r.conn, r.runtimeOf(owner.Incarnation), r.toRuntime(genserver.KindCast, endMonitor{ID: m.id, Incarnation: r.registry.Incarnation()}))
		}
	}
}

// take ends a monitor, and reports whether it still waited.
func (ms *monitors) take(m *farMonitor) (owner cluster.Owner, waiting bool) {
	ms.mu.Lock()
	waiting = ms.asked[m.id] == m
	delete(ms.asked, m.id)
	owner = m.owner
	unfollow := m.unfollow
	m.unfollow = nil
	ms.mu.Unlock()
	m.end()
	if unfollow != nil {
		unfollow()
	}
	return owner, waiting
}

// tell ends a monitor with its Down, once.
func (ms *monitors) tell(m *farMonitor, generation uint64, reason *genserver.Error) {
	owner, waiting := ms.take(m)
	if !waiting {
		return
	}
	d := genserver.Down{Server: m.to.To, Node: m.to.Node, Generation: generation, Reason: reason}
	if d.Node == "" {
		d.Node = owner.Node
	}
	m.down(d)
}

// monitor asks the node that has the server, until it knows.
func (r *router) monitor(ctx context.Context, m *farMonitor) {
	refused := ""
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, longestPause) {
		owner, err := r.resolve(ctx, m.to)
		var gone error
		var generation uint64
		if err == nil {
			r.followFor(m, owner)
			err = r.askFor(ctx, m, owner)
			generation, gone = r.monitors.fate(m)
		}
		switch {
		case gone != nil && (err == nil || refused == owner.Incarnation):
			r.monitors.tell(m, generation, asError(gone))
			return
		case gone != nil: // but the record may be of yesterday
			refused = owner.Incarnation
			r.forget(m.to, owner)
			continue
		case err == nil:
			return // from here on the other node tells, or its end does
		case strayed(err) && owner.Incarnation == "":
			r.monitors.tell(m, 0, asError(err)) // not on record
			return
		case strayed(err) && !errors.Is(err, transport.ErrNoResponders):
			// Likewise; if it says the same again, it isn't.
			if m.to.Node != "" || refused == owner.Incarnation {
				r.monitors.tell(m, 0, asError(err))
				return
			}
			refused = owner.Incarnation
			r.forget(m.to, owner)
			continue
		case errors.Is(err, transport.ErrNoResponders):
			r.forget(m.to, owner)
		case refusedForGood(err):
			r.monitors.tell(m, 0, asError(err))
			return
		}
		wait(ctx, pause)
	}
}

// fate is why the node that was asked has ended, if it has, and what it had answered.
func (ms *monitors) fate(m *farMonitor) (generation uint64, gone error) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	return m.generation, m.gone
}

// askFor asks an incarnation once.
func (r *router) askFor(ctx context.Context, m *farMonitor, owner cluster.Owner) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	body, err := r.command(ctx, owner, askMonitor{ID: m.id, Incarnation: r.registry.Incarnation(), Server: m.to.To})
	if err != nil {
		return err
	}
	var answer monitored
	if err := body.Decode(&answer); err != nil {
		return err
	}
	r.monitors.mu.Lock()
	m.generation = answer.Generation
	r.monitors.mu.Unlock()
	return nil
}

// followFor has the end of an incarnation be the monitored server's.
func (r *router) followFor(m *farMonitor, owner cluster.Owner) {
	ms := &r.monitors
	ms.mu.Lock()
	same := m.owner.Incarnation == owner.Incarnation
	before := m.unfollow
	if !same {
		m.owner, m.unfollow, m.gone = owner, nil, nil
	}
	ms.mu.Unlock()
	if same {
		return
	}
	if before != nil {
		before()
	}
	unfollow := ms.follow(owner.Incarnation, func(reason error) {
		ms.mu.Lock()
		current := m.owner.Incarnation == owner.Incarnation
		generation := m.generation
		if current && generation == 0 {
			m.gone = reason
		}
		ms.mu.Unlock()
		if current && generation > 0 {
			ms.tell(m, generation, asError(reason))
		}
	})
	ms.mu.Lock()
	kept := ms.asked[m.id] == m
	if kept {
		m.unfollow = unfollow
	}
	ms.mu.Unlock()
	if !kept {
		unfollow()
	}
}

// told takes the ends of servers that this node monitors. One that it does not
// know of has been told before, or taken back.
func (r *router) told(in *genserver.Incoming, m tellDown) error {
	reasons := make([]*genserver.Error, len(m.Downs))
	for i, d := range m.Downs {
		var err error
		if reasons[i], err = reasonOf(d.Reason); err != nil {
			return err
		}
	}
	ms := &r.monitors
	for i, d := range m.Downs {
		ms.mu.Lock()
		far := ms.asked[d.ID]
		ms.mu.Unlock()
		if far != nil {
			ms.tell(far, d.Generation, reasons[i])
		}
	}
	in.Reply.Reply(genserver.Map{}, nil)
	return nil
}

// refusedForGood reports an answer that another attempt would not change.
func refusedForGood(err error) bool {
	return errors.Is(err, errOlder) || errors.Is(err, genserver.ErrBadPayload)
}

// unreachable reports an error of the connection, or of the records.
func unreachable(err error) bool {
	for _, e := range []error{transport.ErrNotConnected, transport.ErrClosed, transport.ErrDisconnected, context.DeadlineExceeded, context.Canceled} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// asError is the *genserver.Error that an error is, or has in it.
func asError(err error) *genserver.Error {
	var e *genserver.Error
	if errors.As(err, &e) {
		return e
	}
	return &genserver.Error{Code: genserver.ErrUnavailable.Code, Text: err.Error()}
}
