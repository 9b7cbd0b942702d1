package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	// ReconnectWait is how long is waited between the first two rounds of
	// dialling, when a connection was lost; default 250ms. The waits double up
	// to sixteen times that, which is also what follows on being refused; up to
	// half of each is left out at random, so that not all clients come at once.
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
	// there is one again, on which everything is subscribed. Both run in the
	// goroutine that dials, one after the other, and must not block. Requests in
	// flight have been failed before OnDisconnect is called. Close calls neither.
	OnDisconnect func(error)
	OnReconnect  func()
	// Auth is how the server knows the client, and the client the server.
	Auth Auth
	// Logger takes what has no caller to be told to; default slog.Default().
	Logger *slog.Logger
	// Options are for what is not here. They come first; what the fields above
	// set has the last word, and so has this type on reconnecting, which
	// nats.go does not do here.
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

// NATS is the [Conn] over a NATS server. When its connection is lost it dials
// anew, for ever: each of the URL's servers and those that they named, in turn.
// It keeps its subscriptions meanwhile, and nothing else: what is sent while
// there is no connection is refused with [ErrNotConnected] at once, and never
// sent later; an answer that was awaited on a lost connection is not taken from
// another.
type NATS struct {
	opts  NATSOptions
	given []natsServer

	state atomic.Pointer[state]

	alive  context.Context // ended by Close
	end    context.CancelFunc
	ended  chan struct{}  // closed when all goroutines but those of callers have returned
	retire sync.WaitGroup // the goroutines that see lost links out

	slow, tooLarge, unsent, disconnects, reconnects atomic.Uint64

	mu      sync.Mutex
	closed  bool               // guarded by mu
	newest  *natsLink          // guarded by mu
	dropped uint64             // guarded by mu; by subscriptions that have ended
	lives   map[*life]struct{} // guarded by mu; the others

	// attaching is held while subscriptions are made on a link. Nobody who sends
	// waits for it.
	attaching sync.Mutex
	attached  *natsLink                      // guarded by attaching; has all of subs, unless nil
	subs      map[*natsSubscription]struct{} // guarded by attaching
}

// state is what those who send need to know.
type state struct {
	link *natsLink // nil for none
	err  error     // why there is none
}

var _ Conn = (*NATS)(nil)

// DialNATS connects, or fails with an [ErrNotConnected] that has the cause: an
// [ErrBadURL] or [ErrBadAuth], no server there before ctx ended, or one with an
// [ErrRefused]. It tries each address once. The caller owns the connection and closes it.
func DialNATS(ctx context.Context, opts NATSOptions) (*NATS, error) {
	opts = opts.withDefaults()
	c := &NATS{opts: opts, ended: make(chan struct{}), lives: make(map[*life]struct{}), subs: make(map[*natsSubscription]struct{})}
	target := "in process"
	if opts.InProcess == nil {
		var err error
		if target, err = CheckURLs(opts.URL); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotConnected, err)
		}
	}
	if err := opts.Auth.Check(opts.URL); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotConnected, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: NATS %s: %w", ErrNotConnected, target, err)
	}
	c.given = c.givenServers()
	c.state.Store(&state{err: ErrNotConnected})
	c.alive, c.end = context.WithCancel(context.WithoutCancel(ctx))
	l, err := c.dialRound(ctx, c.given)
	if err != nil {
		c.end()
		return nil, err
	}
	go c.keep(l)
	return c, nil
}

// Conn is the newest connection, for JetStream. It may have been lost: ask for
// it again before each use. Whoever uses it must not close it, and in virtual
// time must keep to the forms that take a context: the others share timers
// between all connections of the process.
func (c *NATS) Conn() *nats.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.newest.nc
}

// MaxPayload is the most that one message may hold, headers included, as the
// server has it.
func (c *NATS) MaxPayload() int64 { return c.Conn().MaxPayload() }

// NATSStats counts what went wrong since DialNATS.
type NATSStats struct {
	// Dropped counts the messages that came for subscriptions whose queue was
	// full, and were lost: see NATSOptions.PendingMessages.
	Dropped uint64
	// SlowConsumers counts how often a subscription's queue became full.
	SlowConsumers uint64
	// TooLarge counts the messages refused with [ErrTooLarge].
	TooLarge uint64
	// Unsent counts the messages that Publish had taken, to send them together with
	// others, and that did not leave because the connection was lost.
	Unsent uint64
	// Disconnects counts the connections that were lost. A server closes one
	// that reads too slowly; what it had for it is lost then.
	Disconnects uint64
	// Reconnects counts the connections that were made after one was lost.
	Reconnects uint64
}

