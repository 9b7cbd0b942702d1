package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// NATSOptions says how to connect. The zero value connects to a server on
// this machine's port 4222.
type NATSOptions struct {
	// URL is one address or several with commas between them; default
	// nats://127.0.0.1:4222. Ignored with InProcess.
	URL string
	// InProcess is an embedded server to connect to without a socket.
	InProcess nats.InProcessConnProvider
	// Name is what the server lists the connection as; default "civitas".
	Name string
	// DialTimeout is how long one address may take to answer; default 2s,
	// and never longer than DialNATS's context.
	DialTimeout time.Duration
	// ReconnectWait is the pause between rounds of trying to reconnect, to
	// which up to as much again is added at random; default 250ms.
	ReconnectWait time.Duration
	// PingInterval is how often a silent server is asked whether it is
	// there; after two without an answer the connection counts as lost.
	// Default 10s.
	PingInterval time.Duration
	// PendingMessages and PendingBytes bound what one subscription has been
	// sent and not yet delivered; more is dropped and counted by
	// NATS.Dropped. Defaults 512 Ki messages and 64 MiB; negative for no bound.
	PendingMessages, PendingBytes int
	// OnDisconnect is called when the connection was lost, OnReconnect when
	// there is one again. Both run in a goroutine of the connection, one
	// after the other, and must not block. Requests in flight have been
	// failed before OnDisconnect is called.
	OnDisconnect func(error)
	OnReconnect  func()
	// Auth is how the server knows the client, and the client the server.
	Auth Auth
	// Logger takes what has no caller to be told to; default slog.Default().
	Logger *slog.Logger
	// Options are for what is not here. They come first;
	// what the fields above set has the last word.
	Options []nats.Option
}

func (o NATSOptions) withDefaults() NATSOptions {
	if o.URL == "" {
		o.URL = nats.DefaultURL
	}
	if o.Name == "" {
		o.Name = "civitas"
	}
	if o.DialTimeout <= 0 {
		o.DialTimeout = 2 * time.Second
	}
	if o.ReconnectWait <= 0 {
		o.ReconnectWait = 250 * time.Millisecond
	}
	if o.PingInterval <= 0 {
		o.PingInterval = 10 * time.Second
	}
	if o.PendingMessages == 0 {
		o.PendingMessages = 512 << 10
	}
	if o.PendingBytes == 0 {
		o.PendingBytes = 64 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// NATS is the [Conn] over a NATS server. It reconnects for ever, keeps its
// subscriptions meanwhile, and keeps nothing else: what is sent while there
// is no connection is refused with [ErrNotConnected], never sent later.
type NATS struct {
	opts     NATSOptions
	nc       *nats.Conn
	inflight *inflight
	over     chan struct{} // closed when nats.go has made its last callback

	bundler *bundler
	gather  atomic.Pointer[gatherConn] // the socket's; nil for none

	dropped atomic.Uint64 // by subscriptions that have ended

	slow, tooLarge, disconnects atomic.Uint64

	mu     sync.Mutex
	closed bool                           // guarded by mu
	subs   map[*natsSubscription]struct{} // guarded by mu
}

var _ Conn = (*NATS)(nil)

// DialNATS connects, or fails with an [ErrNotConnected] that has the cause: an
// [ErrBadURL] or [ErrBadAuth], no server there before ctx ended, or one with an
// [ErrRefused]. It tries each address once. The caller owns the connection and closes it.
func DialNATS(ctx context.Context, opts NATSOptions) (*NATS, error) {
	opts = opts.withDefaults()
	c := &NATS{
		opts: opts,
		over: make(chan struct{}),
		subs: make(map[*natsSubscription]struct{}),
	}
	target := "in process"
	if opts.InProcess == nil {
		var err error
		if target, err = CheckURLs(opts.URL); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotConnected, err)
		}
	}
	auth, err := opts.Auth.options(opts.URL)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotConnected, err)
	}
	opts.Options = append(slices.Clip(opts.Options), auth...)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: NATS %s: %w", ErrNotConnected, target, err)
	}
	dial := newDialer(ctx, opts.DialTimeout)
	dial.dialled = c.gather.Store
	nc, err := c.connect(opts, dial)
	// From here on a reconnect must not depend on the caller's ctx.
	if cause := dial.connected(); err != nil {
		if c.bundler != nil {
			c.bundler.close()
		}
		err = opts.Auth.refusal(explain(ctx, err, cause), opts.URL)
		return nil, fmt.Errorf("%w: NATS %s: %w", ErrNotConnected, target, err)
	}
	c.nc = nc
	c.bundler.setLimit(nc.MaxPayload() / 2)
	replies, err := nc.Subscribe(c.inflight.subject(), func(m *nats.Msg) {
		c.inflight.answer(Msg{Subject: m.Subject, Header: Header(m.Header), Data: m.Data})
	})
	if err == nil {
		err = replies.SetPendingLimits(-1, -1) // never more than the requests in flight
	}
	if err != nil {
		nc.Close()
		<-c.over
		c.bundler.close()
		return nil, fmt.Errorf("%w: NATS %s: %w", ErrNotConnected, target, err)
	}
	return c, nil
}

