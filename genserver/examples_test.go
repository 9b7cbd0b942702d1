package genserver_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

// Acquire asks a rate limiter for a token; a Grant is the answer.
type Acquire struct{ genserver.Returns[Grant] }

type Grant struct {
	OK        bool `json:"ok"`
	Remaining int  `json:"remaining"`
}

// Reset fills the limiter up. Nobody waits for it.
type Reset struct{ genserver.OneWay }

// refill is the limiter's own tick.
type refill struct{ genserver.Signal }

func (Acquire) Op() string { return "acquire" }
func (Reset) Op() string   { return "reset" }
func (refill) Op() string  { return "refill" }

type limiter struct{ tokens, capacity int }

type LimiterConfig struct {
	Capacity int           `json:"capacity"`
	Every    time.Duration `json:"every"`
}

func newLimiter(ctx *genserver.Context, c LimiterConfig) (*limiter, error) {
	if c.Capacity < 1 {
		return nil, errors.New("a limiter needs a capacity")
	}
	ctx.SendAfter(c.Every, refill{})
	return &limiter{tokens: c.Capacity, capacity: c.Capacity}, nil
}

func (l *limiter) acquire(*genserver.Context, Acquire) (Grant, error) {
	if l.tokens == 0 {
		return Grant{}, nil
	}
	l.tokens--
	return Grant{OK: true, Remaining: l.tokens}, nil
}

func (l *limiter) reset(*genserver.Context, Reset) error {
	l.tokens = l.capacity
	return nil
}

func (l *limiter) refill(ctx *genserver.Context, tick refill) error {
	l.tokens = min(l.capacity, l.tokens+1)
	ctx.SendAfter(time.Hour, tick) // the next one
	return nil
}

var Limiter = genserver.Define("myapp.services.RateLimiter", newLimiter,
	genserver.HandleCall((*limiter).acquire),
	genserver.HandleCast((*limiter).reset),
	genserver.HandleInfo((*limiter).refill),
	genserver.NonBlocking[limiter](), // it only counts, so callers may run it themselves
)

