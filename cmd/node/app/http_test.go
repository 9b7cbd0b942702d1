package app_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdGet is `get CODE URL PATTERN…`: the answer has the status and matches all
// of the patterns.
func cmdGet(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(get(args[0], args[1], args[2:]))
}

// cmdEventually is get for what is sure to come.
func cmdEventually(ts *testscript.TestScript, _ bool, args []string) {
	late := time.After(10 * time.Second)
	for {
		err := get(args[0], args[1], args[2:])
		if err == nil {
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-late:
			ts.Fatalf("after 10s: %v", err)
		}
	}
}

func get(code, url string, patterns []string) error {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if got := strconv.Itoa(resp.StatusCode); got != code {
		return fmt.Errorf("%s: got status %s, want %s; body %q", url, got, code, body)
	}
	for _, pattern := range patterns {
		if !regexp.MustCompile("(?m)" + pattern).Match(body) {
			return fmt.Errorf("%s: got %s, want a match of %q", url, body, pattern)
		}
	}
	return nil
}

// collector stands for an OpenTelemetry collector: it keeps what comes, in
// protocol buffers, which have their strings in clear.
type collector struct {
	mu     sync.Mutex
	bodies map[string][]byte // by path
}

// cmdCollector is `collector NAME`: it starts one and sets $NAME_URL.
func cmdCollector(ts *testscript.TestScript, _ bool, args []string) {
	c := &collector{bodies: map[string][]byte{}}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.bodies[r.URL.Path] = append(c.bodies[r.URL.Path], body...)
	}))
	ts.Defer(server.Close)
	ts.Setenv(args[0]+"_URL", server.URL)
	ts.Value(collectorsKey{}).(map[string]*collector)[args[0]] = c
}

type collectorsKey struct{}

// cmdCollected is `collected NAME PATH PATTERN…`: what came there matches all of
// the patterns; without any, nothing came.
func cmdCollected(ts *testscript.TestScript, _ bool, args []string) {
	c := ts.Value(collectorsKey{}).(map[string]*collector)[args[0]]
	c.mu.Lock()
	defer c.mu.Unlock()
	body := c.bodies[args[1]]
	if len(args) == 2 && len(body) > 0 {
		ts.Fatalf("%s: got %d bytes, want none", args[1], len(body))
	}
	for _, pattern := range args[2:] {
		if !regexp.MustCompile(pattern).Match(body) {
			ts.Fatalf("%s: got %d bytes that do not match %q", args[1], len(body), pattern)
		}
	}
}
