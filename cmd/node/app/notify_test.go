package app_test

import (
	"bytes"
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/civitas-go/civitas/cmd/node/app"
)

// TestNotify has run tell systemd when it is ready, and when it stops.
func TestNotify(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	socket := filepath.Join(dir, "notify")
	for _, name := range []string{socket, "@" + socket} {
		addr := &net.UnixAddr{Name: strings.Replace(name, "@", "\x00", 1), Net: "unixgram"}
		systemd, err := net.ListenUnixgram("unixgram", addr)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var errs bytes.Buffer
		ended := make(chan int, 1)
		go func() {
			ended <- app.Run(ctx, app.Options{}, app.Streams{
				In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: &errs,
				Getenv: func(key string) string { return map[string]string{"NOTIFY_SOCKET": name}[key] },
			}, []string{"run", "--listen", "127.0.0.1:0"})
		}()
		want := func(state string) {
			_ = systemd.SetReadDeadline(time.Now().Add(20 * time.Second))
			var got [64]byte
			n, err := systemd.Read(got[:])
			if err != nil || string(got[:n]) != state {
				t.Fatalf("got %q, %v, want %q", got[:n], err, state)
			}
		}
		want("READY=1")
		cancel()
		want("STOPPING=1")
		if code := <-ended; code != 0 {
			t.Errorf("got code %d, stderr %q, want 0", code, errs.String())
		}
		systemd.Close()
	}

	// Where nobody listens the node is no use to systemd.
	code, _, stderr := command(t, map[string]string{"NOTIFY_SOCKET": filepath.Join(dir, "nobody")}, "run", "--listen", "127.0.0.1:0", "-o", "json")
	if code != 1 || !strings.Contains(stderr, "tell systemd READY=1") {
		t.Errorf("got code %d, stderr %q, want 1", code, stderr)
	}
}
