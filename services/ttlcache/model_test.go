package ttlcache_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/services/ttlcache"
)

// model is the cache said plainly: a list, the last used first.
type model struct {
	capacity int
	now      time.Duration
	entries  []modelEntry
	counts   ttlcache.Counts
}

type modelEntry struct {
	key   string
	value int
	over  time.Duration
}

// take cuts out the living entry of a key, if there is one.
func (m *model) take(key string) (modelEntry, bool) {
	for i, e := range m.entries {
		if e.key == key {
			m.entries = slices.Delete(m.entries, i, i+1)
			return e, e.over > m.now
		}
	}
	return modelEntry{}, false
}

func (m *model) put(e modelEntry) { m.entries = slices.Insert(m.entries, 0, e) }

func (m *model) get(key string) ttlcache.Found {
	e, ok := m.take(key)
	if !ok {
		m.counts.Misses++
		return ttlcache.Found{}
	}
	m.counts.Hits++
	m.put(e)
	return ttlcache.Found{Hit: true, Value: e.value}
}

func (m *model) set(e modelEntry) {
	m.take(e.key)
	if len(m.entries) == m.capacity {
		if first := slices.MinFunc(m.entries, func(a, b modelEntry) int { return int(a.over - b.over) }); first.over <= m.now {
			m.take(first.key)
		} else {
			m.entries = m.entries[:m.capacity-1]
			m.counts.Evicted++
		}
	}
	m.put(e)
}

// step is something done to the cache.
type step struct {
	op  string // get, set, delete or sleep
	key string
	n   int // the value, or seconds
	ttl int // seconds
}

func steps(t *rapid.T) []step {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			op:  rapid.SampledFrom([]string{"get", "get", "get", "set", "set", "set", "delete", "sleep"}).Draw(t, "op"),
			key: rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "key"),
			n:   rapid.SampledFrom([]int{1, 2, 5, 9}).Draw(t, "n"),
			ttl: rapid.SampledFrom([]int{0, 1, 3, 8, 20, 60}).Draw(t, "ttl"),
		}
	}), 40, 120).Draw(t, "steps")
}

// Whatever is done to it, in whatever order and at whatever time, the cache
// answers as the model does.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		cfg := ttlcache.Config{
			Capacity:   rapid.IntRange(1, 4).Draw(rt, "capacity"),
			EvictEvery: time.Duration(rapid.IntRange(1, 30).Draw(rt, "evict")) * time.Second,
		}
		todo := steps(rt)
		problem := ""
		cached(t, config(cfg), func(t *testing.T, cache genserver.Ref) {
			problem = run(t, cache, &model{capacity: cfg.Capacity}, todo)
		})
		if problem != "" { // rapid wants to hear of it outside of the bubble
			rt.Fatal(problem)
		}
	})
}

// run says where the cache and the model differ, if they do.
func run(t *testing.T, cache genserver.Ref, m *model, todo []step) string {
	for i, s := range todo {
		var got, want any
		switch s.op {
		case "get":
			got, want = call(t, cache, ttlcache.Get{Key: s.key}), m.get(s.key)
		case "set":
			ttl := time.Duration(s.ttl) * time.Second
			set(t, cache, s.key, s.n, ttl)
			m.set(modelEntry{s.key, s.n, m.now + ttl})
		case "delete":
			_, had := m.take(s.key)
			got, want = call(t, cache, ttlcache.Delete{Key: s.key}).Deleted, had
		case "sleep":
			sleep(time.Duration(s.n) * time.Second)
			m.now += time.Duration(s.n) * time.Second
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Sprintf("step %d, %+v (-want +got):\n%s", i, s, diff)
		}
	}
	got := call(t, cache, ttlcache.Stats{})
	alive := 0
	for _, e := range m.entries {
		if e.over > m.now {
			alive++
		}
	}
	if got.Hits != m.counts.Hits || got.Misses != m.counts.Misses || got.Evicted != m.counts.Evicted ||
		got.Size < alive || got.Size > m.capacity {
		return fmt.Sprintf("stats: got %+v, want %+v and a size of %d to %d", got, m.counts, alive, m.capacity)
	}
	return ""
}