func (c *NATS) connect(opts NATSOptions, dial *dialer) (*nats.Conn, error) {
	o := nats.GetDefaultOptions()
	for _, opt := range opts.Options {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	o.Url = opts.URL
	if urls := strings.Split(opts.URL, ","); len(urls) > 1 {
		o.Url, o.Servers = "", urls
	}
	o.Name = opts.Name
	o.Timeout = opts.DialTimeout
	o.AllowReconnect = true
	o.MaxReconnect = -1
	o.ReconnectWait = opts.ReconnectWait
	o.ReconnectJitter, o.ReconnectJitterTLS = opts.ReconnectWait, opts.ReconnectWait
	o.ReconnectBufSize = -1
	o.IgnoreAuthErrorAbort = true
	o.PingInterval = opts.PingInterval
	o.MaxPingsOut = 2
	if opts.InProcess != nil {
		o.InProcessServer = dial.inProcess(opts.InProcess)
	} else if o.CustomDialer == nil {
		o.CustomDialer = dial
		o.WriteBufferSize = 1 // gatherConn has one
	}
	o.AsyncErrorCB = c.onError
	o.DisconnectedErrCB = c.onDisconnect
	o.ReconnectedCB = c.onReconnect
	o.ClosedCB = c.onClosed
	inbox := nats.NewInbox()
	if o.InboxPrefix != "" {
		inbox = o.InboxPrefix + strings.TrimPrefix(inbox, strings.TrimSuffix(nats.InboxPrefix, "."))
	}
	c.inflight = newInflight(inbox)
	c.bundler = newBundler(c.send, c.inflight.refuse, c.hold)
	return o.Connect()
}

// Conn is the connection itself, for JetStream. Whoever uses it must not
// close it, and in virtual time must keep to the forms that take a context:
// the others share timers between all connections of the process.
func (c *NATS) Conn() *nats.Conn { return c.nc }

// MaxPayload is the most that one message may hold, headers included, as the
// server has it.
func (c *NATS) MaxPayload() int64 { return c.nc.MaxPayload() }

// NATSStats counts what went wrong on a connection since it was dialled.
type NATSStats struct {
	// Dropped counts the messages that came for subscriptions whose queue was
	// full, and were lost: see NATSOptions.PendingMessages.
	Dropped uint64
	// SlowConsumers counts how often a subscription's queue became full.
	SlowConsumers uint64
	// TooLarge counts the messages refused with [ErrTooLarge].
	TooLarge uint64
	// Disconnects counts the connections that were lost. A server closes one
	// that reads too slowly; what it had for it is lost then.
	Disconnects uint64
}

// Stats is a snapshot of the counts.
func (c *NATS) Stats() NATSStats {
	return NATSStats{
		Dropped: c.Dropped(), SlowConsumers: c.slow.Load(), TooLarge: c.tooLarge.Load(), Disconnects: c.disconnects.Load(),
	}
}

// Dropped counts the messages that came for subscriptions whose queue was
// full, and were lost.
func (c *NATS) Dropped() uint64 {
	c.mu.Lock()
	subs := slices.Collect(maps.Keys(c.subs))
	c.mu.Unlock()
	n := c.dropped.Load()
	for _, s := range subs {
		if d, err := s.sub.Dropped(); err == nil && d > 0 {
			n += uint64(d)
		}
	}
	return n
}

// Publish implements [Conn]. It blocks while the socket takes no more.
func (c *NATS) Publish(m Msg) error {
	if err := checkSubject(m.Subject, false); err != nil {
		return err
	}
	return c.publish(&m, false)
}

// publishNow is Publish for a sender that has nothing else to send soon: the
// message has left when it returns.
func (c *NATS) publishNow(m Msg) error {
	if err := checkSubject(m.Subject, false); err != nil {
		return err
	}
	defer c.hold()()
	return c.send(&m)
}

// publish sends a message; a sender that is alone is not made to wait for others.
func (c *NATS) publish(m *Msg, alone bool) error {
	switch {
	case m.Bundle == "" || len(m.Header) > 0:
		return c.send(m)
	case !c.nc.IsConnected():
		return c.send(m) // which says why not
	}
	return c.bundler.add(m, alone)
}

// hold has what is sent until release leave together, at once then.
func (c *NATS) hold() (release func()) {
	g := c.gather.Load()
	if g == nil {
		return func() {}
	}
	g.hold()
	return g.release
}

func (c *NATS) send(m *Msg) error {
	var err error
	switch {
	case len(m.Header) > 0:
		err = c.nc.PublishMsg(&nats.Msg{Subject: m.Subject, Reply: m.Reply, Header: nats.Header(m.Header), Data: m.Data})
	case m.Reply != "":
		err = c.nc.PublishRequest(m.Subject, m.Reply, m.Data)
	default:
		err = c.nc.Publish(m.Subject, m.Data)
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, nats.ErrMaxPayload) {
		c.tooLarge.Add(1)
		return tooLarge(m.size(), c.nc.MaxPayload())
	}
	return translate(err)
}

// Request implements [Conn].
func (c *NATS) Request(ctx context.Context, m Msg) (Msg, error) {
	if err := checkSubject(m.Subject, false); err != nil {
		return Msg{}, err
	}
	p, err := c.inflight.begin(ctx)
	if err != nil {
		return Msg{}, err
	}
	m.Reply = c.inflight.reply(p)
	return c.inflight.await(ctx, m.Until, p, c.publish(&m, p.alone))
}

// Subscribe implements [Conn].
func (c *NATS) Subscribe(subject string, deliver func(Msg)) (Subscription, error) {
	if err := checkSubject(subject, true); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	s := &natsSubscription{conn: c, ended: make(chan struct{})}
	var bundles unbundler
	sub, err := c.nc.Subscribe(subject, func(m *nats.Msg) {
		bundles.deliver(Msg{Subject: m.Subject, Reply: m.Reply, Header: Header(m.Header), Data: m.Data}, deliver)
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", subject, translate(err))
	}
	sub.SetClosedHandler(func(string) { close(s.ended) })
	if err := sub.SetPendingLimits(c.opts.PendingMessages, c.opts.PendingBytes); err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", subject, translate(err))
	}
	s.sub = sub
	c.subs[s] = struct{}{}
	return s, nil
}

// Flush implements [Conn]. It covers the server this connection is to: others
// of a NATS cluster may learn of a new subscription a little later.
// Without a connection it fails with ErrNotConnected at once.
func (c *NATS) Flush(ctx context.Context) error {
	switch {
	case c.nc.IsClosed():
		return fmt.Errorf("flush: %w", ErrClosed)
	case !c.nc.IsConnected():
		return fmt.Errorf("flush: %w", ErrNotConnected)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, math.MaxInt64) // nats.go insists on a deadline
		defer cancel()
	}
	err := c.nc.FlushWithContext(ctx)
	switch {
	case err == nil, ctx.Err() != nil:
		return err
	case errors.Is(err, nats.ErrConnectionClosed) && !c.nc.IsClosed():
		return fmt.Errorf("flush: %w", ErrDisconnected) // what nats.go says when the connection breaks
	default:
		return fmt.Errorf("flush: %w", translate(err))
	}
}

