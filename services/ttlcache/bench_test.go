package ttlcache_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/services/ttlcache"
)

func BenchmarkCache(b *testing.B) {
	const keys = 10_000
	ctx := context.Background()
	sys := genserver.NewSystem(genserver.Config{Logger: slog.New(slog.DiscardHandler)})
	p, err := sys.Start(ctx, "cache", ttlcache.Cache.With(ttlcache.Config{Capacity: keys}), genserver.SpawnOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { p.Kill() })
	names := make([]string, 2*keys)
	for i := range names {
		names[i] = fmt.Sprint("key-", i)
	}
	cache := p.Ref()
	put := func(b *testing.B, key string) {
		if _, err := genserver.Call(ctx, cache, ttlcache.Set{Key: key, Value: 1}); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("set", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			put(b, names[i%keys])
		}
	})
	b.Run("get", func(b *testing.B) {
		for _, key := range names[:keys] {
			put(b, key)
		}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			found, err := genserver.Call(ctx, cache, ttlcache.Get{Key: names[i%keys]})
			if err != nil || !found.Hit {
				b.Fatalf("get: got %+v, %v; want a hit", found, err)
			}
		}
	})
	b.Run("set in a full cache", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			put(b, names[i%len(names)])
		}
	})
}
