package ttlcache_test

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/services/ttlcache"
	"github.com/civitas-go/civitas/transport"
)

// Any payload is answered, or refused with an error that has a code of its own;
// none ends the server.
func FuzzPayload(f *testing.F) {
	for _, seed := range []string{
		`{"op":"get","key":"k"}`, `{"op":"set","key":"k","value":[1,{"a":null}],"ttl":1.5}`, `{"op":"delete","key":"k"}`,
		`{"op":"stats"}`, `{"op":"set","key":"","ttl":-1}`, `{"op":"set","key":"k","ttl":1e308}`, `{"op":7}`, `{"key":{}}`, `{}`,
	} {
		f.Add([]byte(seed))
		var m genserver.Map
		if err := transport.JSON.Decode([]byte(seed), &m); err != nil {
			f.Fatal(err)
		}
		packed, err := transport.MsgPack.Encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	sys := genserver.NewSystem(genserver.Config{Codec: transport.MsgPack, Logger: slog.New(slog.DiscardHandler)})
	p, err := sys.Start(f.Context(), "cache", ttlcache.Cache.With(ttlcache.Config{Capacity: 10}), genserver.SpawnOptions{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { p.Kill() })
	f.Fuzz(func(t *testing.T, data []byte) {
		codec, err := transport.Detect(data, "")
		if err != nil {
			return
		}
		var m genserver.Map
		if transport.NewBody(codec, data).Decode(&m) != nil {
			return
		}
		_, err = genserver.Call(t.Context(), p.Ref(), m)
		for _, known := range []error{
			nil, genserver.ErrUnknownOp, genserver.ErrBadPayload, ttlcache.ErrBadKey, ttlcache.ErrBadTTL,
		} {
			if errors.Is(err, known) {
				return
			}
		}
		t.Errorf("%v: got %v, want an answer or a refusal; the server ended with %v", m, err, p.Reason())
	})
}
