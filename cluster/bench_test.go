package cluster_test

import (
	"testing"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/internal/natsserver"
)

func BenchmarkStore(b *testing.B) {
	for name, s := range map[string]cluster.Store{
		"memory":    cluster.NewMemory().Open(),
		"jetstream": openJetStream(b, connect(b, startServer(b, natsserver.Options{JetStream: true, StoreDir: b.TempDir()})), "bench"),
	} {
		b.Run(name+"/create+delete", func(b *testing.B) {
			k, value := own("create"), []byte(`{"v":1,"incarnation":"VzAPRfkBSpfO9kUNxLv1Zy","node":"n1"}`)
			for b.Loop() {
				seq, err := s.Create(b.Context(), k, value)
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Delete(b.Context(), k, seq); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/update", func(b *testing.B) {
			k, value := own("update"), []byte("x")
			seq, err := s.Create(b.Context(), k, value)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if seq, err = s.Update(b.Context(), k, value, seq); err != nil {
					b.Fatal(err)
				}
			}
			if err := s.Delete(b.Context(), k, seq); err != nil {
				b.Fatal(err)
			}
		})
		b.Run(name+"/get", func(b *testing.B) {
			k := own("get")
			seq, err := s.Create(b.Context(), k, []byte("x"))
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := s.Get(b.Context(), k); err != nil {
					b.Fatal(err)
				}
			}
			if err := s.Delete(b.Context(), k, seq); err != nil {
				b.Fatal(err)
			}
		})
	}
}
