package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/node/embedded"
	"github.com/civitas-go/civitas/services/ratelimit"
	"github.com/civitas-go/civitas/supervisor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config(name string, nats node.Connector) node.Config {
	return node.Config{Name: name, NATS: nats, Logger: slog.New(slog.DiscardHandler)}
}

func withLimiter(cfg node.Config) node.Config {
	cfg.Tree = supervisor.Spec{Children: []supervisor.Child{
		{Name: "rate_limiter", Run: ratelimit.Limiter.With(ratelimit.Config{}), Scope: supervisor.Cluster},
	}}
	return cfg
}

func start(t *testing.T, cfg node.Config) *node.Node {
	t.Helper()
	n, err := node.Start(t.Context(), cfg)
	if err != nil {
		t.Fatalf("start node %s: got %v, want nil", cfg.Name, err)
	}
	t.Cleanup(func() { _ = n.Stop(context.Background()) })
	return n
}

func stop(t *testing.T, n *node.Node) {
	t.Helper()
	if err := n.Stop(t.Context()); err != nil {
		t.Errorf("stop node %s: got %v, want nil", n.Name(), err)
	}
}

func acquire(t *testing.T, n *node.Node, remaining int) {
	t.Helper()
	want := ratelimit.Grant{OK: true, Remaining: remaining}
	got, err := genserver.Call(t.Context(), n.Ref("rate_limiter"), ratelimit.Acquire{})
	if err != nil || got != want {
		t.Errorf("acquire from %s: got %+v, %v; want %+v", n.Name(), got, err, want)
	}
}

func TestOtherNodesConnect(t *testing.T) {
	t.Parallel()
	n1 := start(t, withLimiter(config("n1", embedded.Server{})))
	if !strings.HasPrefix(n1.URL(), "nats://127.0.0.1:") {
		t.Errorf("URL: got %s, want one of the loopback interface", n1.URL())
	}
	n2 := start(t, config("n2", node.URL(n1.URL())))
	acquire(t, n1, 99)
	acquire(t, n2, 98)
	stop(t, n2)
	acquire(t, n1, 97)
	stop(t, n1)
}

func TestReadySoon(t *testing.T) {
	began := time.Now()
	n := start(t, withLimiter(config("n1", embedded.Server{})))
	took := time.Since(began)
	t.Logf("ready after %v", took)
	if took > 10*time.Second { // 2 s, where nothing else runs
		t.Errorf("got a node after %v, want it within 2s", took)
	}
	stop(t, n)
}

// The node that has the server goes first: the other one's calls fail, and it stops in time.
func TestServerEndsWithItsNode(t *testing.T) {
	t.Parallel()
	n1 := start(t, withLimiter(config("n1", embedded.Server{})))
	n2 := start(t, config("n2", node.URL(n1.URL())))
	acquire(t, n2, 99)
	stop(t, n1)
	_, err := genserver.Call(t.Context(), n2.Ref("rate_limiter"), ratelimit.Acquire{}, genserver.WithTimeout(2*time.Second))
	if !errors.Is(err, genserver.ErrUnavailable) { // undelivered, unless the connection broke just then
		t.Errorf("call without NATS: got %v, want ErrUnavailable", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	began := time.Now()
	if err := n2.Stop(ctx); err == nil {
		t.Error("stop without NATS: got nil, want word of the record that is left")
	}
	if took := time.Since(began); took > 12*time.Second {
		t.Errorf("stop without NATS: took %v, want it bounded", took)
	}
}

func TestTemporaryStoreIsRemoved(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	n := start(t, config("n1", embedded.Server{}))
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("while it runs: got %v, %v in the temporary folder, want one", entries, err)
	}
	stop(t, n)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("after the stop: got %v, %v in the temporary folder, want nothing", entries, err)
	}
}

func TestStoreDirKeepsRecords(t *testing.T) {
	t.Parallel()
	server := embedded.Server{StoreDir: filepath.Join(t.TempDir(), "new", "store"), SyncAlways: true}
	epochs := []uint64{}
	for range 2 {
		epoch := make(chan uint64, 1)
		cfg := config("n1", server)
		typ := genserver.Define("test.Epoch", func(ctx *genserver.Context, _ struct{}) (*struct{}, error) {
			epoch <- ctx.Epoch()
			return &struct{}{}, nil
		})
		cfg.Tree.Children = []supervisor.Child{{Name: "x", Run: typ.With(struct{}{}), Scope: supervisor.Cluster}}
		stop(t, start(t, cfg))
		epochs = append(epochs, <-epoch)
	}
	if epochs[0] >= epochs[1] {
		t.Errorf("epochs of two lives on one store: got %v, want them to grow", epochs)
	}
}

// crashDir is set in the process that TestCrashedNodeComesBackWithItsServer kills.
const crashDir = "CIVITAS_TEST_CRASH_DIR"

// A node that was killed with its server inside it comes back at once: its
// predecessor cannot have outlived the server.
func TestCrashedNodeComesBackWithItsServer(t *testing.T) {
	if dir := os.Getenv(crashDir); dir != "" {
		start(t, withLimiter(config("n1", embedded.Server{StoreDir: dir})))
		_, _ = os.Stdout.WriteString("up\n")
		select {} // until it is killed
	}
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashedNodeComesBackWithItsServer$", "-test.v")
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasSuffix(lines.Text(), "up") {
	}
	_, err = node.Start(t.Context(), config("n1", embedded.Server{StoreDir: dir}))
	if err == nil || !strings.Contains(err.Error(), "another NATS server has it open") {
		t.Errorf("start while the first lives: got %v, want word of the store directory in use", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	began := time.Now()
	n := start(t, withLimiter(config("n1", embedded.Server{StoreDir: dir})))
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("start after the crash: took %v, want it without the wait for a silent node, 15s", took)
	}
	acquire(t, n, 99)
	stop(t, n)
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = node.Start(t.Context(), config("n1", embedded.Server{Listen: l.Addr().String()}))
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("start on a port in use: got %v, want EADDRINUSE and the address", err)
	}
}

func TestBadListenAddress(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"4222", "127.0.0.1:http", "127.0.0.1:99999"} {
		_, err := node.Start(t.Context(), config("n1", embedded.Server{Listen: address}))
		if err == nil || !strings.Contains(err.Error(), "embedded NATS") {
			t.Errorf("start with Listen %q: got %v, want an error that says what is wrong", address, err)
		}
	}
}

func TestStartWithAnEndedContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := node.Start(ctx, config("n1", embedded.Server{}))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("start: got %v, want context.Canceled", err)
	}
}
