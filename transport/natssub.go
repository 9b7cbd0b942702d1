package transport

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// natsSubscription is a subscription of a NATS, over all its links. On each it
// has a life of its own.
type natsSubscription struct {
	conn    *NATS
	subject string
	deliver func(Msg)
	last    *life // guarded by conn.attaching; nil until there was a link
}

// life is a callback subscription of nats.go on one link, with a drain that
// neither polls slowly nor uses timers shared between connections.
type life struct {
	conn *NATS
	link *natsLink
	sub  *nats.Subscription

	before <-chan struct{} // closed when the life before this one has ended; nil for the first
	made   chan struct{}   // closed when sub is set up
	ended  chan struct{}   // closed when the delivering goroutine has returned
	once   sync.Once
}

// Subscribe implements [Conn]. Without a connection it is made on the next one.
func (c *NATS) Subscribe(subject string, deliver func(Msg)) (Subscription, error) {
	if err := checkSubject(subject, true); err != nil {
		return nil, err
	}
	c.attaching.Lock()
	defer c.attaching.Unlock()
	if c.isClosed() {
		return nil, ErrClosed
	}
	s := &natsSubscription{conn: c, subject: subject, deliver: deliver}
	if l := c.attached; l != nil {
		if err := s.attach(l); err != nil && l.ctx.Err() == nil && !errors.Is(err, nats.ErrConnectionClosed) {
			return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
		}
	}
	c.subs[s] = struct{}{}
	return s, nil
}

func (c *NATS) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// attach begins a life on a link. The caller holds conn.attaching.
func (s *natsSubscription) attach(l *natsLink) error {
	n := &life{conn: s.conn, link: l, made: make(chan struct{}), ended: make(chan struct{})}
	if s.last != nil {
		n.before = s.last.ended
	}
	inTurn := false
	var bundles unbundler
	sub, err := l.nc.Subscribe(s.subject, func(m *nats.Msg) {
		if !inTurn {
			if !n.awaitTurn() {
				return
			}
			inTurn = true
		}
		bundles.deliver(Msg{Subject: m.Subject, Reply: m.Reply, Header: Header(m.Header), Data: m.Data}, s.deliver)
	})
	if err != nil {
		return err
	}
	n.sub = sub
	n.begin()
	sub.SetClosedHandler(func(string) { n.end() })
	err = sub.SetPendingLimits(s.conn.opts.PendingMessages, s.conn.opts.PendingBytes)
	if err != nil { // it is closed already, perhaps too early for the handler
		n.end()
		return err
	}
	s.last = n
	close(n.made)
	return nil
}

// awaitTurn has the first delivery wait until the life before this one has
// made its last, and until answers can be sent. It reports false if the
// messages are lost, because nobody wants them any more.
func (n *life) awaitTurn() bool {
	for _, turn := range []<-chan struct{}{n.made, n.before, n.link.ready} {
		if turn == nil {
			continue
		}
		select {
		case <-turn:
		case <-n.ended:
			return false
		case <-n.link.closed:
			return false
		}
	}
	return true
}

func (n *life) begin() {
	n.link.mu.Lock()
	n.link.lives[n] = struct{}{}
	n.link.mu.Unlock()
	n.conn.mu.Lock()
	n.conn.lives[n] = struct{}{}
	n.conn.mu.Unlock()
}

func (n *life) end() {
	n.once.Do(func() {
		n.link.mu.Lock()
		delete(n.link.lives, n)
		n.link.mu.Unlock()
		n.count()
		close(n.ended)
	})
}

// idle reports that nothing is left to be delivered.
func (n *life) idle() bool {
	if n.before != nil {
		select {
		case <-n.before:
		default:
			return false
		}
	}
	left, _, err := n.sub.Pending() // counts the one being delivered
	return err != nil || left == 0
}

// finish ends the subscription; what is left in its queue is lost.
func (n *life) finish() {
	n.count()
	_ = n.sub.Unsubscribe() // It fails only if it has ended.
}

// count keeps what a subscription can no longer tell once it has ended.
func (n *life) count() {
	c := n.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.lives[n]; ok {
		delete(c.lives, n)
		c.dropped += n.dropped()
	}
}

func (n *life) dropped() uint64 {
	if d, err := n.sub.Dropped(); err == nil && d > 0 {
		return uint64(d)
	}
	return 0
}

// Dropped counts the messages that came for subscriptions whose queue was
// full, and were lost.
func (c *NATS) Dropped() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := c.dropped
	for n := range c.lives {
		sum += n.dropped()
	}
	return sum
}

// stopNow is a count of messages too long for a server to read as a number.
// UNSUB with such a count ends the subscription at once on the server, as
// without one, while nats.go keeps its own half until that many have come: so
// what is on its way is still delivered. (Unsubscribe forgets it: up to every
// seventh message was lost when a busy subscription ended.) Should a server
// ever read the number, Drain's closing Unsubscribe still ends the
// subscription, and the conformance suite would see the losses.
const stopNow = math.MaxInt64

// Drain implements [Subscription].
func (s *natsSubscription) Drain(ctx context.Context) error {
	c := s.conn
	c.attaching.Lock()
	delete(c.subs, s) // there will be no further life
	last := s.last
	c.attaching.Unlock()
	if c.isClosed() {
		return fmt.Errorf("drain %s: %w", s.subject, ErrClosed)
	}
	if last == nil {
		return nil
	}
	if err := last.drain(ctx); err != nil {
		return fmt.Errorf("drain %s: %w", s.subject, err)
	}
	return nil
}

func (n *life) drain(ctx context.Context) error {
	defer n.finish()
	_ = n.sub.AutoUnsubscribe(stopNow) // If the link was lost, nothing more comes anyway.
	// Once the server has answered, all that it sent is in nats.go's queue.
	if err := n.link.flush(ctx); err != nil && !errors.Is(err, ErrDisconnected) {
		return err
	}
	tick := time.NewTicker(stillBusy)
	defer tick.Stop()
	for !n.idle() {
		select {
		case <-tick.C:
		case <-n.ended:
		case <-ctx.Done():
			left, _, _ := n.sub.Pending()
			return fmt.Errorf("%d messages are left: %w", left, ctx.Err())
		}
	}
	n.finish()
	select {
	case <-n.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	if n.conn.isClosed() {
		return ErrClosed
	}
	return nil
}
