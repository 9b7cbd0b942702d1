package genserver

import (
	"hash/maphash"
	"sync"
)

// table finds processes by name. It is split so that callers on different
// cores seldom meet.
type table struct {
	seed   maphash.Seed
	shards [64]shard
}

type shard struct {
	mu    sync.RWMutex
	procs map[string]*Process
	_     [24]byte // a cache line each
}

func newTable() *table {
	t := &table{seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].procs = map[string]*Process{}
	}
	return t
}

func (t *table) shard(name string) *shard {
	return &t.shards[maphash.String(t.seed, name)%uint64(len(t.shards))]
}

// get is the process of that name, nil if there is none.
func (t *table) get(name string) *Process {
	s := t.shard(name)
	s.mu.RLock()
	p := s.procs[name]
	s.mu.RUnlock()
	return p
}

// put enters a process under a name that is free; System.enter sees to that.
func (t *table) put(p *Process) {
	s := t.shard(p.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.procs[p.name] = p
}

// remove takes out this very process.
func (t *table) remove(p *Process) {
	s := t.shard(p.name)
	s.mu.Lock()
	defer s.mu.Unlock()
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
