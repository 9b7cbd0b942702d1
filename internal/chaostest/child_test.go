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
	roleVar = "CIVITAS_CHAOS_ROLE"
	// A ledger has what handlers started, outcomes what became of calls.
	ledgers  = ".ledger"
	outcomes = ".outcomes"
)

// others are names that nobody breaks on purpose.
var others = []string{"a", "b", "c", "d", "e"}

// roles are what a child can be, until SIGTERM.
var roles = map[string]func(*slog.Logger, <-chan os.Signal) error{"nats": runNATS, "member": runMember}

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

// book is a proctest.Book whose writer ends if it can't write: what follows would be
// a lie.
type book struct{ *proctest.Book }

func openBook(kind string) (book, error) {
	b, err := proctest.OpenBook(os.Getenv("CIVITAS_CHAOS_DIR"), os.Getenv("CIVITAS_CHAOS_LIFE"), kind)
	return book{b}, err
}

func (b book) write(format string, args ...any) {
	if err := b.Write(fmt.Sprintf(format, args...)); err != nil {
		panic(err)
	}
}

type (
	// Count is a call that must run once at most.
	Count struct {
		genserver.Returns[Counted]
		ID string `json:"id"`
	}
	Counted struct {
		ID string `json:"id"`
	}
)

func (Count) Op() string { return "count" }

type counter struct{ ledger book }

func counterType(ledger book) *genserver.TypeOf[struct{}] {
	return genserver.Define("chaostest.Counter",
		func(ctx *genserver.Context, _ struct{}) (*counter, error) {
			ledger.write("init %d %s %d -", now(), ctx.Self().Name(), ctx.Epoch())
			return &counter{ledger}, nil
		},
		genserver.HandleCall(func(c *counter, ctx *genserver.Context, m Count) (Counted, error) {
			c.ledger.write("start %d %s %d %s", now(), ctx.Self().Name(), ctx.Epoch(), m.ID)
			return Counted{m.ID}, nil
		}))
}

func runMember(log *slog.Logger, term <-chan os.Signal) error {
	ledger, err := openBook(ledgers)
	if err != nil {
		return err
	}
	told, err := openBook(outcomes)
	if err != nil {
		return err
	}
	counters := counterType(ledger)
	tree := supervisor.Spec{}
	for _, name := range append([]string{watched}, others...) {
		tree.Children = append(tree.Children, supervisor.Child{Name: name, Run: counters.With(struct{}{}), Scope: supervisor.Cluster})
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
	defer cancel()
	n, err := node.Start(ctx, node.Config{
		Name: os.Getenv("CIVITAS_CHAOS_NAME"), Logger: log, Tree: tree, StopTimeout: 20 * time.Second,
		NATS:     node.NATS{URL: os.Getenv("CIVITAS_CHAOS_URLS"), Auth: transport.Auth{User: user, Password: user}},
		Failover: node.Failover(os.Getenv("CIVITAS_CHAOS_FAILOVER")),
	})
	if err != nil {
		return err
	}
	proctest.TellReady()
	ended := make(chan error, 1)
	go func() { ended <- n.Run(context.Background()) }()
	calling, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { keepCalling(calling, n, told) })
	select {
	case <-term:
	case err = <-ended: // it was declared dead
	}
	stop()
	wg.Wait()
	return errors.Join(err, n.Stop(context.Background()))
}

// Each member calls the watched name so often, and the others now and then.
const (
	callEvery  = 3 * time.Millisecond // 333 a second and node
	otherEvery = 20
	callLimit  = 10 * time.Minute // longer than anything here
	inFlight   = 20000
)

// keepCalling begins a call every so often, whatever becomes of those before.
func keepCalling(ctx context.Context, n *node.Node, told book) {
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
		name := watched
		if i%otherEvery == 0 {
			name = others[i/otherEvery%len(others)]
		}
		id := fmt.Sprintf("%s.%d", os.Getenv("CIVITAS_CHAOS_LIFE"), i)
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			began := now()
			told.write("begun %d 0 %s %s - -", began, name, id)
			_, err := genserver.Call(ctx, n.Ref(name), Count{ID: id}, genserver.WithTimeout(callLimit))
			if ctx.Err() != nil {
				told.write("ended %d %d %s %s stopped -", began, now(), name, id)
				return
			}
			outcome, code := verdict(err)
			told.write("ended %d %d %s %s %s %s", began, now(), name, id, outcome, code)
		})
	}
}

const (
	replied     = "replied"
	undelivered = "undelivered"
	unknown     = "unknown"
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
