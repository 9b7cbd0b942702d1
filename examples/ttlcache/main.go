// A cache whose entries are over after a while: the GenServer page's, whose
// payloads name their op under "op". One for production, with a bound and a
// delete, is services/ttlcache.
//
//	go run ./examples/ttlcache run
//	go run ./cmd/node call cache '{"op":"set","key":"k","value":[1,2],"ttl":5}'
//	go run ./cmd/node call cache '{"op":"get","key":"k"}'
//
// To try: add a call "delete". It is one message type, one method and one
// HandleCall.
package main

import (
	"os"
	"time"

	"github.com/civitas-go/civitas/cmd/node/app"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

type (
	// Get asks for a key's value.
	Get struct {
		genserver.Returns[Found]
		Key string `json:"key"`
	}
	// Found is the answer.
	Found struct {
		Hit   bool `json:"hit"`
		Value any  `json:"value"`
	}
	// Set puts a value under a key, for TTL seconds, or a minute.
	Set struct {
		genserver.Returns[Stored]
		Key   string   `json:"key"`
		Value any      `json:"value"`
		TTL   *float64 `json:"ttl,omitempty"`
	}
	// Stored is the answer.
	Stored struct {
		OK bool `json:"ok"`
	}
	evict struct{ genserver.Signal }
)

// Op is "get".
func (Get) Op() string { return "get" }

// Op is "set".
func (Set) Op() string { return "set" }

func (evict) Op() string { return "evict" }

type entry struct {
	value any
	over  time.Time
}

type cache struct{ entries map[string]entry }

func newCache(ctx *genserver.Context, _ struct{}) (*cache, error) {
	ctx.SendAfter(10*time.Second, evict{})
	return &cache{entries: map[string]entry{}}, nil
}

func (c *cache) get(_ *genserver.Context, r Get) (Found, error) {
	e, ok := c.entries[r.Key]
	if !ok || !time.Now().Before(e.over) {
		delete(c.entries, r.Key)
		return Found{}, nil
	}
	return Found{Hit: true, Value: e.value}, nil
}

func (c *cache) set(_ *genserver.Context, r Set) (Stored, error) {
	ttl := time.Minute
	if r.TTL != nil {
		ttl = time.Duration(*r.TTL * float64(time.Second))
	}
	c.entries[r.Key] = entry{r.Value, time.Now().Add(ttl)}
	return Stored{OK: true}, nil
}

func (c *cache) evict(ctx *genserver.Context, tick evict) error {
	now := time.Now()
	for key, e := range c.entries {
		if !now.Before(e.over) {
			delete(c.entries, key)
		}
	}
	ctx.SendAfter(10*time.Second, tick)
	return nil
}

// TTLCache is the cache's Type.
var TTLCache = genserver.Define("myapp.services.TTLCache", newCache,
	genserver.Tag[cache]("op"),
	genserver.HandleCall((*cache).get),
	genserver.HandleCall((*cache).set),
	genserver.HandleInfo((*cache).evict))

var tree = supervisor.Spec{Children: []supervisor.Child{
	{Name: "cache", Run: TTLCache.With(struct{}{}), Scope: supervisor.Cluster},
}}

func main() { os.Exit(app.Main(app.Options{Name: "ttlcache", Tree: tree})) }
