package sessions_test

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/services/sessions"
	"github.com/civitas-go/civitas/transport"
)

// Any payload is answered, or refused with an error that has a code of its own;
// none ends the server.
func FuzzPayload(f *testing.F) {
	for _, seed := range []string{
		`{"type":"create","data":{"user":"ada","roles":["a",null]},"ttl":1.5}`, `{"type":"create","id":"s"}`,
		`{"type":"get","id":"s"}`, `{"type":"touch","id":"s","data":{}}`, `{"type":"touch","id":"s","data":null,"ttl":-1}`,
		`{"type":"delete","id":"s"}`, `{"type":"count"}`, `{"type":"create","ttl":1e308}`, `{"type":7}`, `{"id":{}}`, `{}`,
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
	p, err := sys.Start(f.Context(), "sessions", sessions.Registry.With(sessions.Config{Capacity: 10}), genserver.SpawnOptions{})
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
			nil, genserver.ErrUnknownOp, genserver.ErrBadPayload, sessions.ErrNotFound,
			sessions.ErrExists, sessions.ErrFull, sessions.ErrBadID, sessions.ErrBadTTL,
		} {
			if errors.Is(err, known) {
				return
			}
		}
		t.Errorf("%v: got %v, want an answer or a refusal; the server ended with %v", m, err, p.Reason())
	})
}
