package ttlcache_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/services/ttlcache"
	"github.com/civitas-go/civitas/supervisor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cached starts a cache in virtual time and hands the test its Ref.
func cached(t *testing.T, run genserver.Runnable, test func(t *testing.T, cache genserver.Ref)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		sys := genserver.NewSystem(genserver.Config{Logger: slog.New(slog.DiscardHandler)})
		root := supervisor.Spec{Children: []supervisor.Child{{Name: "cache", Run: run}}}
		p, err := sys.Start(t.Context(), "root", root, genserver.SpawnOptions{})
		if err != nil {
			t.Fatalf("start: got %v, want nil", err)
		}
		test(t, sys.Ref("cache"))
		if err := p.Stop(context.Background(), genserver.Shutdown); err != nil {
			t.Errorf("stop: got %v, want nil", err)
		}
	})
}

func config(c ttlcache.Config) genserver.Runnable { return ttlcache.Cache.With(c) }

// call makes a call that must succeed.
func call[Req genserver.CallMessage[Rep], Rep any](t *testing.T, to genserver.Ref, r Req) Rep {
	t.Helper()
	rep, err := genserver.Call(context.Background(), to, r)
	if err != nil {
		t.Errorf("%s %+v: got %v, want nil", r.Op(), r, err)
	}
	return rep
}

func set(t *testing.T, to genserver.Ref, key string, value any, ttl time.Duration) {
	t.Helper()
	if got := call(t, to, ttlcache.Set{Key: key, Value: value, TTL: new(ttl.Seconds())}); !got.OK {
		t.Errorf("set %s: got %+v, want OK", key, got)
	}
}

func wantHit(t *testing.T, to genserver.Ref, key string, value any) {
	t.Helper()
	if diff := cmp.Diff(ttlcache.Found{Hit: true, Value: value}, call(t, to, ttlcache.Get{Key: key})); diff != "" {
		t.Errorf("get %s (-want +got):\n%s", key, diff)
	}
}

func wantMiss(t *testing.T, to genserver.Ref, key string) {
	t.Helper()
	if got := call(t, to, ttlcache.Get{Key: key}); got.Hit || got.Value != nil {
		t.Errorf("get %s: got %+v, want a miss", key, got)
	}
}

