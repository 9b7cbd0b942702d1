package transport

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestGatherWritesAllInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		g := newGatherConn(near)
		var want bytes.Buffer
		for i := range 1000 {
			p := bytes.Repeat([]byte{byte(i)}, i)
			want.Write(p)
		}
		var reader sync.WaitGroup
		reader.Go(func() {
			got, err := io.ReadAll(far)
			if err != nil || !bytes.Equal(got, want.Bytes()) {
				t.Errorf("got %d bytes, %v, want the %d that were written", len(got), err, want.Len())
			}
		})
		for i := range 1000 {
			p := bytes.Repeat([]byte{byte(i)}, i)
			if n, err := g.Write(p); n != i || err != nil {
				t.Fatalf("write: got %d, %v, want %d", n, err, i)
			}
			clear(p) // the conn has its copy
		}
		g.linger()
		if err := g.Close(); err != nil {
			t.Errorf("close: got %v, want nil", err)
		}
		reader.Wait()
	})
}

func TestGatherSurfacesErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		g := newGatherConn(near)
		if err := far.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Write([]byte("lost")); err != nil {
			t.Errorf("first write: got %v, want nil: it is not known yet", err)
		}
		synctest.Wait()
		if _, err := g.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("second write: got %v, want %v", err, io.ErrClosedPipe)
		}
		if _, err := g.Read(make([]byte, 1)); err == nil {
			t.Error("read: got nil, want an error: the reader must learn of it")
		}
		if err := g.Close(); err != nil {
			t.Errorf("close: got %v, want nil", err)
		}
	})
}

func TestGatherNeverHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe() // nobody reads
		defer func() { _ = far.Close() }()
		g := newGatherConn(near)
		began := time.Now()
		var err error
		for err == nil { // until the buffer is full, and the write has timed out
			_, err = g.Write(make([]byte, gatherLimit/2))
		}
		if took := time.Since(began); took != gatherTimeout {
			t.Errorf("got an error after %v, want %v", took, gatherTimeout)
		}
		if err := g.Close(); err != nil {
			t.Errorf("close: got %v, want nil", err)
		}
	})
}

func TestGatherLingersForSoLong(t *testing.T) {
	for _, want := range []time.Duration{0, gatherLinger} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe() // nobody reads
			defer func() { _ = far.Close() }()
			g := newGatherConn(near)
			if want > 0 {
				g.linger()
			}
			if _, err := g.Write([]byte("stuck")); err != nil {
				t.Fatalf("write: got %v, want nil", err)
			}
			synctest.Wait()
			began := time.Now()
			if err := g.Close(); err != nil {
				t.Errorf("close: got %v, want nil", err)
			}
			if took := time.Since(began); took != want {
				t.Errorf("got closed after %v, want %v", took, want)
			}
			if _, err := g.Write([]byte("x")); err == nil {
				t.Error("write after close: got nil, want an error")
			}
		})
	}
}
