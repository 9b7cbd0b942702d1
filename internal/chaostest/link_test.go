//go:build unix

package chaostest

import (
	"net"
	"sync"
	"testing"
)

// link is a node's way to a NATS server, whose packets can be dropped: nothing is
// closed, and what was under way comes when the link goes on.
type link struct {
	target string
	l      net.Listener
	wg     sync.WaitGroup

	mu    sync.Mutex
	moved *sync.Cond
	held  bool                  // guarded by mu
	ended bool                  // guarded by mu
	conns map[net.Conn]struct{} // guarded by mu
}

func newLink(t *testing.T, target string) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{target: target, l: listener, conns: map[net.Conn]struct{}{}}
	l.moved = sync.NewCond(&l.mu)
	l.wg.Go(l.accept)
	t.Cleanup(l.close)
	return l
}

func (l *link) url() string { return "nats://" + l.l.Addr().String() }

func (l *link) hold(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = on
	l.moved.Broadcast()
}

// pass waits while packets are dropped; false once the link has ended.
func (l *link) pass() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.held && !l.ended {
		l.moved.Wait()
	}
	return !l.ended
}

func (l *link) close() {
	_ = l.l.Close()
	l.mu.Lock()
	l.ended = true
	for c := range l.conns {
		_ = c.Close()
	}
	l.moved.Broadcast()
	l.mu.Unlock()
	l.wg.Wait()
}

func (l *link) accept() {
	for {
		near, err := l.l.Accept()
		if err != nil {
			return // closed
		}
		l.wg.Go(func() { l.serve(near) })
	}
}

func (l *link) serve(near net.Conn) {
	defer near.Close()
	if !l.pass() {
		return
	}
	far, err := net.Dial("tcp", l.target)
	if err != nil {
		return
	}
	defer far.Close()
	l.mu.Lock()
	l.conns[near], l.conns[far] = struct{}{}, struct{}{}
	l.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { l.copy(near, far) })
	l.copy(far, near)
	wg.Wait()
	l.mu.Lock()
	delete(l.conns, near)
	delete(l.conns, far)
	l.mu.Unlock()
}

// copy ends both when one has ended, which a held link doesn't let through.
func (l *link) copy(to, from net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if !l.pass() || err != nil {
			break
		}
		if _, err := to.Write(buf[:n]); err != nil {
			break
		}
	}
	_ = to.Close()
	_ = from.Close()
}
