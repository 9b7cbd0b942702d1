package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// CheckURLs refuses a list of server addresses that no connection can come of,
// with an [ErrBadURL]: what nats.go would take for a strange host name. It
// returns the list without passwords in it, for people to read.
func CheckURLs(list string) (string, error) {
	urls := strings.Split(list, ",")
	for i, s := range urls {
		s = strings.TrimSpace(s)
		if !strings.Contains(s, "://") {
			s = "nats://" + s
		}
		u, err := url.Parse(s)
		if err != nil {
			return "", fmt.Errorf("%w: it does not parse", ErrBadURL) // the error of net/url quotes passwords
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			return "", fmt.Errorf("%w %s: scheme %q is none of nats, tls, ws, wss", ErrBadURL, u.Redacted(), u.Scheme)
		}
		if u.Hostname() == "" {
			return "", fmt.Errorf("%w %s: no host", ErrBadURL, u.Redacted())
		}
		urls[i] = u.Redacted()
	}
	return strings.Join(urls, ","), nil
}

// explain picks the most telling of what is known about a failed dial.
func explain(ctx context.Context, err, dial error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, nats.ErrNoServers) && dial != nil:
		return dial // nats.go says only "no servers available"
	default:
		return err
	}
}

// dialer makes the socket of one link. Up to connected, the caller's ctx ends
// what it does; from then on it makes no more.
type dialer struct {
	net   net.Dialer
	plain bool                       // for one who sends little: no gatherConn
	made  atomic.Pointer[gatherConn] // by the last dial; nil for none

	mu   sync.Mutex
	ctx  context.Context // nats.go's seam passes none. Guarded by mu; nil once connected.
	stop []func() bool   // guarded by mu
	err  error           // guarded by mu; of the last dial
}

func newDialer(ctx context.Context, timeout time.Duration) *dialer {
	return &dialer{ctx: ctx, net: net.Dialer{Timeout: timeout}}
}

// Dial implements nats.CustomDialer.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	d.mu.Lock()
	ctx := d.ctx
	d.mu.Unlock()
	if ctx == nil {
		return nil, ErrClosed
	}
	conn, err := d.net.DialContext(ctx, network, address)
	if conn, err = d.watch(ctx, conn, err); err != nil || d.plain {
		return conn, err
	}
	g := newGatherConn(conn)
	d.made.Store(g)
	return g, nil
}

// linger has the socket write what is left when it is closed.
func (d *dialer) linger() {
	if g := d.made.Load(); g != nil {
		g.linger()
	}
}

// watch closes a new connection if ctx ends before the server has accepted it.
func (d *dialer) watch(ctx context.Context, conn net.Conn, err error) (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
	if err != nil {
		return nil, err
	}
	d.stop = append(d.stop, context.AfterFunc(ctx, func() { _ = conn.Close() }))
	return conn, nil
}

// connected ends the rule of the caller's ctx; it returns the last dial's error.
func (d *dialer) connected() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ctx = nil
	for _, stop := range d.stop {
		stop()
	}
	d.stop = nil
	return d.err
}

// inProcess is the same for a server in this process.
func (d *dialer) inProcess(p nats.InProcessConnProvider) nats.InProcessConnProvider {
	return inProcessFunc(func() (net.Conn, error) {
		d.mu.Lock()
		ctx := d.ctx
		d.mu.Unlock()
		if ctx == nil {
			return nil, ErrClosed
		}
		conn, err := p.InProcessConn()
		return d.watch(ctx, conn, err)
	})
}

type inProcessFunc func() (net.Conn, error)

func (f inProcessFunc) InProcessConn() (net.Conn, error) { return f() }
