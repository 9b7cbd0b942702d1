package transport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// natsLink is one connection to one server, from its dial to its loss. Each has an
// inbox of its own, so that no answer to what was asked on one link is ever
// taken on another.
//
// nats.go is not let reconnect: while it dials it holds the lock that senders
// need, it has whoever sends wait for a server that does not answer, and it
// fails what is in flight some time after. A link that was lost stays as it is,
// so that what had arrived is still delivered, until NATS.bury closes it.
type natsLink struct {
	to       natsServer
	nc       *nats.Conn
	inflight *inflight
	bundler  *bundler
	socket   *dialer
	began    time.Time
	state    *state // that sends on this link

	ctx    context.Context // ended when the link is lost; the cause says why
	fail   context.CancelCauseFunc
	ready  chan struct{} // closed when it may be sent on, or never will be
	closed chan struct{} // closed when what is not yet delivered is lost
	over   chan struct{} // closed when nats.go has made its last callback

	mu    sync.Mutex
	hint  error              // guarded by mu; why the server is about to close
	lives map[*life]struct{} // guarded by mu; the subscriptions that have not ended
}

// connect makes a link, and has the answers to requests come on it.
func (c *NATS) connect(ctx context.Context, to natsServer) (*natsLink, error) {
	l := &natsLink{
		to: to, socket: newDialer(ctx, c.opts.DialTimeout),
		ready: make(chan struct{}), closed: make(chan struct{}), over: make(chan struct{}),
		lives: make(map[*life]struct{}),
	}
	l.state = &state{link: l}
	l.ctx, l.fail = context.WithCancelCause(context.WithoutCancel(ctx))
	o, err := c.natsOptions(l)
	if err == nil {
		l.inflight = newInflight(inbox(o.InboxPrefix))
		l.bundler = newBundler(func(m Msg) error { return c.send(l, &m) }, l.inflight.refuse, l.hold, &c.unsent)
		l.nc, err = o.Connect()
		if dial := l.socket.connected(); err != nil {
			err = explain(ctx, err, dial)
		}
	}
	if err != nil {
		l.fail(nil)
		if l.bundler != nil {
			l.bundler.end(ErrNotConnected)
		}
		return nil, fmt.Errorf("%w: NATS %s: %w", ErrNotConnected, to, c.opts.Auth.refusal(err, to.url))
	}
	l.began = time.Now()
	l.bundler.setLimit(l.nc.MaxPayload() / 2)
	replies, err := l.nc.Subscribe(l.inflight.subject(), func(m *nats.Msg) {
		l.inflight.answer(Msg{Subject: m.Subject, Header: Header(m.Header), Data: m.Data})
	})
	if err == nil {
		err = replies.SetPendingLimits(-1, -1) // never more than the requests in flight
	}
	if err != nil {
		l.close()
		return nil, fmt.Errorf("%w: NATS %s: %w", ErrNotConnected, to, err)
	}
	return l, nil
}

// dialOptions are read anew for each connection, and with them the files they name.
func (c *NATS) dialOptions(to natsServer, socket *dialer) (nats.Options, error) {
	o := nats.GetDefaultOptions()
	auth, err := c.opts.Auth.options(c.opts.URL)
	if err != nil {
		return o, err
	}
	for _, opts := range [][]nats.Option{c.opts.Options, auth} {
		for _, opt := range opts {
			if err := opt(&o); err != nil {
				return o, err
			}
		}
	}
	o.Url, o.Servers = to.url, nil
	to.secure(&o)
	o.Name = c.opts.Name
	o.Timeout = c.opts.DialTimeout
	o.PingInterval = c.opts.PingInterval
	o.MaxPingsOut = 2
	if c.opts.InProcess != nil && to.url == "" {
		o.InProcessServer = socket.inProcess(c.opts.InProcess)
	} else if o.CustomDialer == nil {
		o.CustomDialer = socket
		if !socket.plain {
			o.WriteBufferSize = 1 // gatherConn has one
		}
	}
	return o, nil
}

