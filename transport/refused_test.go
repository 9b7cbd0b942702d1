package transport_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/civitas-go/civitas/transport"
)

// TestRefusedAfterRestart: a server that came back with other credentials is
// asked now and then, not hammered; the log and whoever sends are told; and
// once it knows us again all is well.
func TestRefusedAfterRestart(t *testing.T) {
	t.Parallel()
	ours := func() *server.Options { return &server.Options{Username: "bob", Password: "hush"} }
	s := startServerAt(t, server.RANDOM_PORT, ours())
	var (
		h   history
		log lockedBuffer
	)
	c := dialNATS(t, h.watch(transport.NATSOptions{
		URL: "nats://" + s.Addr().String(), Auth: transport.Auth{User: "bob", Password: "hush"}, ReconnectWait: 20 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}))
	defer closeConn(t, c)
	s = restart(t, s, &server.Options{Username: "bob", Password: "changed"})
	await(t, "the loss", h.down)
	const want = `it does not know user "bob" with that password`
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline) && !errors.Is(err, transport.ErrRefused); <-time.After(time.Millisecond) {
		err = c.Publish(transport.Msg{Subject: "x"})
	}
	if !errors.Is(err, transport.ErrNotConnected) || !errors.Is(err, transport.ErrRefused) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
		t.Errorf("publish: got %v, want %v and %v with %q and no secret", err, transport.ErrNotConnected, transport.ErrRefused, want)
	}
	began, before := time.Now(), totalClients(t, s)
	<-time.After(time.Second)
	// Being refused, it waits 160ms to 320ms between two attempts.
	if tries, most := totalClients(t, s)-before, uint64(time.Since(began)/(160*time.Millisecond))+2; tries > most {
		t.Errorf("got %d attempts in %v, want %d at most", tries, time.Since(began), most)
	}
	if text := log.String(); !strings.Contains(text, strings.ReplaceAll(want, `"`, `\"`)) || strings.Contains(text, "hush") {
		t.Errorf("log: got %s, want %q in it and no secret", text, want)
	} else if n := strings.Count(text, "without success"); n > 10 {
		t.Errorf("log: got %d lines on it, want few", n)
	}
	restart(t, s, ours())
	await(t, "the connection", h.up)
	if err := c.Flush(within(t)); err != nil {
		t.Errorf("flush: got %v, want nil", err)
	}
}

func totalClients(t *testing.T, s *server.Server) uint64 {
	t.Helper()
	v, err := s.Varz(nil)
	if err != nil {
		t.Fatalf("varz: %v", err)
	}
	return v.TotalConnections
}

func replaceFile(t *testing.T, file, by string) {
	t.Helper()
	data, err := os.ReadFile(by)
	if err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// TestExpiredCredentials: a server ends a connection whose credentials have
// run out; the reason is told, and renewed ones, in the same file, are taken.
func TestExpiredCredentials(t *testing.T) {
	t.Parallel()
	s, creds, account := credsServer(t)
	file := creds(account, time.Now().Add(3*time.Second))
	var h history
	c := dialNATS(t, h.watch(transport.NATSOptions{URL: s.ClientURL(), Auth: transport.Auth{Creds: file}}))
	defer closeConn(t, c)
	if err := await(t, "the loss", h.down); !errors.Is(err, nats.ErrAuthExpired) || !strings.Contains(err.Error(), "must be issued anew") {
		t.Errorf("got %v, want %v and what to do", err, nats.ErrAuthExpired)
	}
	replaceFile(t, file, creds(account, time.Now().Add(time.Hour)))
	await(t, "the connection", h.up)
}
