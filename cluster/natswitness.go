package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/civitas-go/civitas/transport"
)

// writeLimit is how long a PING may take to be written. It is written under the
// connection's lock, which Close needs too.
const writeLimit = time.Second

var errNoServer = errors.New("no NATS server is known that has no witness yet")

// DialWitness tries the addresses in random order: first those that are not
// known to be on this host, last those that were not reached before. A server
// that is about to shut down takes no connections.
func (l *natsLinks) DialWitness(ctx context.Context, except []string) (WitnessConn, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	var near *natsWitness // unless there is one elsewhere
	errs := []error{errNoServer}
	servers := l.candidates(except)
	for i, at := range servers {
		rest := servers[i+1:]
		if near != nil && !l.maybeFar(at) {
			continue
		}
		w, err := l.dialWitness(ctx, at, len(rest) > 0)
		switch {
		case err != nil:
			errs = append(errs, err)
		case slices.Contains(except, w.witness.Server):
			w.Close()
		case !w.near || near == nil && !slices.ContainsFunc(rest, l.maybeFar):
			if near != nil {
				near.Close()
			}
			return w, nil
		case near == nil:
			near = w
		default:
			w.Close()
		}
	}
	if near != nil {
		return near, nil
	}
	return nil, fmt.Errorf("dial a witness: %w", errors.Join(errs...))
}

// candidates are the addresses that may be of servers other than except.
func (l *natsLinks) candidates(except []string) []transport.Server {
	servers := slices.DeleteFunc(l.conn.Servers(), func(at transport.Server) bool {
		s, ok := l.sightOf(at)
		return ok && slices.Contains(except, s.server)
	})
	rand.Shuffle(len(servers), func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })
	slices.SortStableFunc(servers, func(a, b transport.Server) int { return cmp.Compare(l.rank(a), l.rank(b)) })
	return servers
}

func (l *natsLinks) rank(at transport.Server) int {
	switch s, ok := l.sightOf(at); {
	case ok && s.server == "":
		return 2
	case ok && s.near:
		return 1
	default:
		return 0
	}
}

// maybeFar reports an address that may be of a server on another host.
func (l *natsLinks) maybeFar(at transport.Server) bool { return l.rank(at) == 0 }

// dialWitness leaves half of the time to others, if there are any.
func (l *natsLinks) dialWitness(ctx context.Context, at transport.Server, others bool) (*natsWitness, error) {
	within, cancel := ctx, context.CancelFunc(func() {})
	if deadline, _ := ctx.Deadline(); others {
		within, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
	}
	defer cancel()
	w, err := l.dial(within, at, "witness")
	if err != nil {
		if ctx.Err() == nil {
			l.saw(at, sight{})
		}
		return nil, err
	}
	l.saw(at, sight{server: w.witness.Server, near: w.near})
	return w, nil
}

// natsWitness is a connection that only PINGs.
type natsWitness struct {
	nc      *nats.Conn
	witness Witness
	near    bool // its server is on this host
	done    chan struct{}
}

func (l *natsLinks) dial(ctx context.Context, at transport.Server, what string) (*natsWitness, error) {
	w := &natsWitness{done: make(chan struct{})}
	var err error
	w.nc, err = l.conn.DialApart(ctx, at, what,
		nats.FlusherTimeout(writeLimit),
		nats.PingInterval(0), // Ping does it
		nats.LameDuckModeHandler(l.leave),
		nats.ClosedHandler(func(*nats.Conn) { close(w.done) }),
	)
	if err != nil {
		return nil, err
	}
	w.near = sameHost(w.nc.LocalAddr(), w.nc.ConnectedAddr())
	w.witness.Server = w.nc.ConnectedServerId()
	w.witness.Client, err = w.nc.GetClientID()
	if err == nil && w.witness.Server == "" {
		err = nats.ErrConnectionClosed
	}
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("NATS %s: %w", at, err)
	}
	return w, nil
}

// leave ends a witness whose server is about to shut down: it tells no more ends.
// If there is no other server, the witness is good as long as it answers.
func (l *natsLinks) leave(nc *nats.Conn) {
	server := nc.ConnectedServerId()
	if slices.ContainsFunc(l.conn.Servers(), func(at transport.Server) bool { return !l.sawLast(at, server) }) {
		nc.Close()
	}
}

// sameHost compares the ends of a connection; one within the process has no
// addresses.
func sameHost(local, remote string) bool {
	a, _, errLocal := net.SplitHostPort(local)
	b, _, errRemote := net.SplitHostPort(remote)
	return errLocal != nil || errRemote != nil || a == b
}

func (w *natsWitness) Witness() Witness      { return w.witness }
func (w *natsWitness) Done() <-chan struct{} { return w.done }

// Ping returns at the PONG of its own PING: they come in order.
func (w *natsWitness) Ping(ctx context.Context) error {
	ctx, cancel := bounded(ctx) // nats.go insists on a deadline
	defer cancel()
	return w.nc.FlushWithContext(ctx)
}

func (w *natsWitness) Close() {
	w.nc.Close()
	<-w.done
}
