package node

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/transport"
)

// All that a node is sent comes on one subscription, so a flood at one of its
// servers delays the messages for all others, even though each message of it is
// dropped at once. The node therefore tells a sender of many casts that met a full
// mailbox, and for a short time that sender's node drops and counts them in the
// node's place, and nothing travels. It is a hint: who does not know it, or missed
// it, sends on, and is told again. Calls travel: whoever calls waits for the
// answer, so that they don't flood, and only the server knows whether it has room.

// overloadName is where a node takes these notices; no server has it.
const overloadName = "_overload"

const (
	// It is a flood when so many casts of one node met the full mailbox of one
	// server, within that time. Fewer are a burst that was a little too large,
	// after which there soon is room again.
	floodCasts = 100
	floodTime  = 100 * time.Millisecond
	// A notice holds until a quarter of the mailbox should have been handled, at
	// the pace that the server had lately, within these bounds.
	shortestOverload = time.Millisecond
	longestOverload  = 100 * time.Millisecond
	// firstOverload is for a server whose pace is not known.
	firstOverload = 2 * time.Millisecond
	// paceKnown is how long a pace is good for.
	paceKnown = 10 * time.Second
	// maxSenders bounds what is remembered of who sends what.
	maxSenders = 4096
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

// overloads tells senders that flood full mailboxes.
type overloads struct {
	incarnation string
	resolve     func(ctx context.Context, node string) (incarnation string, err error)
	publish     func(incarnation string, m overload) error
	log         *slog.Logger

	notices chan notice
	end     context.CancelFunc
	ended   chan struct{}

	// Of the goroutine that delivers.
	paces   map[string]*pace
	senders map[receiver]*sender
}

// receiver is one server as one node sends to it.
type receiver struct{ server, node string }

// sender is what a node did to a server lately.
type sender struct {
	told    time.Time // until when
	since   time.Time
	refused int // casts since then
}

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

// full counts a message that was refused, and has its sender told where it floods,
// unless it has been lately. It does not block.
func (o *overloads) full(in *genserver.Incoming, box genserver.Overload) {
	if in.FromNode == "" || in.Kind == genserver.KindCall {
		return
	}
	now, to := time.Now(), receiver{in.To, in.FromNode}
	s := o.sender(to)
	if now.Before(s.told) {
		return
	}
	if now.Sub(s.since) > floodTime {
		s.since, s.refused = now, 0
	}
	if s.refused++; s.refused < floodCasts {
		return
	}
	lasts := o.lasts(in.To, box, now)
	s.told, s.refused = now.Add(lasts), 0
	select {
	case o.notices <- notice{to, lasts}:
	default: // It will be told the next time.
	}
}

func (o *overloads) sender(to receiver) *sender {
	s := o.senders[to]
	if s != nil {
		return s
	}
	if o.senders == nil || len(o.senders) >= maxSenders {
		o.senders = make(map[receiver]*sender)
	}
	s = &sender{}
	o.senders[to] = s
	return s
}

// lasts is how long the mailbox should stay rather full.
func (o *overloads) lasts(server string, box genserver.Overload, now time.Time) time.Duration {
	p := o.paces[server]
	if p == nil || now.Sub(p.at) > paceKnown {
		if o.paces == nil || len(o.paces) >= maxSenders {
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
	some atomic.Bool // there are any; written with mu held
	mu   sync.RWMutex
	all  map[string]refusal // guarded by mu; by name
}

type refusal struct {
	until time.Time
	err   *genserver.Error // shared by all that are refused
}

// add heeds a notice.
func (r *refusals) add(m overload, now time.Time) {
	lasts := min(max(m.For, 0), longestOverload)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil || len(r.all) >= maxSenders {
		r.all = make(map[string]refusal)
	}
	r.some.Store(true)
	r.all[m.Name] = refusal{now.Add(lasts), &genserver.Error{
		Code: genserver.ErrOverloaded.Code, Server: m.Name, Undelivered: true,
		Text: "its mailbox was full a moment ago, and no casts are sent to it for " + lasts.String(),
	}}
}

// of is why no casts are to be sent to a server now, or nil.
func (r *refusals) of(name string) error {
	if !r.some.Load() {
		return nil
	}
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
		r.some.Store(len(r.all) > 0)
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
