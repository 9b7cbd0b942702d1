package main

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/node/nodetest"
)

func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var flushed lines
		n := nodetest.Start(t, node.Config{Tree: tree(&flushed)})
		write := func(line string) {
			t.Helper()
			if err := n.Ref("buffer").Cast(t.Context(), Write{Line: line}); err != nil {
				t.Errorf("write: got %v, want nil", err)
			}
			synctest.Wait()
		}
		want := func(when, want string) {
			t.Helper()
			synctest.Wait()
			if got := flushed.String(); got != want {
				t.Errorf("%s: got %q, want %q", when, got, want)
			}
		}
		write("one")
		write("two")
		want("before the heartbeat", "")
		<-time.After(every)
		want("after it", "one\ntwo\n")
		write("three")
		if err := n.Stop(t.Context()); err != nil {
			t.Errorf("stop: got %v, want nil", err)
		}
		want("after the end", "one\ntwo\nthree\n")
	})
}

// lines is what the server wrote: its timer's goroutine writes, the test reads.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