// natsOptions have the callbacks of a link.
func (c *NATS) natsOptions(l *natsLink) (nats.Options, error) {
	o, err := c.dialOptions(l.to, l.socket)
	if err != nil {
		return o, err
	}
	// A lost connection is to wait, not to dial.
	o.AllowReconnect = true
	o.RetryOnFailedConnect = false
	o.MaxReconnect = -1
	o.ReconnectBufSize = -1
	o.IgnoreAuthErrorAbort = true
	o.ReconnectToServerCB = func(pool []nats.Server, _ nats.ServerInfo) (*nats.Server, time.Duration) {
		return &pool[0], math.MaxInt64
	}
	o.AsyncErrorCB = func(nc *nats.Conn, sub *nats.Subscription, err error) { c.onError(l, nc, sub, err) }
	o.DisconnectedErrCB = func(nc *nats.Conn, err error) { c.lose(l, cmp.Or(err, nc.LastError())) }
	o.ClosedCB = func(nc *nats.Conn) {
		c.lose(l, nc.LastError())
		close(l.over)
	}
	o.LameDuckModeHandler = func(*nats.Conn) {
		c.opts.Logger.Warn("NATS server is about to shut down", "conn", c.opts.Name, "server", l.to.String())
	}
	return o, nil
}

func inbox(prefix string) string {
	in := nats.NewInbox()
	if prefix == "" {
		return in
	}
	return prefix + strings.TrimPrefix(in, strings.TrimSuffix(nats.InboxPrefix, "."))
}

var errClosedByServer = errors.New("closed by the server")

// lose is called by nats.go when the link is of no more use, and again when it
// has been closed.
func (c *NATS) lose(l *natsLink, err error) {
	l.mu.Lock()
	if errors.Is(err, io.EOF) {
		err = errClosedByServer
	}
	err = cmp.Or(l.hint, err, errClosedByServer)
	l.mu.Unlock()
	c.state.CompareAndSwap(l.state, &state{err: fmt.Errorf("%w: %w", ErrNotConnected, err)})
	l.bundler.end(ErrNotConnected)
	l.inflight.close(ErrNotConnected, fmt.Errorf("%w: %w", ErrDisconnected, err))
	l.fail(err)
}

func (c *NATS) onError(l *natsLink, nc *nats.Conn, sub *nats.Subscription, err error) {
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
	if isAuth(err) {
		l.mu.Lock()
		l.hint = c.opts.Auth.refusal(err, l.to.url)
		l.mu.Unlock()
	}
	log.Error("NATS connection", "error", err)
}

// flush returns ErrDisconnected if the link is lost meanwhile.
func (l *natsLink) flush(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, math.MaxInt64) // nats.go insists on a deadline
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	err := l.nc.FlushWithContext(within)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case l.ctx.Err() != nil, errors.Is(err, nats.ErrConnectionClosed):
		return ErrDisconnected
	default:
		return err
	}
}

func nothing() {}

// hold has what is sent until release leave together, at once then.
func (l *natsLink) hold() (release func()) {
	g := l.socket.made.Load()
	if g == nil {
		return nothing
	}
	g.hold()
	return g.letGo
}

// close ends the link and waits for what runs on it, as long as that takes.
func (l *natsLink) close() {
	l.fail(nil)
	close(l.closed)
	l.bundler.end(ErrClosed)
	lives := l.all()
	for _, life := range lives {
		life.count()
	}
	l.nc.Close()
	<-l.bundler.done
	for _, life := range lives {
		<-life.ended
	}
	<-l.over
}

func (l *natsLink) all() []*life {
	l.mu.Lock()
	defer l.mu.Unlock()
	lives := make([]*life, 0, len(l.lives))
	for life := range l.lives {
		lives = append(lives, life)
	}
	return lives
}
