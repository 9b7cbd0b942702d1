package natsserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

func connect(t *testing.T, url string, o ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, o...)
	if err != nil {
		t.Fatalf("connect to %q: %v", url, err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func TestStartAndStopManyTimes(t *testing.T) {
	for range 10 {
		s, err := Start(t.Context(), Options{JetStream: true, StoreDir: t.TempDir()})
		if err != nil {
			t.Fatalf("Start: %v", err)
		}
		nc, err := nats.Connect(s.ClientURL())
		if err != nil {
			t.Fatalf("connect: %v", err)
		}
		if got, want := nc.ConnectedServerId(), s.ID(); got != want {
			t.Errorf("got server id %q, want %q", got, want)
		}
		nc.Close()
		stop(t, s)
		stop(t, s) // a second one is harmless
		if err := goleak.Find(); err != nil {
			t.Fatalf("after Shutdown: %v", err)
		}
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().(*net.TCPAddr)

	_, err = Start(t.Context(), Options{Port: addr.Port, JetStream: true, StoreDir: t.TempDir()})
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("got %v, want address already in use", err)
	}
	if want := "listen " + addr.String() + ": address already in use"; !strings.Contains(err.Error(), want) {
		t.Errorf("got %q, want it to contain %q", err, want)
	}
}

// A port that another process takes between the probe and nats-server's own
// listen must be an error too, not the end of the process.
func TestPortTakenAfterTheProbe(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	host := "localhost.invalid" // nats-server fails to listen on it, as on a taken port
	o := Options{Host: host, Port: l.Addr().(*net.TCPAddr).Port}
	s := newUnstarted(t, o)
	err = s.run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "Error listening on port") {
		t.Errorf("got %v, want nats-server's own listen error", err)
	}
	stop(t, s)
}

func TestTwoServers(t *testing.T) {
	t.Parallel()
	a, b := start(t, Options{}), start(t, Options{})
	if a.ClientURL() == b.ClientURL() {
		t.Errorf("got %s twice, want two addresses", a.ClientURL())
	}
	connect(t, a.ClientURL())
	connect(t, b.ClientURL())
}

func TestInProcessOnly(t *testing.T) {
	t.Parallel()
	s := start(t, Options{DontListen: true, JetStream: true})
	if got := s.ClientURL(); got != "" {
		t.Errorf("got URL %q, want none", got)
	}
	nc := connect(t, "", nats.InProcessServer(s))
	if _, err := nc.GetClientID(); err != nil {
		t.Errorf("client id: %v", err)
	}
}

func TestTemporaryStoreDirIsRemoved(t *testing.T) {
	t.Parallel()
	s := start(t, Options{JetStream: true, DontListen: true})
	dir := s.StoreDir()
	if _, err := os.Stat(dir); err != nil {
		t.Fatalf("store directory while running: %v", err)
	}
	stop(t, s)
	if _, err := os.Stat(filepath.Dir(dir)); err == nil && strings.Contains(filepath.Dir(dir), "civitas-nats-") {
		t.Errorf("%s is still there", filepath.Dir(dir))
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v for %s, want not exist", err, dir)
	}
}

// A store directory has one server at a time, which nats-server itself would
// not see to.
func TestStoreDirIsLocked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := start(t, Options{JetStream: true, StoreDir: dir})
	if !first.Exclusive() {
		t.Skip("no file locks here")
	}
	_, err := Start(t.Context(), Options{JetStream: true, StoreDir: dir})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second server: got %v, want ErrInUse and the directory", err)
	}
	stop(t, first)
	start(t, Options{JetStream: true, StoreDir: dir})
}

