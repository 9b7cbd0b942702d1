package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/civitas-go/civitas/node"
)

// probeTimeout is how long /readyz waits for NATS; Kubernetes gives a probe one
// second unless told otherwise.
const probeTimeout = 800 * time.Millisecond

// web is what --http serves: metrics for Prometheus, and the probes of
// whoever runs the container.
type web struct {
	listener net.Listener
	server   *http.Server
	served   chan struct{}             // closed when serving has ended
	node     atomic.Pointer[node.Node] // nil until it has started
}

// checkHTTP refuses what is no address.
func checkHTTP(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("--http %q: want host:port, as in 127.0.0.1:8080, or :8080 for every address", addr)
	}
	return nil
}

// listen takes the address, so that one that is taken is known before anything
// is started.
func listen(ctx context.Context, addr string) (*web, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--http %s: %w", addr, err)
	}
	return &web{listener: l, served: make(chan struct{})}, nil
}

// serve answers until close.
func (w *web) serve(metrics http.Handler, log *slog.Logger) {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /livez", answering(func(context.Context) error { return nil }))
	mux.HandleFunc("GET /startupz", answering(func(context.Context) error { return w.started() }))
	mux.HandleFunc("GET /readyz", answering(w.ready))
	w.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	go func() {
		defer close(w.served)
		if err := w.server.Serve(w.listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("HTTP has ended", "address", w.url(), "error", err)
		}
	}()
}

// answering says ok, or 503 and why not.
func answering(check func(context.Context) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		answer := "ok"
		if err := check(r.Context()); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			answer = err.Error()
		}
		_, _ = io.WriteString(w, answer+"\n")
	}
}

func (w *web) started() error {
	if w.node.Load() == nil {
		return errors.New("the node is starting")
	}
	return nil
}

func (w *web) ready(ctx context.Context) error {
	if err := w.started(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return w.node.Load().Ready(ctx)
}

// url is where people find it.
func (w *web) url() string {
	if w == nil {
		return ""
	}
	return "http://" + w.listener.Addr().String()
}

// close ends the listening, and what is being answered after a second.
func (w *web) close(ctx context.Context) {
	if w.server == nil {
		_ = w.listener.Close()
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if w.server.Shutdown(ctx) != nil {
		_ = w.server.Close()
	}
	<-w.served
}
