package sessions_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/services/sessions"
)

func BenchmarkRegistry(b *testing.B) {
	const many = 10_000
	ctx := context.Background()
	sys := genserver.NewSystem(genserver.Config{Logger: slog.New(slog.DiscardHandler)})
	p, err := sys.Start(ctx, "sessions", sessions.Registry.With(sessions.Config{}), genserver.SpawnOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { p.Kill() })
	registry, ids := p.Ref(), make([]string, many)
	for i := range ids {
		s, err := genserver.Call(ctx, registry, sessions.Create{})
		if err != nil {
			b.Fatal(err)
		}
		ids[i] = s.ID
	}
	b.Run("create and delete", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s, err := genserver.Call(ctx, registry, sessions.Create{})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := genserver.Call(ctx, registry, sessions.Delete{ID: s.ID}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("get", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := genserver.Call(ctx, registry, sessions.Get{ID: ids[i%many]}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("touch", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := genserver.Call(ctx, registry, sessions.Touch{ID: ids[i%many]}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