// Close implements [Conn].
func (c *NATS) Close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	subs := slices.Collect(maps.Keys(c.subs))
	c.mu.Unlock()

	c.bundler.close()
	_ = c.Flush(ctx) // Best effort: the connection goes either way.
	c.inflight.close(ErrClosed, fmt.Errorf("%w: it was closed", ErrDisconnected))
	c.nc.Close()
	for _, s := range subs {
		select {
		case <-s.ended:
			c.forget(s)
		case <-ctx.Done():
			return fmt.Errorf("close: a delivery on %s still runs: %w", s.sub.Subject, ctx.Err())
		}
	}
	select {
	case <-c.over:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close: %w", ctx.Err())
	}
}

func (c *NATS) forget(s *natsSubscription) {
	c.mu.Lock()
	delete(c.subs, s)
	c.mu.Unlock()
}

func (c *NATS) onError(nc *nats.Conn, sub *nats.Subscription, err error) {
	log := c.opts.Logger.With("conn", c.opts.Name)
	if sub != nil {
		log = log.With("subject", sub.Subject)
	}
	if errors.Is(err, nats.ErrSlowConsumer) {
		c.slow.Add(1)
		log.Warn("subscription is too slow: its queue is full, and messages are dropped until it has room",
			"pending_messages", c.opts.PendingMessages, "pending_bytes", c.opts.PendingBytes, "dropped", c.Dropped())
		return
	}
	if nc != nil && nc.IsClosed() {
		return
	}
	log.Error("NATS connection", "error", err)
}

