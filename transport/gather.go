package transport

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// gatherConn gathers small writes. nats.go writes to its socket under the
// lock that every caller needs, so that many concurrent calls wait for many
// system calls. Here a write is a copy into a buffer, and one goroutine writes
// all that has come together meanwhile. What a sender is told does not
// change: nats.go too says only that a message has left for the socket.
type gatherConn struct {
	net.Conn

	letGo func()        // release; kept, since to make it anew costs an allocation
	wake  chan struct{} // one slot: there is something to write, or to end
	done  chan struct{} // closed when the writing goroutine ends

	held    atomic.Int32 // how many will call release
	writing sync.Mutex   // held by whoever writes to the socket
	rest    []byte       // guarded by writing; what release could not write

	mu     sync.Mutex
	room   sync.Cond // on mu; buf has been taken, or err set
	buf    []byte    // guarded by mu
	spare  []byte    // guarded by mu; to become buf
	err    error     // guarded by mu; of the first write that failed
	closed bool      // guarded by mu
	last   bool      // guarded by mu; Close writes what is left
}

const (
	// gatherLimit is what may wait for the socket; beyond it writers wait too.
	gatherLimit = 128 << 10
	// gatherKept is how large a buffer may be and be used again: as large as they
	// get while a connection has more to send than its socket takes.
	gatherKept = 2 * gatherLimit
	// gatherTimeout is how long one write to the socket may take. A server
	// that reads nothing for so long has lost its connection.
	gatherTimeout = 10 * time.Second
	// releaseTimeout is how long a sender may be kept from going on by a socket
	// that takes no more; the writing goroutine has more time.
	releaseTimeout = 2 * time.Millisecond
	// gatherLinger is how long Close waits for the last bytes to go.
	gatherLinger = time.Second
)

func newGatherConn(c net.Conn) *gatherConn {
	g := &gatherConn{Conn: c, wake: make(chan struct{}, 1), done: make(chan struct{})}
	g.letGo = g.release
	g.room.L = &g.mu
	go g.run()
	return g
}

// Write copies p. Its error may be that of an earlier Write.
func (g *gatherConn) Write(p []byte) (int, error) {
	g.mu.Lock()
	for len(g.buf) >= gatherLimit && g.err == nil && !g.closed {
		g.signal() // Whoever holds it may be waiting here.
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
	if g.held.Load() == 0 {
		g.signal()
	}
	return len(p), nil
}

// hold has what is written from now on wait for release, which the caller must
// call soon, and which writes it to the socket. To have the writing goroutine
// do so would cost a sender who is alone the time that it takes to wake up.
func (g *gatherConn) hold() { g.held.Add(1) }

// release writes all that waits, unless somebody else is about to.
func (g *gatherConn) release() {
	g.held.Add(-1)
	if !g.writing.TryLock() {
		g.signal()
		return
	}
	defer g.writing.Unlock()
	out, _ := g.take()
	if len(g.rest) > 0 {
		g.rest = append(g.rest, out...)
		g.signal()
		return
	}
	n, err := g.write(out, releaseTimeout)
	switch {
	case err == nil:
		g.giveBack(out)
	case errors.Is(err, os.ErrDeadlineExceeded):
		g.rest = out[n:]
		g.signal()
	default:
		g.fail(err)
	}
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
	for {
		<-g.wake
		runtime.Gosched() // lets those that run now add theirs
		if closed, err := g.writeAll(); err != nil {
			g.fail(err)
			return
		} else if closed {
			return
		}
	}
}

func (g *gatherConn) writeAll() (closed bool, err error) {
	g.writing.Lock()
	defer g.writing.Unlock()
	out, closed := g.take()
	timeout := gatherTimeout
	if closed {
		timeout = gatherLinger
	}
	if len(g.rest) > 0 {
		out = append(g.rest, out...)
		g.rest = nil
	}
	if _, err := g.write(out, timeout); err != nil {
		return closed, err
	}
	g.giveBack(out)
	return closed, nil
}

// take empties the buffer for whoever holds writing.
func (g *gatherConn) take() (out []byte, closed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	out = g.buf
	g.buf, g.spare = g.spare[:0], nil
	g.room.Broadcast()
	return out, g.closed
}

// giveBack keeps a buffer for the next take.
func (g *gatherConn) giveBack(out []byte) {
	if cap(out) > gatherKept {
		return
	}
	g.mu.Lock()
	g.spare = out
	g.mu.Unlock()
}

func (g *gatherConn) write(out []byte, timeout time.Duration) (int, error) {
	if len(out) == 0 {
		return 0, nil
	}
	if err := g.Conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return 0, err
	}
	return g.Conn.Write(out)
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

// linger has Close write what is left, if the other side takes it soon. It is
// for connections that are closed on purpose: nats.go closes a lost one with
// the lock that senders need, and they must not wait.
func (g *gatherConn) linger() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = true
}

// Close waits for the writing goroutine.
func (g *gatherConn) Close() error {
	g.mu.Lock()
	g.closed = true
	linger := g.last
	if !linger {
		g.buf = nil
	}
	g.room.Broadcast()
	g.mu.Unlock()
	if !linger {
		err := g.Conn.Close()
		g.signal()
		<-g.done
		return err
	}
	// A write that hangs now gets the short deadline too; the error is that
	// of a conn already closed.
	_ = g.Conn.SetWriteDeadline(time.Now().Add(gatherLinger))
	g.signal()
	<-g.done
	return g.Conn.Close()
}
