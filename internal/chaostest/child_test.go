//go:build unix

package chaostest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
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

// child runs a role until SIGTERM, or until the test has ended.
func child(role string) (code int) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3) // nobody is left to tell
	}()
	var err error
	switch role {
	case "nats":
		err = runNATS(term)
	case "member":
		err = runMember(log, term)
	default:
		err = fmt.Errorf("no role %q", role)
	}
	if err != nil {
		log.Error("the end", "role", role, "error", err)
		return 1
	}
	return 0
}

func tellReady() { _, _ = os.Stdout.WriteString(proctest.Ready + "\n") }

func runNATS(term <-chan os.Signal) error {
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
	tellReady()
	<-term
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

// book is a file of lines. What was written survives the end of the process.
type book struct {
	mu   sync.Mutex
	file *os.File
}

func openBook(kind string) (*book, error) {
	name := filepath.Join(os.Getenv("CIVITAS_CHAOS_DIR"), os.Getenv("CIVITAS_CHAOS_LIFE")+kind)
	file, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return &book{file: file}, err
}

func (b *book) write(format string, args ...any) {
	line := fmt.Sprintf(format+"\n", args...)
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := b.file.WriteString(line); err != nil {
		panic(err) // what follows would be a lie
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

type counter struct{ ledger *book }

func counterType(ledger *book) *genserver.TypeOf[struct{}] {
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
	tellReady()
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
func keepCalling(ctx context.Context, n *node.Node, told *book) {
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
