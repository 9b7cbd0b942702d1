package transport

import (
	"net"
	"runtime"
	"sync"
	"time"
)

// gatherConn gathers small writes. nats.go writes to its socket under the
// lock that every caller needs, so that many concurrent calls wait for many
// system calls. Here a write is a copy into a buffer, and one goroutine writes
// all that has come together meanwhile. What a sender is told does not
// change: nats.go too says only that a message has left for the socket.
type gatherConn struct {
	net.Conn

	wake chan struct{} // one slot: there is something to write, or to end
	done chan struct{} // closed when the writing goroutine ends

	mu     sync.Mutex
	room   sync.Cond // on mu; buf has been taken, or err set
	buf    []byte    // guarded by mu
	err    error     // guarded by mu; of the first write that failed
	closed bool      // guarded by mu
}

const (
	// gatherLimit is what may wait for the socket; beyond it writers wait too.
	gatherLimit = 1 << 20
	// gatherTimeout is how long one write to the socket may take. A server
	// that reads nothing for so long has lost its connection.
	gatherTimeout = 10 * time.Second
	// gatherLinger is how long Close waits for the last bytes to go.
	gatherLinger = time.Second
)

func newGatherConn(c net.Conn) *gatherConn {
	g := &gatherConn{Conn: c, wake: make(chan struct{}, 1), done: make(chan struct{})}
	g.room.L = &g.mu
	go g.run()
	return g
}

// Write copies p. Its error may be that of an earlier Write.
func (g *gatherConn) Write(p []byte) (int, error) {
	g.mu.Lock()
	for len(g.buf) >= gatherLimit && g.err == nil && !g.closed {
		g.room.Wait()
	}
	if g.closed && g.err == nil {
		g.err = net.ErrClosed
	}
	if err := g.err; err != nil {
		g.mu.Unlock()
		return 0, err
	}
	g.buf = append(g.buf, p...)
	g.mu.Unlock()
	g.signal()
	return len(p), nil
}

func (g *gatherConn) signal() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// run ends when the conn is closed and all is written, or cannot be.
func (g *gatherConn) run() {
	defer close(g.done)
	var spare []byte
	for {
		<-g.wake
		runtime.Gosched() // lets those that run now add theirs
		g.mu.Lock()
		out, closed := g.buf, g.closed
		g.buf = spare[:0]
		g.room.Broadcast()
		g.mu.Unlock()
		if err := g.write(out, closed); err != nil {
			g.fail(err)
			return
		}
		if closed {
			return
		}
		if spare = out; cap(spare) > maxPooledBuffer {
			spare = nil
		}
	}
}

func (g *gatherConn) write(out []byte, closed bool) error {
	if len(out) == 0 {
		return nil
	}
	timeout := gatherTimeout
	if closed {
		timeout = gatherLinger
	}
	if err := g.Conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	_, err := g.Conn.Write(out)
	return err
}

// fail ends the conn, so that its reader learns of it too.
func (g *gatherConn) fail(err error) {
	g.mu.Lock()
	if g.err == nil {
		g.err = err
	}
	g.room.Broadcast()
	g.mu.Unlock()
	_ = g.Conn.Close()
}

// SetWriteDeadline does nothing: the writes it would be for are not the
// caller's. See gatherTimeout.
func (g *gatherConn) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline sets the deadline of reads only.
func (g *gatherConn) SetDeadline(t time.Time) error { return g.SetReadDeadline(t) }

// Close writes what is left, if the other side takes it soon, and waits for
// the writing goroutine.
func (g *gatherConn) Close() error {
	g.mu.Lock()
	g.closed = true
	g.room.Broadcast()
	g.mu.Unlock()
	// A write that hangs now gets the short deadline too; the error is that
	// of a conn already closed.
	_ = g.Conn.SetWriteDeadline(time.Now().Add(gatherLinger))
	g.signal()
	<-g.done
	return g.Conn.Close()
}