// sleep lets virtual time pass, and what is due then happen.
func sleep(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestDefaults(t *testing.T) {
	cached(t, config(ttlcache.Config{EvictEvery: 30 * 24 * time.Hour}), func(t *testing.T, cache genserver.Ref) {
		wantMiss(t, cache, "k")
		call(t, cache, ttlcache.Set{Key: "k", Value: "v"})
		sleep(time.Minute - time.Nanosecond)
		wantHit(t, cache, "k", "v")
		sleep(time.Nanosecond)
		wantMiss(t, cache, "k") // a get is no touch
		set(t, cache, "k", "year", 365*24*time.Hour)
		sleep(364 * 24 * time.Hour)
		wantHit(t, cache, "k", "year")
		if got := call(t, cache, ttlcache.Stats{}).Capacity; got != 100_000 {
			t.Errorf("capacity: got %d, want 100000", got)
		}
	})
}

func TestSetTakesThePlaceOfWhatWasThere(t *testing.T) {
	cached(t, config(ttlcache.Config{}), func(t *testing.T, cache genserver.Ref) {
		set(t, cache, "k", 1, time.Second)
		set(t, cache, "k", nil, time.Hour)
		sleep(time.Minute)
		wantHit(t, cache, "k", nil)
		set(t, cache, "k", 2, time.Second)
		sleep(time.Second)
		wantMiss(t, cache, "k")
		set(t, cache, "k", 3, time.Hour)
		set(t, cache, "k", 4, 0) // over at once
		wantMiss(t, cache, "k")
	})
}

func TestDelete(t *testing.T) {
	cached(t, config(ttlcache.Config{}), func(t *testing.T, cache genserver.Ref) {
		for _, want := range []bool{true, false} {
			if want {
				set(t, cache, "k", 1, time.Second)
			}
			if got := call(t, cache, ttlcache.Delete{Key: "k"}).Deleted; got != want {
				t.Errorf("delete: got %v, want %v", got, want)
			}
			wantMiss(t, cache, "k")
		}
		set(t, cache, "k", 1, time.Second)
		sleep(time.Second)
		if call(t, cache, ttlcache.Delete{Key: "k"}).Deleted {
			t.Error("delete of what is over: got true, want false")
		}
	})
}

// What has not been used for the longest time goes first, unless something is
// over anyway.
func TestCapacity(t *testing.T) {
	cached(t, config(ttlcache.Config{Capacity: 3}), func(t *testing.T, cache genserver.Ref) {
		for _, key := range []string{"a", "b", "c"} {
			set(t, cache, key, key, time.Hour)
		}
		wantHit(t, cache, "a", "a")
		set(t, cache, "b", "b2", time.Second)
		set(t, cache, "d", "d", time.Hour)
		wantMiss(t, cache, "c")
		wantHit(t, cache, "a", "a")
		sleep(time.Second)
		wantHit(t, cache, "d", "d")
		set(t, cache, "e", "e", time.Hour) // in the place of b, not of a
		for _, key := range []string{"a", "d", "e"} {
			wantHit(t, cache, key, key)
		}
		want := ttlcache.Counts{Size: 3, Capacity: 3, Hits: 6, Misses: 1, Evicted: 1, Expired: 1}
		if diff := cmp.Diff(want, call(t, cache, ttlcache.Stats{})); diff != "" {
			t.Errorf("stats (-want +got):\n%s", diff)
		}
	})
}

// The timer frees what is over, without anybody asking, however much it is.
func TestEvict(t *testing.T) {
	cached(t, config(ttlcache.Config{EvictEvery: time.Minute}), func(t *testing.T, cache genserver.Ref) {
		const keys = 2500
		for i := range keys {
			set(t, cache, fmt.Sprint(i), i, time.Duration(i%2+1)*time.Minute)
		}
		for i, want := range []int{keys, keys / 2, 0} {
			if got := call(t, cache, ttlcache.Stats{}); got.Size != want || got.Expired != uint64(keys-want) {
				t.Errorf("after %d rounds: got %+v, want size %d", i, got, want)
			}
			sleep(time.Minute)
		}
	})
}

func TestRefused(t *testing.T) {
	cached(t, config(ttlcache.Config{MaxTTL: time.Hour}), func(t *testing.T, cache genserver.Ref) {
		long := strings.Repeat("k", ttlcache.MaxKey)
		set(t, cache, long, 1, time.Hour) // the most of both
		wantHit(t, cache, long, 1)
		for _, c := range []struct {
			call func() error
			want error
			text string
		}{
			{get(cache, ""), ttlcache.ErrBadKey, "cache: bad key: it is empty"},
			{get(cache, long+"k"), ttlcache.ErrBadKey, "cache: bad key: 1025 bytes are more than 1024"},
			{setFor(cache, "", 1), ttlcache.ErrBadKey, "empty"},
			{del(cache, ""), ttlcache.ErrBadKey, "empty"},
			{setFor(cache, "k", -1), ttlcache.ErrBadTTL, "cache: bad ttl: -1 s is negative"},
			{setFor(cache, "k", 3601), ttlcache.ErrBadTTL, "3601 s is more than the most, 3600 s"},
			{setFor(cache, "k", math.NaN()), ttlcache.ErrBadTTL, "NaN"},
			{asMap(cache, genserver.Map{"op": "get"}), ttlcache.ErrBadKey, "empty"},
			{asMap(cache, genserver.Map{"op": "get", "key": 7}), genserver.ErrBadPayload, "key"},
			{asMap(cache, genserver.Map{"op": "set", "key": "k", "ttl": "60"}), genserver.ErrBadPayload, "ttl"},
			{asMap(cache, genserver.Map{"op": "set", "key": "k", "ttl": 1e300}), ttlcache.ErrBadTTL, "most"},
			{asMap(cache, genserver.Map{"op": "drop", "key": "k"}), genserver.ErrUnknownOp, "drop"},
			{asMap(cache, genserver.Map{"type": "get", "key": "k"}), genserver.ErrUnknownOp, ""},
		} {
			if err := c.call(); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, want %v with %q", err, c.want, c.text)
			}
		}
		wantMiss(t, cache, "k")
		if got := call(t, cache, ttlcache.Stats{}).Size; got != 1 {
			t.Errorf("after refused calls: got %d entries, want 1", got)
		}
	})
}

