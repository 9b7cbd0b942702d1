//go:build unix

package chaostest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/proctest"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/supervisor"
	"github.com/civitas-go/civitas/transport"
)

const (
	roleVar   = "CIVITAS_CHAOS_ROLE"
	lifeVar   = "CIVITAS_CHAOS_LIFE"
	urlsVar   = "CIVITAS_CHAOS_URLS"
	bringsVar = "CIVITAS_CHAOS_BRINGS" // the names that a member has in its tree
	// A ledger has what handlers started, outcomes what became of calls.
	ledgers  = ".ledger"
	outcomes = ".outcomes"
)

const (
	watched = "limiter" // the name that is called most
	scribe  = "scribe"  // a name that is nearly always amid a handler, which ends with a write
)

// others are names that are called now and then.
var others = []string{"a", "b", "c", "d", "e"}

var names = append([]string{watched, scribe}, others...)

// roles are what a child can be, until SIGTERM.
var roles = map[string]func(*slog.Logger, <-chan os.Signal) error{
	"nats": runNATS, "member": runMember, "host": runHost,
}

func runNATS(_ *slog.Logger, term <-chan os.Signal) error {
	opts, err := server.ProcessConfigFile(os.Getenv("CIVITAS_CHAOS_CONFIG"))
	if err != nil {
		return err
	}
	opts.NoSigs, opts.NoLog = true, true
	s, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		return errors.New("the server takes no connections")
	}
	proctest.TellReady()
	<-term
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

var auth = transport.Auth{User: user, Password: user}

// book is a proctest.Book whose writer ends if it can't write: what follows would be
// a lie.
type book struct{ *proctest.Book }

func openBook(kind string) (book, error) {
	b, err := proctest.OpenBook(os.Getenv("CIVITAS_CHAOS_DIR"), os.Getenv(lifeVar), kind)
	return book{b}, err
}

func (b book) write(format string, args ...any) {
	if err := b.Write(fmt.Sprintf(format, args...)); err != nil {
		panic(err)
	}
}

// runMember is a node that calls all the time.
func runMember(log *slog.Logger, term <-chan os.Signal) error {
	told, err := openBook(outcomes)
	if err != nil {
		return err
	}
	return runNode(log, term, caller{told, os.Getenv(lifeVar)}.callAll)
}

// runHost is a node that only serves.
func runHost(log *slog.Logger, term <-chan os.Signal) error {
	return runNode(log, term, func(context.Context, *node.Node) {})
}

// runNode is a node, until SIGTERM or until it is declared dead; use ends when its ctx does.
func runNode(log *slog.Logger, term <-chan os.Signal, use func(context.Context, *node.Node)) error {
	ledger, err := openBook(ledgers)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
	defer cancel()
	conn, err := transport.DialNATS(ctx, transport.NATSOptions{URL: os.Getenv(urlsVar), Auth: auth})
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	n, err := node.Start(ctx, nodeConfig(log, counterType(ledger), scribeType(ledger, conn)))
	if err != nil {
		return err
	}
	proctest.TellReady()
	ended := make(chan error, 1)
	go func() { ended <- n.Run(context.Background()) }()
	using, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { use(using, n) })
	select {
	case <-term:
	case err = <-ended: // it was declared dead
	}
	stop()
	wg.Wait()
	return errors.Join(err, n.Stop(context.Background()))
}

func nodeConfig(log *slog.Logger, counters, scribes *genserver.TypeOf[struct{}]) node.Config {
	config := node.Config{
		Name: os.Getenv("CIVITAS_CHAOS_NAME"), Logger: log, StopTimeout: 20 * time.Second,
		NATS:     node.NATS{URL: os.Getenv(urlsVar), Auth: auth},
		Failover: node.Failover(os.Getenv("CIVITAS_CHAOS_FAILOVER")),
		Types:    []genserver.Type{counters, scribes},
	}
	for _, name := range strings.Fields(os.Getenv(bringsVar)) {
		child := supervisor.Child{Name: name, Run: counters.With(struct{}{}), Scope: supervisor.Cluster}
		if name == scribe {
			child.Run = scribes.With(struct{}{})
		}
		config.Tree.Children = append(config.Tree.Children, child)
	}
	return config
}

// caller is a member's load.
type caller struct {
	told book
	life string
}

// Each member calls the watched name so often, and the others in turn.
const (
	callEvery  = 3 * time.Millisecond // 333 a second and node
	otherEvery = 4
	callLimit  = 10 * time.Minute // longer than anything here
	inFlight   = 20000
)

// callAll calls until ctx ends.
func (c caller) callAll(ctx context.Context, n *node.Node) {
	awaitNames(ctx, n)
	var wg sync.WaitGroup
	wg.Go(func() { c.keepWriting(ctx, n) })
	c.keepCalling(ctx, n)
	wg.Wait()
}

// awaitNames waits until somebody has brought all names.
func awaitNames(ctx context.Context, n *node.Node) {
	for _, name := range names {
		for ctx.Err() == nil {
			_, err := genserver.Call(ctx, n.Ref(name), genserver.Map{"type": "are you there"}) // which it does not know
			if !errors.Is(err, genserver.ErrNoProcess) {
				break
			}
		}
	}
}

// keepCalling begins a call every so often, whatever becomes of those before.
func (c caller) keepCalling(ctx context.Context, n *node.Node) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, inFlight)
	ticker := time.NewTicker(callEvery)
	defer ticker.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		slots <- struct{}{}
		begin := func(name string) {
			wg.Go(func() { c.call(ctx, n, name, fmt.Sprintf("%s.%s%d", c.life, name, i)) })
		}
		wg.Go(func() {
			defer func() { <-slots }()
			c.call(ctx, n, watched, fmt.Sprintf("%s.%d", c.life, i))
		})
		if i%otherEvery == 0 {
			begin(others[i/otherEvery%len(others)])
		}
	}
}

// keepWriting has the scribe write all the time.
func (c caller) keepWriting(ctx context.Context, n *node.Node) {
	for i := 0; ctx.Err() == nil; i++ {
		c.call(ctx, n, scribe, fmt.Sprintf("%s.w%d", c.life, i))
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (c caller) call(ctx context.Context, n *node.Node, name, id string) {
	began := now()
	c.told.write("begun %d 0 %s %s - - 0", began, name, id)
	r, err := genserver.Call(ctx, n.Ref(name), Count{ID: id}, genserver.WithTimeout(callLimit))
	if ctx.Err() != nil {
		c.told.write("ended %d %d %s %s %s - 0", began, now(), name, id, stopped)
		return
	}
	outcome, code := verdict(err)
	c.told.write("ended %d %d %s %s %s %s %d", began, now(), name, id, outcome, code, r.Epoch)
}

const (
	replied     = "replied"
	undelivered = "undelivered"
	unknown     = "unknown"
	stopped     = "stopped" // the caller
)

func verdict(err error) (outcome, code string) {
	var e *genserver.Error
	switch {
	case err == nil:
		return replied, "-"
	case !errors.As(err, &e):
		return unknown, strings.ReplaceAll(err.Error(), " ", "_")
	case genserver.NotDelivered(err):
		return undelivered, e.Code
	default:
		return unknown, e.Code
	}
}