// Stats is a snapshot of the counts.
func (c *NATS) Stats() NATSStats {
	return NATSStats{
		Dropped: c.Dropped(), SlowConsumers: c.slow.Load(), TooLarge: c.tooLarge.Load(), Unsent: c.unsent.Load(),
		Disconnects: c.disconnects.Load(), Reconnects: c.reconnects.Load(),
	}
}

// Publish implements [Conn]. It blocks while the socket takes no more.
func (c *NATS) Publish(m Msg) error {
	l, err := c.linkFor(&m)
	if err != nil {
		return err
	}
	return c.publish(l, m, false)
}

// linkFor is where a message goes, or why it cannot go.
func (c *NATS) linkFor(m *Msg) (*natsLink, error) {
	if !bundled(m) { // a bundler checks those that it is given
		if err := checkSubject(m.Subject, false); err != nil {
			return nil, err
		}
	}
	s := c.state.Load()
	return s.link, s.err
}

// publishNow is Publish for a sender that has nothing else to send soon: the
// message has left when it returns.
func (c *NATS) publishNow(m Msg) error {
	l, err := c.linkFor(&m)
	if err != nil {
		return err
	}
	defer l.hold()()
	return c.send(l, &m)
}

// publish sends a message; a sender that is alone is not made to wait for others.
func (c *NATS) publish(l *natsLink, m Msg, alone bool) error {
	if !bundled(&m) {
		return c.send(l, &m)
	}
	return l.bundler.add(m, alone)
}

// bundled reports a message that may travel with others.
func bundled(m *Msg) bool { return m.Bundle != "" && len(m.Header) == 0 }

func (c *NATS) send(l *natsLink, m *Msg) error {
	var err error
	switch {
	case len(m.Header) > 0:
		err = l.nc.PublishMsg(&nats.Msg{Subject: m.Subject, Reply: m.Reply, Header: nats.Header(m.Header), Data: m.Data})
	case m.Reply != "":
		err = l.nc.PublishRequest(m.Subject, m.Reply, m.Data)
	default:
		err = l.nc.Publish(m.Subject, m.Data)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionClosed):
		return c.whyNot()
	case errors.Is(err, nats.ErrMaxPayload):
		c.tooLarge.Add(1)
		return tooLarge(m.size(), l.nc.MaxPayload())
	case errors.Is(err, nats.ErrBadSubject):
		return ErrBadSubject
	case errors.Is(err, nats.ErrHeadersNotSupported):
		return err
	}
	// The socket is broken. What it took of the message is not all of it, so
	// nobody will be given it.
	return fmt.Errorf("%w: %w", ErrNotConnected, err)
}

// whyNot is why a message could not leave on a link that was lost just now.
func (c *NATS) whyNot() error {
	if s := c.state.Load(); s.link == nil {
		return s.err
	}
	return ErrNotConnected
}

// Request implements [Conn].
func (c *NATS) Request(ctx context.Context, m Msg) (Msg, error) {
	l, err := c.linkFor(&m)
	if err != nil {
		return Msg{}, err
	}
	p, err := l.inflight.begin(ctx, m.Peer)
	if err != nil {
		return Msg{}, err
	}
	m.Reply = l.inflight.reply(p)
	err = c.publish(l, m, p.alone)
	m.sent(err)
	return l.inflight.await(ctx, m.Until, p, err)
}

// Fail implements [Conn]. What was in flight on earlier connections has failed with them.
func (c *NATS) Fail(to *Peer, reason error) {
	to.end(reason)
	if l := c.state.Load().link; l != nil {
		l.inflight.failPeer(to)
	}
}

// Flush implements [Conn]. It covers the server this connection is to: others
// of a NATS cluster may learn of a new subscription a little later.
// Without a connection it fails with ErrNotConnected at once.
func (c *NATS) Flush(ctx context.Context) error {
	s := c.state.Load()
	err := s.err
	if s.link != nil {
		err = s.link.flush(ctx)
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("flush: %w", err)
}

// Close implements [Conn].
func (c *NATS) Close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	if s := c.state.Load(); s.link != nil {
		s.link.bundler.close(ErrClosed)
		select {
		case <-s.link.bundler.done:
		case <-ctx.Done():
		}
	}
	_ = c.Flush(ctx) // Best effort: the connection goes either way.
	if s := c.state.Swap(&state{err: ErrClosed}); s.link != nil {
		s.link.inflight.close(ErrClosed, fmt.Errorf("%w: it was closed", ErrDisconnected))
		s.link.socket.linger()
	}
	c.end()
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close: a delivery still runs: %w", ctx.Err())
	}
}