func get(to genserver.Ref, key string) func() error {
	return func() error { _, err := genserver.Call(context.Background(), to, ttlcache.Get{Key: key}); return err }
}

func del(to genserver.Ref, key string) func() error {
	return func() error {
		_, err := genserver.Call(context.Background(), to, ttlcache.Delete{Key: key})
		return err
	}
}

func setFor(to genserver.Ref, key string, ttl float64) func() error {
	return func() error {
		_, err := genserver.Call(context.Background(), to, ttlcache.Set{Key: key, TTL: &ttl})
		return err
	}
}

func asMap(to genserver.Ref, m genserver.Map) func() error {
	return func() error { _, err := genserver.Call(context.Background(), to, m); return err }
}

// The page's payloads and replies, from the same process and from another node.
// A miss is {"hit":false} in JSON; see TestFoundAsJSON.
func TestAsMap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nats := node.NewMemory()
		tree := supervisor.Spec{Children: []supervisor.Child{{Name: "cache", Run: config(ttlcache.Config{}), Scope: supervisor.Cluster}}}
		one := start(t, node.Config{Name: "n1", NATS: nats, Tree: tree})
		two := start(t, node.Config{Name: "n2", NATS: nats})
		value := genserver.Map{"n": int64(1), "f": 1.5, "s": "x", "b": true, "list": []any{int64(1), nil}, "map": map[string]any{"k": "v"}}
		for _, from := range []*node.Node{one, two} {
			for _, c := range []struct{ request, want genserver.Map }{
				{genserver.Map{"op": "get", "key": "k"}, genserver.Map{"hit": false, "value": nil}},
				{genserver.Map{"op": "set", "key": "k", "value": 7}, genserver.Map{"ok": true}},
				{genserver.Map{"op": "get", "key": "k"}, genserver.Map{"hit": true, "value": int64(7)}},
				{genserver.Map{"op": "set", "key": "k", "value": value, "ttl": 5}, genserver.Map{"ok": true}},
				{genserver.Map{"op": "get", "key": "k"}, genserver.Map{"hit": true, "value": map[string]any(value)}},
				{genserver.Map{"op": "set", "key": "k", "value": false, "ttl": 0.5}, genserver.Map{"ok": true}},
				{genserver.Map{"op": "get", "key": "k"}, genserver.Map{"hit": true, "value": false}},
				{genserver.Map{"op": "delete", "key": "k"}, genserver.Map{"deleted": true}},
				{genserver.Map{"op": "delete", "key": "k"}, genserver.Map{"deleted": false}},
				{genserver.Map{"op": "set", "key": "k", "value": "", "ttl": 0}, genserver.Map{"ok": true}},
				{genserver.Map{"op": "get", "key": "k"}, genserver.Map{"hit": false, "value": nil}},
			} {
				if diff := cmp.Diff(c.want, call(t, from.Ref("cache"), c.request)); diff != "" {
					t.Errorf("%v from %s (-want +got):\n%s", c.request, from.Name(), diff)
				}
			}
		}
		stats := call(t, two.Ref("cache"), genserver.Map{"op": "stats"})
		want := genserver.Map{"size": int64(0), "capacity": int64(100_000), "hits": int64(6), "misses": int64(4), "evicted": int64(0), "expired": int64(2)}
		if diff := cmp.Diff(want, stats); diff != "" {
			t.Errorf("stats (-want +got):\n%s", diff)
		}
	})
}

