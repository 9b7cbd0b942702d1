package genserver_test

import (
	"context"
	"testing"

	"github.com/civitas-go/civitas/genserver"
)

func BenchmarkY(b *testing.B) {
	s := genserver.NewSystem(genserver.Config{})
	ctx := context.Background()
	s.Start(ctx, "c", Counter.With(0), genserver.SpawnOptions{})
	s.Start(ctx, "f", Fast.With(0), genserver.SpawnOptions{})
	r := s.Ref("c")
	b.Run("call", func(b *testing.B) {
		for b.Loop() {
			genserver.Call(ctx, r, Add{N: 3000})
		}
	})
	no := genserver.WithTimeout(0)
	b.Run("callnotimeout", func(b *testing.B) {
		for b.Loop() {
			genserver.Call(ctx, r, Add{N: 3000}, no)
		}
	})
	b.Run("fast", func(b *testing.B) {
		for b.Loop() {
			genserver.Call(ctx, s.Ref("f"), Add{N: 3000}, no)
		}
	})
}
