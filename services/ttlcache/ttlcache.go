// Package ttlcache is a cache as a server: values by key, each for its time to
// live, shared by everyone who can reach the server's name.
//
//	{Name: "cache", Run: ttlcache.Cache.With(ttlcache.Config{}), Scope: supervisor.Cluster}
//
//	_, err := genserver.Call(ctx, n.Ref("cache"), ttlcache.Set{Key: "k", Value: "v"})
//	found, err := genserver.Call(ctx, n.Ref("cache"), ttlcache.Get{Key: "k"})
//	if found.Hit { … found.Value … }
//
// Payloads name their op under "op". Any NATS client can ask too:
//
//	nats req civitas.dev.s.cache '{"op":"get","key":"k"}'
//
// All ops are calls:
//
//	op      payload                            reply
//	get     key                                hit, and value (MessagePack: null for a
//	                                           miss; JSON: none)
//	set     key, value, ttl (seconds; if not   ok: true
//	        given, Config.TTL)
//	delete  key                                deleted: whether there was one
//	stats                                      size, capacity, hits, misses, evicted, expired
//
// A value is whatever JSON and MessagePack can carry: numbers, strings,
// booleans, null, arrays, maps. Callers in the same process get the very value
// that was set, uncopied: nobody may change it.
//
// An entry is over at the end of its time to live, to the nanosecond, however
// long it takes until its memory is freed. When there are Config.Capacity entries,
// a new key takes the place of the one that was not got or set for the longest
// time. All is in memory: a restart begins empty.
package ttlcache

import (
	"container/list"
	"fmt"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/expiry"
)

// MaxKey is how many bytes a key may have.
const MaxKey = 1024

// What is wrong with a request. All are answered without a change to the cache.
var (
	// ErrBadKey refuses an empty key, and one of more than MaxKey bytes.
	ErrBadKey = genserver.NewError("ttlcache.bad_key", "bad key")
	// ErrBadTTL refuses a time to live that is negative, or more than
	// Config.MaxTTL.
	ErrBadTTL = genserver.NewError("ttlcache.bad_ttl", "bad ttl")
)

// Cache is the cache's Type.
var Cache = genserver.Define("ttlcache.Cache", newCache,
	genserver.Tag[cache]("op"),
	genserver.HandleCall((*cache).get),
	genserver.HandleCall((*cache).set),
	genserver.HandleCall((*cache).delete),
	genserver.HandleCall((*cache).stats),
	genserver.HandleInfo((*cache).evict),
	genserver.NonBlocking[cache]())

// entry is what the cache has of a key.
type entry struct {
	value any
	used  *list.Element // its Value is the *expiry.Entry[entry]
}

type cache struct {
	Config
	began   time.Time
	entries expiry.Map[entry]
	used    list.List // the last used first
	counts  Counts
}

// evict is the cache's tick.
type evict struct{ genserver.Signal }

func (evict) Op() string { return "evict" }

func newCache(ctx *genserver.Context, cfg Config) (*cache, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx.SendAfter(cfg.EvictEvery, evict{})
	return &cache{Config: cfg, began: time.Now()}, nil
}

// now is the cache's clock, which is monotonic.
func (c *cache) now() time.Duration { return time.Since(c.began) }

func (c *cache) get(_ *genserver.Context, r Get) (Found, error) {
	if err := checkKey(r.Key); err != nil {
		return Found{}, err
	}
	e := c.entries.Get(r.Key)
	if e == nil || e.Over(c.now()) {
		c.counts.Misses++
		if e != nil {
			c.expire(e)
		}
		return Found{}, nil
	}
	c.counts.Hits++
	c.used.MoveToFront(e.Value.used)
	return Found{Hit: true, Value: e.Value.value}, nil
}

func (c *cache) set(_ *genserver.Context, r Set) (Stored, error) {
	if err := checkKey(r.Key); err != nil {
		return Stored{}, err
	}
	ttl, err := expiry.TTL(r.TTL, c.TTL, c.MaxTTL)
	if err != nil {
		return Stored{}, fmt.Errorf("%w: %w", ErrBadTTL, err)
	}
	now := c.now()
	if e := c.entries.Get(r.Key); e != nil {
		e.Value.value = r.Value
		c.entries.Move(e, now, ttl)
		c.used.MoveToFront(e.Value.used)
		return Stored{OK: true}, nil
	}
	if c.entries.Len() == c.Capacity {
		c.makeRoom(now)
	}
	e := c.entries.Add(r.Key, entry{value: r.Value}, now, ttl)
	e.Value.used = c.used.PushFront(e)
	return Stored{OK: true}, nil
}

func (c *cache) delete(_ *genserver.Context, r Delete) (Deleted, error) {
	if err := checkKey(r.Key); err != nil {
		return Deleted{}, err
	}
	e := c.entries.Get(r.Key)
	switch {
	case e == nil:
		return Deleted{}, nil
	case e.Over(c.now()):
		c.expire(e)
		return Deleted{}, nil
	default:
		c.drop(e)
		return Deleted{Deleted: true}, nil
	}
}

func (c *cache) stats(*genserver.Context, Stats) (Counts, error) {
	counts := c.counts
	counts.Size, counts.Capacity = c.entries.Len(), c.Capacity
	return counts, nil
}

// sweep is how many entries one turn frees, so that nobody waits for long.
const sweep = 1000

// evict frees what is over, and sets the next tick: at once, but behind what
// waits by then, where there is more to free.
func (c *cache) evict(ctx *genserver.Context, tick evict) error {
	now := c.now()
	for range sweep {
		e := c.entries.First()
		if e == nil || !e.Over(now) {
			ctx.SendAfter(c.EvictEvery, tick)
			return nil
		}
		c.expire(e)
	}
	ctx.SendAfter(0, tick)
	return nil
}

// makeRoom takes out an entry that is over, or else the one that has not been
// used for the longest time.
func (c *cache) makeRoom(now time.Duration) {
	if e := c.entries.First(); e.Over(now) {
		c.expire(e)
		return
	}
	c.counts.Evicted++
	c.drop(c.used.Back().Value.(*expiry.Entry[entry])) // the list holds nothing else
}

func (c *cache) expire(e *expiry.Entry[entry]) {
	c.counts.Expired++
	c.drop(e)
}

func (c *cache) drop(e *expiry.Entry[entry]) {
	c.used.Remove(e.Value.used)
	c.entries.Delete(e)
}

func checkKey(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("%w: it is empty", ErrBadKey)
	case len(key) > MaxKey:
		return fmt.Errorf("%w: %d bytes are more than %d", ErrBadKey, len(key), MaxKey)
	default:
		return nil
	}
}
