package genserver

import (
	"sync"
	"sync/atomic"
)

// table finds processes by name. It is split so that callers on different
// cores seldom meet, and most names are found without a lock: each has a place
// among the recent ones, which it shares with few others.
type table struct {
	shards [64]shard
	// recent has what was entered last of the names that share a place. It
	// changes only with the shard's lock held, so it never has a process that
	// its shard has not.
	recent [1024]atomic.Pointer[Process]
}

type shard struct {
	mu    sync.RWMutex
	procs map[string]*Process
	_     [24]byte // a cache line each
}

func newTable() *table {
	t := &table{}
	for i := range t.shards {
		t.shards[i].procs = map[string]*Process{}
	}
	return t
}

// spread is a number from the end of the name, where names that are many differ.
// It only has to spread; the maps have a hash of their own.
func spread(name string) uint32 {
	h := uint64(len(name))
	if n := len(name); n >= 4 {
		h ^= four(name[n-4:]) | four(name[max(0, n-8):])<<32
	} else {
		for i := range n {
			h = h<<8 | uint64(name[i])
		}
	}
	return uint32(h * 0x9e3779b97f4a7c15 >> 32)
}

// four is the first four bytes as a number.
func four(s string) uint64 {
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24
}

func (t *table) places(name string) (*shard, *atomic.Pointer[Process]) {
	h := spread(name)
	return &t.shards[h%uint32(len(t.shards))], &t.recent[h%uint32(len(t.recent))]
}

// get is the process of that name, nil if there is none.
func (t *table) get(name string) *Process {
	s, recent := t.places(name)
	if p := recent.Load(); p != nil && p.name == name {
		return p
	}
	s.mu.RLock()
	p := s.procs[name]
	s.mu.RUnlock()
	return p
}

// put enters a process under a name that is free; System.enter sees to that.
func (t *table) put(p *Process) {
	s, recent := t.places(p.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.procs[p.name] = p
	recent.Store(p)
}

// remove takes out this very process.
func (t *table) remove(p *Process) {
	s, recent := t.places(p.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	recent.CompareAndSwap(p, nil)
	if s.procs[p.name] == p {
		delete(s.procs, p.name)
	}
}

// all is a snapshot, in no order.
func (t *table) all() []*Process {
	var all []*Process
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		for _, p := range s.procs {
			all = append(all, p)
		}
		s.mu.RUnlock()
	}
	return all
}