func start(t *testing.T, cfg node.Config) *node.Node {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	n, err := node.Start(t.Context(), cfg)
	if err != nil {
		t.Fatalf("start %s: got %v, want nil", cfg.Name, err)
	}
	t.Cleanup(func() { _ = n.Stop(context.Background()) })
	return n
}

// A plain client sees a value of null as such, and none as none.
func TestFoundAsJSON(t *testing.T) {
	for want, found := range map[string]ttlcache.Found{
		`{"hit":false}`:                {},
		`{"hit":true,"value":null}`:    {Hit: true},
		`{"hit":true,"value":0}`:       {Hit: true, Value: 0},
		`{"hit":true,"value":{"a":1}}`: {Hit: true, Value: genserver.Map{"a": 1}},
	} {
		if got, err := json.Marshal(found); err != nil || string(got) != want {
			t.Errorf("%+v: got %s, %v; want %s", found, got, err, want)
		}
	}
}

func TestConfigFromJSON(t *testing.T) {
	if got := ttlcache.Cache.Name(); got != "ttlcache.Cache" {
		t.Errorf("Type: got name %s, want ttlcache.Cache", got)
	}
	spec, err := ttlcache.Cache.WithDecoded(func(cfg any) error {
		return json.Unmarshal([]byte(`{"capacity":1,"ttl":1000000000,"max_ttl":2000000000,"evict_every":3000000000}`), cfg)
	})
	if err != nil {
		t.Fatalf("decode: got %v, want nil", err)
	}
	cached(t, spec, func(t *testing.T, cache genserver.Ref) {
		call(t, cache, ttlcache.Set{Key: "a"})
		call(t, cache, ttlcache.Set{Key: "b"})
		if err := setFor(cache, "c", 3)(); !errors.Is(err, ttlcache.ErrBadTTL) {
			t.Errorf("set for 3 s: got %v, want ErrBadTTL", err)
		}
		sleep(time.Second)
		want := ttlcache.Counts{Size: 1, Capacity: 1, Evicted: 1}
		if got := call(t, cache, ttlcache.Stats{}); got != want {
			t.Errorf("stats: got %+v, want %+v", got, want)
		}
		sleep(2 * time.Second)
		want = ttlcache.Counts{Capacity: 1, Evicted: 1, Expired: 1}
		if got := call(t, cache, ttlcache.Stats{}); got != want {
			t.Errorf("stats after the tick: got %+v, want %+v", got, want)
		}
	})
}

func TestConfigs(t *testing.T) {
	for _, c := range []struct {
		cfg  ttlcache.Config
		want string // "" for a good one
	}{
		{ttlcache.Config{Capacity: -1}, "capacity: -1 is negative"},
		{ttlcache.Config{TTL: 60}, "ttl: 60ns is less than 1ms"}, // meant as seconds
		{ttlcache.Config{TTL: -time.Second}, "ttl: -1s"},
		{ttlcache.Config{MaxTTL: 60}, "max_ttl: 60ns"},
		{ttlcache.Config{EvictEvery: 10}, "evict_every: 10ns"},
		{ttlcache.Config{TTL: time.Hour, MaxTTL: time.Minute}, "ttl: 1h0m0s is more than max_ttl, 1m0s"},
		{ttlcache.Config{MaxTTL: time.Second}, ""},
		{ttlcache.Config{TTL: math.MaxInt64, MaxTTL: math.MaxInt64}, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			sys := genserver.NewSystem(genserver.Config{Logger: slog.New(slog.DiscardHandler)})
			p, err := sys.Start(t.Context(), "cache", ttlcache.Cache.With(c.cfg), genserver.SpawnOptions{})
			switch {
			case c.want == "" && err == nil:
				call(t, p.Ref(), ttlcache.Set{Key: "k", Value: 1})
				wantHit(t, p.Ref(), "k", 1)
			case err == nil || c.want == "" || !strings.Contains(err.Error(), c.want):
				t.Errorf("start with %+v: got %v, want %q", c.cfg, err, c.want)
			}
			if err := sys.Stop(t.Context()); err != nil {
				t.Errorf("stop: got %v, want nil", err)
			}
		})
	}
}
