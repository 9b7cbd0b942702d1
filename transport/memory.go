package transport

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// DefaultMaxPayload is the most that one message may hold on a [Hub], headers
// included, in bytes: what a NATS server allows if not told otherwise.
const DefaultMaxPayload = 1 << 20

// Hub is a message broker in memory, for tests and for programs of one
// process. It has the subjects, wildcards and errors of NATS. Dialled within
// a synctest bubble, its connections work in virtual time there. It is a broker
// without faults until [Hub.Inject] or [Hub.Cut] asks for some.
//
// A message is in the queue of every subscription it matches when Publish
// returns. Queues have no bound: a test that publishes faster than it
// delivers takes memory.
type Hub struct {
	mu       sync.RWMutex
	dialled  int                           // guarded by mu
	exact    map[string][]*memSubscription // guarded by mu; the slices are never changed in place
	wildcard []*memSubscription            // guarded by mu; never changed in place

	faults faults
}

// NewHub makes a Hub that nobody is connected to. It has no goroutines of its
// own and needs no closing.
func NewHub() *Hub {
	return &Hub{exact: make(map[string][]*memSubscription)}
}

// Dial makes a connection to the Hub. The name is for errors and for [Hub.Cut].
// The caller owns the connection and closes it.
func (h *Hub) Dial(name string) Conn {
	h.mu.Lock()
	h.dialled++
	n := h.dialled
	h.mu.Unlock()
	c := &memConn{hub: h, name: name, subs: make(map[*memSubscription]struct{})}
	c.inflight = newInflight(fmt.Sprintf("_INBOX.%d", n))
	c.replies = &memSubscription{conn: c, subject: c.inflight.subject(), inline: c.inflight.answer}
	h.add(c.replies)
	return c
}

func (h *Hub) add(s *memSubscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if isWildcard(s.subject) {
		h.wildcard = append(slices.Clip(h.wildcard), s)
		return
	}
	h.exact[s.subject] = append(slices.Clip(h.exact[s.subject]), s)
}

func (h *Hub) remove(s *memSubscription) {
	h.faults.forget(func(k linkKey) bool { return k.to == s })
	h.mu.Lock()
	defer h.mu.Unlock()
	without := func(list []*memSubscription) []*memSubscription {
		return slices.DeleteFunc(slices.Clone(list), func(o *memSubscription) bool { return o == s })
	}
	if isWildcard(s.subject) {
		h.wildcard = without(h.wildcard)
		return
	}
	if h.exact[s.subject] = without(h.exact[s.subject]); len(h.exact[s.subject]) == 0 {
		delete(h.exact, s.subject)
	}
}

// route puts a message into every queue it belongs to and reports how many
// those are. Answers to requests are given at once, in the sender's goroutine.
func (h *Hub) route(from *memConn, m Msg) int {
	h.mu.RLock()
	exact, wildcard := h.exact[m.Subject], h.wildcard
	h.mu.RUnlock()
	faulty := h.faults.active.Load()
	n := 0
	for _, s := range exact {
		n += h.pass(from, s, m, faulty)
	}
	for _, s := range wildcard {
		if matches(s.subject, m.Subject) {
			n += h.pass(from, s, m, faulty)
		}
	}
	return n
}

func (h *Hub) pass(from *memConn, s *memSubscription, m Msg, faulty bool) int {
	if faulty {
		return h.faults.pass(from, s, m)
	}
	return s.offer(m)
}

type memConn struct {
	hub      *Hub
	name     string
	inflight *inflight
	replies  *memSubscription

	mu     sync.Mutex
	closed bool                          // guarded by mu
	subs   map[*memSubscription]struct{} // guarded by mu
	send   sync.Mutex                    // held while a message is routed, which keeps this Conn's order
}

func (c *memConn) Publish(m Msg) error {
	_, err := c.publish(m)
	return err
}

func (c *memConn) publish(m Msg) (int, error) {
	if err := c.open(); err != nil {
		return 0, err
	}
	if err := checkSubject(m.Subject, false); err != nil {
		return 0, err
	}
	if m.Reply != "" {
		if err := checkSubject(m.Reply, false); err != nil {
			return 0, err
		}
	}
	if size := m.size(); size > DefaultMaxPayload {
		return 0, tooLarge(size, DefaultMaxPayload)
	}
	m.Data = slices.Clone(m.Data)
	m.Header = maps.Clone(m.Header)
	c.send.Lock()
	defer c.send.Unlock()
	return c.hub.route(c, m), nil
}

func (c *memConn) Request(ctx context.Context, m Msg) (Msg, error) {
	p, err := c.inflight.begin(ctx, m.Peer)
	if err != nil {
		return Msg{}, err
	}
	m.Reply = c.inflight.reply(p)
	n, err := c.publish(m)
	if err == nil && n == 0 {
		err = ErrNoResponders
	}
	m.sent(err)
	return c.inflight.await(ctx, m.Until, p, err)
}

