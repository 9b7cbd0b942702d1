package ttlcache_test

import (
	"context"
	"fmt"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/services/ttlcache"
)

func Example() {
	ctx := context.Background()
	sys := genserver.NewSystem(genserver.Config{})
	defer sys.Stop(ctx)
	_, err := sys.Start(ctx, "cache", ttlcache.Cache.With(ttlcache.Config{}), genserver.SpawnOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	cache := sys.Ref("cache")
	stored, err := genserver.Call(ctx, cache, ttlcache.Set{Key: "greeting", Value: "hello", TTL: new(time.Hour.Seconds())})
	fmt.Println(stored.OK, err)
	found, err := genserver.Call(ctx, cache, ttlcache.Get{Key: "greeting"})
	fmt.Println(found.Hit, found.Value, err)
	_, err = genserver.Call(ctx, cache, ttlcache.Set{Key: "greeting", Value: "hello", TTL: new(-1.0)})
	fmt.Println(err)
	// Output:
	// true <nil>
	// true hello <nil>
	// cache: bad ttl: -1 s is negative
}

// The same server, as callers without the Go types see it.
func Example_untyped() {
	ctx := context.Background()
	sys := genserver.NewSystem(genserver.Config{})
	defer sys.Stop(ctx)
	_, err := sys.Start(ctx, "cache", ttlcache.Cache.With(ttlcache.Config{}), genserver.SpawnOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, request := range []genserver.Map{
		{"op": "set", "key": "k", "value": 42, "ttl": 30},
		{"op": "get", "key": "k"},
		{"op": "delete", "key": "k"},
		{"op": "get", "key": "k"},
	} {
		reply, err := genserver.Call(ctx, sys.Ref("cache"), request)
		fmt.Println(reply, err)
	}
	// Output:
	// map[ok:true] <nil>
	// map[hit:true value:42] <nil>
	// map[deleted:true] <nil>
	// map[hit:false] <nil>
}