func (c *NATS) onDisconnect(nc *nats.Conn, err error) {
	if !nc.IsClosed() {
		c.disconnects.Add(1)
	}
	cause := ErrDisconnected
	if err != nil {
		cause = fmt.Errorf("%w: %w", ErrDisconnected, err)
	}
	c.bundler.drop()
	c.inflight.fail(cause)
	if c.opts.OnDisconnect != nil {
		c.opts.OnDisconnect(err)
	}
}

func (c *NATS) onReconnect(*nats.Conn) {
	if c.opts.OnReconnect != nil {
		c.opts.OnReconnect()
	}
}

func (c *NATS) onClosed(*nats.Conn) {
	c.inflight.close(ErrClosed, ErrDisconnected)
	close(c.over)
}

// natsSubscription is a callback subscription of nats.go, with a Drain that
// neither polls slowly nor uses timers shared between connections.
type natsSubscription struct {
	conn  *NATS
	sub   *nats.Subscription
	ended chan struct{} // closed when the delivering goroutine has returned
}

// stopNow is a count of messages too long for a server to read as a number.
// UNSUB with such a count ends the subscription at once on the server, as
// without one, while nats.go keeps its own half until that many have come: so
// what is on its way is still delivered. (Unsubscribe forgets it: up to every
// seventh message was lost when a busy subscription ended.) Should a server
// ever read the number, Drain's closing Unsubscribe still ends the
// subscription, and the conformance suite would see the losses.
const stopNow = math.MaxInt64

// stillBusy is how often Drain looks whether the queue is empty.
const stillBusy = 200 * time.Microsecond

func (s *natsSubscription) Drain(ctx context.Context) error {
	defer s.conn.forget(s)
	err := s.drain(ctx)
	if d, derr := s.sub.Dropped(); derr == nil && d > 0 {
		s.conn.dropped.Add(uint64(d))
	}
	if uerr := s.sub.Unsubscribe(); err == nil && uerr != nil {
		err = translate(uerr)
	}
	if err != nil {
		return fmt.Errorf("drain %s: %w", s.sub.Subject, err)
	}
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain %s: %w", s.sub.Subject, ctx.Err())
	}
}

func (s *natsSubscription) drain(ctx context.Context) error {
	if err := s.sub.AutoUnsubscribe(stopNow); err != nil {
		return translate(err)
	}
	// Once the server has answered, all that it sent is in nats.go's queue.
	// Without a connection nothing more comes anyway.
	if err := s.conn.Flush(ctx); err != nil && !errors.Is(err, ErrDisconnected) && !errors.Is(err, ErrNotConnected) {
		return err
	}
	tick := time.NewTicker(stillBusy)
	defer tick.Stop()
	for {
		n, _, err := s.sub.Pending() // counts the one being delivered
		if err != nil {
			return translate(err)
		}
		if n == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d messages are left: %w", n, ctx.Err())
		}
	}
}

// translate gives nats.go's errors their name here; others stay as they are.
func translate(err error) error {
	switch {
	case errors.Is(err, nats.ErrReconnectBufExceeded):
		return ErrNotConnected
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining):
		return ErrClosed
	case errors.Is(err, nats.ErrBadSubscription):
		return fmt.Errorf("%w: the subscription has ended", ErrClosed)
	case errors.Is(err, nats.ErrNoResponders):
		return ErrNoResponders
	case errors.Is(err, nats.ErrBadSubject):
		return ErrBadSubject
	default:
		return err
	}
}
