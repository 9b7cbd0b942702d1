package node

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/transport"
)

// All that a node is sent comes on one subscription, so a flood at one of its
// servers delays the messages for all others, even though each message of it is
// dropped at once. The node therefore tells a sender whose message met a full
// mailbox, and for a short time that sender's node refuses in the node's place:
// casts are dropped and counted there, calls fail with ErrOverloaded, and nothing
// travels. It is a hint: who does not know it, or missed it, sends on, and is
// told again.

// overloadName is where a node takes these notices; no server has it.
const overloadName = "_overload"

const (
	// A notice holds until a quarter of the mailbox should have been handled, at
	// the pace that the server had lately, within these bounds.
	shortestOverload = time.Millisecond
	longestOverload  = 100 * time.Millisecond
	// firstOverload is for a server whose pace is not known.
	firstOverload = 2 * time.Millisecond
	// paceKnown is how long a pace is good for.
	paceKnown = 10 * time.Second
	// maxTold bounds what is remembered of who was told what.
	maxTold = 4096
	// maxNotices is how many may wait to be sent; more are not.
	maxNotices = 256
	// tellTimeout is how long it may take to find where a node is.
	tellTimeout = time.Second
)

// overload is the notice.
type overload struct {
	genserver.Signal
	Name        string        `json:"name"`
	Incarnation string        `json:"incarnation"`
	For         time.Duration `json:"for"`
}

// Op names the message.
func (overload) Op() string { return "overload" }

// overloads tells senders of full mailboxes.
type overloads struct {
	incarnation string
	resolve     func(ctx context.Context, node string) (incarnation string, err error)
	publish     func(incarnation string, m overload) error
	log         *slog.Logger

	notices chan notice
	end     context.CancelFunc
	ended   chan struct{}

	// Of the goroutine that delivers.
	paces map[string]*pace
	told  map[receiver]time.Time // until when
}

// receiver is one server as one node sends to it.
type receiver struct{ server, node string }

type notice struct {
	receiver
	lasts time.Duration
}

// pace is how fast a server handles messages.
type pace struct {
	at      time.Time
	handled uint64
	lasts   time.Duration // of a notice
}

// start begins to send notices.
func (o *overloads) start() {
	ctx, cancel := context.WithCancel(context.Background())
	o.notices, o.end, o.ended = make(chan notice, maxNotices), cancel, make(chan struct{})
	go o.run(ctx)
}

func (o *overloads) close() {
	if o.end != nil {
		o.end()
		<-o.ended
	}
}

func (o *overloads) run(ctx context.Context) {
	defer close(o.ended)
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-o.notices:
			o.tell(ctx, n)
		}
	}
}

func (o *overloads) tell(ctx context.Context, n notice) {
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	to, err := o.resolve(ctx, n.node)
	if err == nil {
		err = o.publish(to, overload{Name: n.server, Incarnation: o.incarnation, For: n.lasts})
	}
	if err != nil {
		o.log.Debug("a sender was not told of an overload", "server", n.server, "node", n.node, "error", err)
	}
}

// full has the sender of a message that was refused told, unless it has been
// lately. It does not block.
func (o *overloads) full(in *genserver.Incoming, box genserver.Overload) {
	if in.FromNode == "" {
		return
	}
	now, to := time.Now(), receiver{in.To, in.FromNode}
	if now.Before(o.told[to]) {
		return
	}
	lasts := o.lasts(in.To, box, now)
	if len(o.told) >= maxTold {
		o.told = nil
	}
	if o.told == nil {
		o.told = make(map[receiver]time.Time)
	}
	o.told[to] = now.Add(lasts)
	select {
	case o.notices <- notice{to, lasts}:
	default: // It will be told the next time.
	}
}

// lasts is how long the mailbox should stay rather full.
func (o *overloads) lasts(server string, box genserver.Overload, now time.Time) time.Duration {
	p := o.paces[server]
	if p == nil || now.Sub(p.at) > paceKnown {
		if o.paces == nil || len(o.paces) >= maxTold {
			o.paces = make(map[string]*pace)
		}
		o.paces[server] = &pace{at: now, handled: box.Handled, lasts: firstOverload}
		return firstOverload
	}
	passed, handled := now.Sub(p.at), box.Handled-p.handled
	if passed < shortestOverload {
		return p.lasts // Too short to tell.
	}
	p.at, p.handled, p.lasts = now, box.Handled, longestOverload
	if handled > 0 {
		each := float64(passed) / float64(handled)
		p.lasts = time.Duration(min(max(each*float64(box.Waiting)/4, float64(shortestOverload)), float64(longestOverload)))
	}
	return p.lasts
}

// refusals are the servers of one peer that are overloaded, as it said.
type refusals struct {
	mu  sync.RWMutex
	all map[string]refusal // guarded by mu; by name
}

type refusal struct {
	until time.Time
	err   *genserver.Error // shared by all who are refused
}

// add heeds a notice.
func (r *refusals) add(m overload, now time.Time) {
	lasts := min(max(m.For, 0), longestOverload)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil || len(r.all) >= maxTold {
		r.all = make(map[string]refusal)
	}
	r.all[m.Name] = refusal{now.Add(lasts), &genserver.Error{
		Code: genserver.ErrOverloaded.Code, Server: m.Name, Undelivered: true,
		Text: "its mailbox was full a moment ago, and nothing is sent to it for " + lasts.String(),
	}}
}

// of is why nothing is to be sent to a server now, or nil.
func (r *refusals) of(name string) error {
	r.mu.RLock()
	refused, ok := r.all[name]
	r.mu.RUnlock()
	if !ok {
		return nil
	}
	if time.Now().Before(refused.until) {
		return refused.err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all[name] == refused {
		delete(r.all, name)
	}
	return nil
}

// overloaded takes a notice from another node.
func (r *router) overloaded(in *genserver.Incoming) {
	var m overload
	if err := in.Body.Decode(&m); err != nil {
		r.log.Debug("a notice of an overload refused", "node", in.FromNode, "error", err)
		return
	}
	if p := r.knownPeer(m.Incarnation); p != nil {
		p.refusals.add(m, time.Now())
	}
}

// publishOverload sends a notice.
func (r *router) publishOverload(incarnation string, m overload) error {
	return transport.Publish(r.conn, transport.Route{Subject: r.subjects.Node(incarnation, overloadName)}, &genserver.Outgoing{
		Envelope: genserver.Envelope{To: overloadName, Kind: genserver.KindInfo, Op: m.Op(), FromNode: r.sys.Node()}, Message: m,
	})
}
