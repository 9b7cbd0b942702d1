//go:build unix

package crashtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/natsserver"
	"github.com/civitas-go/civitas/internal/proctest"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/supervisor"
	"github.com/civitas-go/civitas/transport"
)

const (
	roleVar = "CIVITAS_CRASH_ROLE"
	// A ledger has what a server ran, one line before each answer; outcomes
	// what a caller was told.
	ledgers  = ".ledger"
	outcomes = ".outcomes"

	replied     = "replied"
	sent        = "sent"
	undelivered = "undelivered"
	unknown     = "unknown"
	wrong       = "wrong"
)

// timing has a killed node judged in 2.5 s.
var timing = cluster.Timing{Lease: 2 * time.Second}

type (
	// Add is a call that must run once at most.
	Add struct {
		genserver.Returns[Added]
		ID string `json:"id"`
	}
	Added struct {
		ID string `json:"id"`
	}
	// Note is a cast that must run once at most.
	Note struct {
		genserver.OneWay
		ID string `json:"id"`
	}
)

func (Add) Op() string  { return "add" }
func (Note) Op() string { return "note" }

func openBook(kind string) (*proctest.Book, error) {
	return proctest.OpenBook(os.Getenv("CIVITAS_CRASH_DIR"), os.Getenv("CIVITAS_CRASH_LIFE"), kind)
}

type counter struct {
	ledger *proctest.Book
	n      int
}

func (c *counter) add(_ *genserver.Context, m Add) (Added, error) {
	if c.n++; c.n%100 == 0 {
		<-time.After(5 * time.Millisecond) // so that others queue
	}
	return Added{ID: m.ID}, c.ledger.Write("call", m.ID)
}

func (c *counter) note(_ *genserver.Context, m Note) error { return c.ledger.Write("cast", m.ID) }

// link is a Connector that tells whether there is a connection.
type link struct {
	url  string
	conn atomic.Pointer[transport.NATS]
	lost atomic.Pointer[nats.Conn]
}

func (l *link) Connect(ctx context.Context, o node.LinkOptions) (*node.Link, error) {
	made, err := node.Dial(ctx, o, transport.NATSOptions{
		URL: l.url, ReconnectWait: 50 * time.Millisecond,
		OnDisconnect: func(error) {
			if c := l.conn.Load(); c != nil {
				l.lost.Store(c.Conn())
			}
		},
	})
	if err == nil {
		l.conn.Store(made.Conn.(*transport.NATS)) // Dial makes no other.
	}
	return made, err
}

// down reports that the newest connection is one that was lost.
func (l *link) down() bool { return l.lost.Load() != nil && l.conn.Load().Conn() == l.lost.Load() }

// roles are what a child can be, until SIGTERM.
var roles = map[string]func(*slog.Logger, <-chan os.Signal) error{"nats": runNATS, "server": runServer, "caller": runCaller}

// child runs a role, which must leave nothing behind.
func child(role string) (code int) {
	return proctest.Child(role, func(log *slog.Logger, term <-chan os.Signal) error {
		before := goleak.IgnoreCurrent()
		return errors.Join(roles[role](log, term), goleak.Find(before))
	})
}

func runNATS(log *slog.Logger, term <-chan os.Signal) error {
	port, err := strconv.Atoi(os.Getenv("CIVITAS_CRASH_PORT"))
	if err != nil {
		return err
	}
	s, err := natsserver.Start(context.Background(), natsserver.Options{
		Port: port, JetStream: true, StoreDir: filepath.Join(os.Getenv("CIVITAS_CRASH_DIR"), "jetstream"), Logger: log,
	})
	if err != nil {
		return err
	}
	proctest.TellReady()
	<-term
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return s.Shutdown(ctx)
}

func startNode(log *slog.Logger, name string, l *link, children ...supervisor.Child) (*node.Node, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
	defer cancel()
	return node.Start(ctx, node.Config{
		Name: name, NATS: l, Timing: timing, Logger: log, Tree: supervisor.Spec{Children: children}, StopTimeout: 20 * time.Second,
	})
}

func runServer(log *slog.Logger, term <-chan os.Signal) error {
	ledger, err := openBook(ledgers)
	if err != nil {
		return err
	}
	defer ledger.Close()
	typ := genserver.Define("crashtest.Counter",
		func(*genserver.Context, struct{}) (*counter, error) { return &counter{ledger: ledger}, nil },
		genserver.HandleCall((*counter).add), genserver.HandleCast((*counter).note))
	n, err := startNode(log, "server", &link{url: os.Getenv("CIVITAS_CRASH_URL")},
		supervisor.Child{Name: "counter", Run: typ.With(struct{}{}), Scope: supervisor.Cluster})
	if err != nil {
		return err
	}
	proctest.TellReady()
	<-term
	return n.Stop(context.Background())
}

const (
	callers     = 8
	callTimeout = 2 * time.Second
	// lateness is what a busy machine, or being frozen, adds to a timeout.
	lateness = 10 * time.Second
)

// pauses are what a caller waits before its next message.
var pauses = map[string]time.Duration{replied: 200 * time.Microsecond, sent: 200 * time.Microsecond, undelivered: 3 * time.Millisecond}

func runCaller(log *slog.Logger, term <-chan os.Signal) error {
	told, err := openBook(outcomes)
	if err != nil {
		return err
	}
	defer told.Close()
	l := &link{url: os.Getenv("CIVITAS_CRASH_URL")}
	n, err := startNode(log, "caller", l)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	to, errs := n.Ref("counter"), make([]error, callers)
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil && errs[c] == nil; i++ {
				id := fmt.Sprintf("%s.%d.%d", os.Getenv("CIVITAS_CRASH_LIFE"), c, i)
				kind, outcome := "call", []string(nil)
				if i%2 == 0 {
					outcome = call(to, id)
				} else {
					kind, outcome = "cast", cast(to, id, l)
				}
				errs[c] = told.Write(append([]string{kind, id}, outcome...)...)
				<-time.After(pauses[outcome[0]])
			}
		})
	}
	proctest.TellReady()
	<-term
	cancel()
	wg.Wait()
	return errors.Join(append(errs, n.Stop(context.Background()))...)
}

// call makes a call and says what became of it.
func call(to genserver.Ref, id string) []string {
	began := time.Now()
	got, err := genserver.Call(context.Background(), to, Add{ID: id}, genserver.WithTimeout(callTimeout))
	took := time.Since(began)
	switch {
	case took > callTimeout+lateness:
		return []string{wrong, "it ended only after " + took.String()}
	case err != nil:
		return failed(err)
	case got.ID != id:
		return []string{wrong, "got the answer to " + got.ID}
	}
	return []string{replied}
}

// cast makes a cast, which must fail while there is no connection.
func cast(to genserver.Ref, id string, l *link) []string {
	down := l.down()
	err := to.Cast(context.Background(), Note{ID: id})
	switch {
	case err != nil:
		return failed(err)
	case down && l.down():
		return []string{wrong, "it was taken while there was no connection"}
	}
	return []string{sent}
}

func failed(err error) []string {
	var e *genserver.Error
	switch {
	case !errors.As(err, &e):
		return []string{wrong, "the error does not tell whether it may be sent again: " + oneLine(err)}
	case genserver.NotDelivered(err):
		return []string{undelivered, e.Code, oneLine(err)}
	default:
		return []string{unknown, e.Code, oneLine(err)}
	}
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
