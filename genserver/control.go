package genserver

import "sync"

// terminating is what a process handles while it ends.
type terminating struct{}

func (terminating) header() *header              { return &header{op: "terminate"} }
func (terminating) message() Message             { return nil }
func (terminating) use() uint64                  { return 0 }
func (terminating) run(*Process, *Context) error { return nil }
func (terminating) discard(uint64, failure)      {}

// barrier is handled when everything before it has been.
type barrier struct {
	once sync.Once
	done chan struct{}
}

func (b *barrier) header() *header              { return &header{op: "barrier"} }
func (b *barrier) message() Message             { return nil }
func (b *barrier) use() uint64                  { return 0 }
func (b *barrier) run(*Process, *Context) error { b.release(); return nil }
func (b *barrier) discard(uint64, failure)      { b.release() }
func (b *barrier) release()                     { b.once.Do(func() { close(b.done) }) }