// The rate limiter: a typed server that refills itself by a timer.
func Example() {
	ctx := context.Background()
	sys := genserver.NewSystem(genserver.Config{})
	defer sys.Stop(ctx)

	_, err := sys.Start(ctx, "rate_limiter", Limiter.With(LimiterConfig{Capacity: 2, Every: time.Hour}), genserver.SpawnOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ref := sys.Ref("rate_limiter")
	for range 3 {
		grant, err := genserver.Call(ctx, ref, Acquire{}, genserver.WithTimeout(time.Second))
		fmt.Println(grant, err)
	}
	ref.Cast(ctx, Reset{})
	grant, err := genserver.Call(ctx, ref, Acquire{})
	fmt.Println(grant, err)

	// The same server, untyped: what a caller of another language sends.
	reply, err := genserver.Call(ctx, ref, genserver.Map{"type": "acquire"})
	fmt.Println(reply, err)
	// Output:
	// {true 1} <nil>
	// {true 0} <nil>
	// {false 0} <nil>
	// {true 1} <nil>
	// map[ok:true remaining:0] <nil>
}

// Write adds to a buffer; heartbeat has it written every so often.
type (
	Write struct {
		genserver.OneWay
		Line string `json:"line"`
	}
	heartbeat struct{ genserver.Signal }
)

func (Write) Op() string     { return "write" }
func (heartbeat) Op() string { return "heartbeat" }

type buffer struct {
	lines   []string
	flushed chan<- []string
}

func newBuffer(ctx *genserver.Context, flushed chan<- []string) (*buffer, error) {
	ctx.SendAfter(10*time.Millisecond, heartbeat{})
	return &buffer{flushed: flushed}, nil
}

func (b *buffer) write(_ *genserver.Context, w Write) error {
	b.lines = append(b.lines, w.Line)
	return nil
}

func (b *buffer) beat(ctx *genserver.Context, beat heartbeat) error {
	if len(b.lines) > 0 {
		b.flushed <- b.lines
		b.lines = nil
	}
	ctx.SendAfter(10*time.Millisecond, beat)
	return nil
}

// A heartbeat: SendAfter sets the next tick. Timers end with their server.
func ExampleContext_SendAfter() {
	ctx := context.Background()
	sys := genserver.NewSystem(genserver.Config{})
	defer sys.Stop(ctx)

	Buffer := genserver.Define("myapp.Buffer", newBuffer,
		genserver.HandleCast((*buffer).write),
		genserver.HandleInfo((*buffer).beat),
	)
	flushed := make(chan []string)
	sys.Start(ctx, "buffer", Buffer.With(flushed), genserver.SpawnOptions{})
	sys.Ref("buffer").Cast(ctx, Write{Line: "one"})
	sys.Ref("buffer").Cast(ctx, Write{Line: "two"})
	fmt.Println(len(<-flushed) > 0)
	// Output: true
}

// A session registry, in the untyped form: a handler of Map takes every op.
func ExampleMap() {
	ctx := context.Background()
	sys := genserver.NewSystem(genserver.Config{})
	defer sys.Stop(ctx)

	type registry struct{ sessions map[string]any }
	Sessions := genserver.Define("myapp.SessionRegistry",
		func(*genserver.Context, struct{}) (*registry, error) {
			return &registry{sessions: map[string]any{}}, nil
		},
		genserver.HandleCall(func(r *registry, _ *genserver.Context, m genserver.Map) (genserver.Map, error) {
			switch m.Op() {
			case "count":
				return genserver.Map{"count": len(r.sessions)}, nil
			default:
				return genserver.Map{"error": "unknown call"}, nil
			}
		}),
		genserver.HandleCast(func(r *registry, _ *genserver.Context, m genserver.Map) error {
			id, _ := m["id"].(string)
			switch m.Op() {
			case "open":
				r.sessions[id] = m["user"]
			case "close":
				delete(r.sessions, id)
			}
			return nil
		}),
	)
	sys.Start(ctx, "sessions", Sessions.With(struct{}{}), genserver.SpawnOptions{})

	ref := sys.Ref("sessions")
	ref.Cast(ctx, genserver.Map{"type": "open", "id": "s1", "user": "ada"})
	ref.Cast(ctx, genserver.Map{"type": "open", "id": "s2", "user": "bob"})
	ref.Cast(ctx, genserver.Map{"type": "close", "id": "s1"})
	reply, err := genserver.Call(ctx, ref, genserver.Map{"type": "count"})
	fmt.Println(reply, err)
	// Output: map[count:1] <nil>
}

// CacheGet and CacheSet are a cache's calls; evict is its tick.
type (
	CacheGet struct {
		genserver.Returns[CacheHit]
		Key string `json:"key"`
	}
	CacheHit struct {
		Hit   bool `json:"hit"`
		Value any  `json:"value,omitempty"`
	}
	CacheSet struct {
		genserver.Returns[CacheOK]
		Key   string  `json:"key"`
		Value any     `json:"value"`
		TTL   float64 `json:"ttl"` // seconds
	}
	CacheOK struct {
		OK bool `json:"ok"`
	}
	evict struct{ genserver.Signal }
)

func (CacheGet) Op() string { return "get" }
func (CacheSet) Op() string { return "set" }
func (evict) Op() string    { return "evict" }

type cacheEntry struct {
	value   any
	expires time.Time
}

type cache struct{ entries map[string]cacheEntry }

func newCache(ctx *genserver.Context, _ struct{}) (*cache, error) {
	ctx.SendAfter(10*time.Second, evict{})
	return &cache{entries: map[string]cacheEntry{}}, nil
}

func (c *cache) get(_ *genserver.Context, g CacheGet) (CacheHit, error) {
	entry, ok := c.entries[g.Key]
	if !ok || time.Now().After(entry.expires) {
		return CacheHit{}, nil
	}
	return CacheHit{Hit: true, Value: entry.value}, nil
}

func (c *cache) set(_ *genserver.Context, s CacheSet) (CacheOK, error) {
	expires := time.Now().Add(time.Duration(s.TTL * float64(time.Second)))
	c.entries[s.Key] = cacheEntry{s.Value, expires}
	return CacheOK{OK: true}, nil
}

func (c *cache) evict(ctx *genserver.Context, tick evict) error {
	for key, entry := range c.entries {
		if time.Now().After(entry.expires) {
			delete(c.entries, key)
		}
	}
	ctx.SendAfter(10*time.Second, tick)
	return nil
}

// A cache whose payloads name their op under "op" in place of "type".
func ExampleTag() {
	ctx := context.Background()
	sys := genserver.NewSystem(genserver.Config{})
	defer sys.Stop(ctx)

	TTLCache := genserver.Define("myapp.TTLCache", newCache,
		genserver.Tag[cache]("op"),
		genserver.HandleCall((*cache).get),
		genserver.HandleCall((*cache).set),
		genserver.HandleInfo((*cache).evict),
	)
	sys.Start(ctx, "cache", TTLCache.With(struct{}{}), genserver.SpawnOptions{})

	ref := sys.Ref("cache")
	genserver.Call(ctx, ref, CacheSet{Key: "long", Value: "x", TTL: 60})
	genserver.Call(ctx, ref, genserver.Map{"op": "set", "key": "over", "value": 1, "ttl": 0})
	hit, err := genserver.Call(ctx, ref, CacheGet{Key: "long"})
	fmt.Println(hit, err)
	reply, err := genserver.Call(ctx, ref, genserver.Map{"op": "get", "key": "over"})
	fmt.Println(reply, err)
	// Output:
	// {true x} <nil>
	// map[hit:false] <nil>
}

// Work is done by a worker that asks the limiter first and tells metrics
// afterwards.
type (
	Work struct{ genserver.Returns[Worked] }

	Worked struct {
		Status string `json:"status"`
	}
	Count struct {
		genserver.OneWay
		Event string `json:"event"`
	}
)

func (Work) Op() string  { return "work" }
func (Count) Op() string { return "count" }

var ErrRateLimited = genserver.NewError("myapp.rate_limited", "rate limited")

type worker struct{}

func (*worker) work(ctx *genserver.Context, _ Work) (Worked, error) {
	// Passing on ctx says who calls, and gives up when our own caller does.
	grant, err := genserver.Call(ctx, ctx.Ref("rate_limiter"), Acquire{}, genserver.WithTimeout(time.Second))
	if err != nil {
		return Worked{}, err
	}
	if !grant.OK {
		return Worked{}, ErrRateLimited
	}
	err = ctx.Ref("metrics").Cast(ctx, Count{Event: "request"})
	return Worked{Status: "ok"}, err
}

type metrics struct{ counts map[string]int }

func (m *metrics) count(ctx *genserver.Context, c Count) error {
	m.counts[c.Event+" from "+ctx.From().Name()]++
	return nil
}

// Servers call and cast to each other with the context that their handler got.
func ExampleCall() {
	ctx := context.Background()
	sys := genserver.NewSystem(genserver.Config{})
	defer sys.Stop(ctx)

	Worker := genserver.Define("myapp.Worker",
		func(*genserver.Context, struct{}) (*worker, error) { return &worker{}, nil },
		genserver.HandleCall((*worker).work))
	Metrics := genserver.Define("myapp.Metrics",
		func(*genserver.Context, struct{}) (*metrics, error) { return &metrics{counts: map[string]int{}}, nil },
		genserver.HandleCast((*metrics).count),
		genserver.HandleTerminate(func(m *metrics, _ *genserver.Context, reason error) {
			fmt.Println(m.counts, reason)
		}))
	sys.Start(ctx, "rate_limiter", Limiter.With(LimiterConfig{Capacity: 1, Every: time.Hour}), genserver.SpawnOptions{})
	sys.Start(ctx, "metrics", Metrics.With(struct{}{}), genserver.SpawnOptions{})
	sys.Start(ctx, "worker", Worker.With(struct{}{}), genserver.SpawnOptions{})

	for range 2 {
		done, err := genserver.Call(ctx, sys.Ref("worker"), Work{})
		fmt.Println(done, err, errors.Is(err, ErrRateLimited))
	}
	sys.Drain(ctx) // what has been sent is handled
	sys.Ref("metrics").Stop(ctx, genserver.Shutdown)
	// Output:
	// {ok} <nil> false
	// {} worker: rate limited true
	// map[request from worker:1] shutdown
}

// NotDelivered answers whether a request may be sent again.
func ExampleNotDelivered() {
	ctx := context.Background()
	sys := genserver.NewSystem(genserver.Config{})
	_, err := genserver.Call(ctx, sys.Ref("rate_limiter"), Acquire{})
	fmt.Println(err)
	fmt.Println(errors.Is(err, genserver.ErrNoProcess), genserver.NotDelivered(err))
	// Output:
	// rate_limiter: no such process
	// true true
}
