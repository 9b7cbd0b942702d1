package nodetest

import (
	"io"
	"sync"
)

// output is a test's, as long as there is one: what a node's last goroutines
// still log afterwards goes nowhere, since the test would panic of it.
type output struct {
	mu sync.Mutex
	to io.Writer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.to.Write(p)
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.to = io.Discard
}