func TestStoreDirKeepsStreams(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := start(t, Options{JetStream: true, StoreDir: dir})
	js, err := jetstream.New(connect(t, first.ClientURL()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KEPT", Subjects: []string{"kept.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "kept.a", []byte("one")); err != nil {
		t.Fatal(err)
	}
	stop(t, first)

	second := start(t, Options{JetStream: true, StoreDir: dir})
	js, err = jetstream.New(connect(t, second.ClientURL()))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "KEPT")
	if err != nil {
		t.Fatal(err)
	}
	m, err := stream.GetLastMsgForSubject(t.Context(), "kept.a")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(m.Data); got != "one" {
		t.Errorf("got %q, want %q", got, "one")
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name string
		ctx  context.Context
		o    Options
		want string
	}{
		{"store directory is a file", t.Context(), Options{JetStream: true, StoreDir: file}, "store directory"},
		{"store directory below a file", t.Context(), Options{JetStream: true, StoreDir: filepath.Join(file, "x")}, "store directory"},
		{"store directory without JetStream", t.Context(), Options{StoreDir: file}, "JetStream is off"},
		{"negative port", t.Context(), Options{Port: -1}, "port -1"},
		{"port too large", t.Context(), Options{Port: 70000}, "port 70000"},
		{"negative payload", t.Context(), Options{MaxPayload: -1}, "max payload"},
		{"no such host", t.Context(), Options{Host: "203.0.113.1"}, "listen 203.0.113.1:0"},
		{"ended context", cancelled, Options{}, "context canceled"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Start(tt.ctx, tt.o)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// JetStream's own refusal to start comes through Fatalf.
func TestJetStreamFaultIsAnError(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := newUnstarted(t, Options{Host: "127.0.0.1", JetStream: true, StoreDir: file})
	err := s.run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "Can't start JetStream") {
		t.Errorf("got %v, want nats-server's own words", err)
	}
	stop(t, s)
}

func TestMaxPayload(t *testing.T) {
	t.Parallel()
	nc := connect(t, start(t, Options{MaxPayload: 2048}).ClientURL())
	if got := nc.MaxPayload(); got != 2048 {
		t.Errorf("got %d, want 2048", got)
	}
}

func TestShutdownStopsWaitingWithItsContext(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	// Either it was that quick, or it says that it gave up waiting.
	if err := s.Shutdown(ended); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want nil or context canceled", err)
	}
	stop(t, s)
	if _, err := s.InProcessConn(); err == nil {
		t.Error("got a connection from a stopped server")
	}
}

func TestLogsGoToSlog(t *testing.T) {
	t.Parallel()
	var buf lockedBuffer
	logger := slog.New(slog.NewTextHandler(&buf, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := start(t, Options{Logger: logger})
	stop(t, s)
	if got := buf.String(); !strings.Contains(got, "level=DEBUG") || !strings.Contains(got, "Listening for client connections") {
		t.Errorf("got %q, want nats-server's notices at debug", got)
	}
}

// newUnstarted skips Start's own checks, to meet nats-server's.
func newUnstarted(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := create(o, "")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func BenchmarkStartStop(b *testing.B) {
	for b.Loop() {
		s, err := Start(b.Context(), Options{JetStream: true, DontListen: true})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Shutdown(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// Whatever clients show is accepted, as without events; none can publish one.
func TestDisconnectEvents(t *testing.T) {
	t.Parallel()
	const subject = "ev.disconnect"
	var log lockedBuffer
	s := start(t, Options{DisconnectEvents: subject, JetStream: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	url := s.ClientURL()
	quiet := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
	listener := connect(t, url)
	if listener.AuthRequired() {
		t.Error("auth_required: got true, want false")
	}
	events, err := listener.SubscribeSync(subject)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := listener.FlushWithContext(ctx); err != nil {
		t.Fatal(err)
	}
	for _, o := range [][]nats.Option{nil, {nats.UserInfo("a", "b")}, {nats.Token("t")}, {nats.InProcessServer(s), nats.Name("n1 probe")}} {
		nc := connect(t, url, append(o, quiet)...)
		id, err := nc.GetClientID()
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.Publish(subject, []byte("forged")); err != nil {
			t.Fatal(err)
		}
		if err := nc.FlushWithContext(ctx); err != nil {
			t.Fatal(err)
		}
		if err := nc.LastError(); !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("publish to the events' subject: got %v, want a permissions violation", err)
		}
		nc.Close()
		m, err := events.NextMsgWithContext(ctx)
		if err != nil {
			t.Fatalf("the event: got %v, want one", err)
		}
		for _, want := range []string{fmt.Sprintf(`"id":%d,`, id), s.ID(), "client_disconnect"} {
			if !strings.Contains(string(m.Data), want) {
				t.Errorf("the event: got %s, want %s in it", m.Data, want)
			}
		}
	}
	// Who only tries is no error.
	if got := strings.Count(log.String(), "level=ERROR"); got != 3 || strings.Contains(log.String(), "probe") {
		t.Errorf("got the log %s, want an error for each of three forgers", log.String())
	}
}