func (c *memConn) Fail(to *Peer, reason error) {
	to.end(reason)
	c.inflight.failPeer(to)
}

func (c *memConn) Subscribe(subject string, deliver func(Msg)) (Subscription, error) {
	if err := checkSubject(subject, true); err != nil {
		return nil, err
	}
	s := &memSubscription{
		conn: c, subject: subject, deliver: deliver,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, c.errClosed()
	}
	c.subs[s] = struct{}{}
	c.hub.add(s)
	go s.run()
	return s, nil
}

// Flush has nothing to wait for: Publish and Subscribe are done when they return.
func (c *memConn) Flush(ctx context.Context) error {
	if err := c.open(); err != nil {
		return err
	}
	return ctx.Err()
}

func (c *memConn) Close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	subs := slices.Collect(maps.Keys(c.subs))
	c.mu.Unlock()

	c.hub.remove(c.replies)
	c.hub.faults.forget(func(k linkKey) bool { return k.from == c })
	c.inflight.close(c.errClosed(), fmt.Errorf("%w: %s was closed", ErrDisconnected, c.name))
	for _, s := range subs {
		s.discard()
	}
	for _, s := range subs {
		if err := s.wait(ctx); err != nil {
			return fmt.Errorf("close %s: a delivery on %s still runs: %w", c.name, s.subject, err)
		}
	}
	return nil
}

func (c *memConn) open() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.errClosed()
	}
	return nil
}

func (c *memConn) errClosed() error { return fmt.Errorf("%w: %s", ErrClosed, c.name) }

func (c *memConn) forget(s *memSubscription) {
	c.mu.Lock()
	delete(c.subs, s)
	c.mu.Unlock()
}

// memSubscription is a queue and the goroutine that empties it; its Conn
// owns both. The subscription of a Conn's answers has neither.
type memSubscription struct {
	conn    *memConn
	subject string
	deliver func(Msg)
	inline  func(Msg) // instead of all below

	wake chan struct{} // one slot: something below has changed
	done chan struct{} // closed when the goroutine ends

	mu        sync.Mutex
	queue     []Msg // guarded by mu
	ending    bool  // guarded by mu; no more is taken, what is queued is delivered
	discarded bool  // guarded by mu; what was queued is lost
}

func (s *memSubscription) offer(m Msg) int {
	if s.inline != nil {
		s.inline(m)
		return 1
	}
	s.mu.Lock()
	if s.ending {
		s.mu.Unlock()
		return 0
	}
	s.queue = append(s.queue, m)
	s.mu.Unlock()
	s.signal()
	return 1
}

func (s *memSubscription) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *memSubscription) run() {
	defer close(s.done)
	defer s.conn.forget(s)
	for {
		s.mu.Lock()
		batch, ending := s.queue, s.ending
		s.queue = nil
		s.mu.Unlock()
		for i := range batch {
			if s.lost() {
				break
			}
			s.deliver(batch[i])
			batch[i] = Msg{}
		}
		if ending && len(batch) == 0 {
			return
		}
		if len(batch) == 0 {
			<-s.wake
		}
	}
}

func (s *memSubscription) Drain(ctx context.Context) error {
	s.end()
	if err := s.wait(ctx); err != nil {
		s.discard()
		return fmt.Errorf("drain %s: %w", s.subject, err)
	}
	if s.lost() {
		return fmt.Errorf("drain %s: %w", s.subject, ErrClosed)
	}
	return nil
}

func (s *memSubscription) end() {
	s.conn.hub.remove(s)
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	s.signal()
}

func (s *memSubscription) discard() {
	s.end()
	s.mu.Lock()
	s.discarded = true
	s.queue = nil
	s.mu.Unlock()
}

func (s *memSubscription) lost() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.discarded
}

func (s *memSubscription) wait(ctx context.Context) error {
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// size is what counts against the broker's limit, nearly: a header's name,
// value and separators.
func (m *Msg) size() int64 {
	n := len(m.Data)
	for k, values := range m.Header {
		for _, v := range values {
			n += len(k) + len(v) + len(": \r\n")
		}
	}
	return int64(n)
}

func isWildcard(subject string) bool {
	return strings.HasSuffix(subject, ">") || strings.Contains(subject, "*")
}

// matches is NATS's rule: * is any one token, > one or more at the end.
func matches(pattern, subject string) bool {
	for {
		p, pRest, pMore := strings.Cut(pattern, ".")
		if p == ">" {
			return true
		}
		s, sRest, sMore := strings.Cut(subject, ".")
		if p != "*" && p != s {
			return false
		}
		if pMore != sMore {
			return false
		}
		if !pMore {
			return true
		}
		pattern, subject = pRest, sRest
	}
}
