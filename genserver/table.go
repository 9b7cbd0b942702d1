package genserver

import (
	"sync"
)

// table finds processes by name. It is split so that callers on different
// cores seldom meet.
type table struct {
	shards [64]shard
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

// shard is chosen by the end of the name, where names that are many differ.
// It only has to spread; the map within has a hash of its own.
func (t *table) shard(name string) *shard {
	h := uint32(len(name))
	for i := max(0, len(name)-6); i < len(name); i++ {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return &t.shards[(h^h>>15)%uint32(len(t.shards))]
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
