package genserver_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/civitas-go/civitas/genserver"
)

// Get and Put are as small as a call and a cast can be.
type (
	Get struct{ genserver.Returns[Value] }
	Put struct {
		genserver.OneWay
		N int `json:"n"`
	}
	Tick struct {
		genserver.Signal
		N int `json:"n"`
	}
	Value struct {
		N int `json:"n"`
	}
)

func (Get) Op() string  { return "get" }
func (Put) Op() string  { return "put" }
func (Tick) Op() string { return "tick" }

type cell struct{ n int }

func newCell(*genserver.Context, struct{}) (*cell, error) { return &cell{}, nil }

func (c *cell) get(*genserver.Context, Get) (Value, error) { c.n++; return Value{c.n}, nil }
func (c *cell) put(_ *genserver.Context, p Put) error      { c.n = p.N; return nil }
func (c *cell) tick(_ *genserver.Context, p Tick) error    { c.n = p.N; return nil }

func cellHandlers(more ...genserver.Handler[cell]) []genserver.Handler[cell] {
	return append(more, genserver.HandleCall((*cell).get), genserver.HandleCast((*cell).put), genserver.HandleInfo((*cell).tick))
}

var (
	Cell     = genserver.Define("bench.Cell", newCell, cellHandlers()...)
	FastCell = genserver.Define("bench.FastCell", newCell, cellHandlers(genserver.NonBlocking[cell]())...)
)

func benchSystem(b *testing.B, typ *genserver.TypeOf[struct{}], servers int) (*genserver.System, []genserver.Ref) {
	b.Helper()
	s := newSystem(b, genserver.Config{Logger: slog.New(slog.DiscardHandler)})
	refs := make([]genserver.Ref, servers)
	for i := range refs {
		refs[i] = start(b, s, fmt.Sprintf("cell%d", i), typ.With(struct{}{})).Ref()
	}
	return s, refs
}

// BenchmarkCall is one caller and one server, next to a pair of channels.
func BenchmarkCall(b *testing.B) {
	b.Run("civitas", func(b *testing.B) {
		_, refs := benchSystem(b, Cell, 1)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := genserver.Call(context.Background(), refs[0], Get{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("baseline", baselineCall)
}

// BenchmarkCall128 is 128 callers of one server, and of a thousand.
func BenchmarkCall128(b *testing.B) {
	for _, servers := range []int{1, 1000} {
		b.Run(fmt.Sprintf("servers=%d/civitas", servers), func(b *testing.B) {
			_, refs := benchSystem(b, Cell, servers)
			b.ReportAllocs()
			parallel128(b, func(i int) {
				if _, err := genserver.Call(context.Background(), refs[i%servers], Get{}); err != nil {
					b.Error(err)
				}
			})
		})
		b.Run(fmt.Sprintf("servers=%d/baseline", servers), func(b *testing.B) { baselineCall128(b, servers) })
	}
}

// parallel128 runs one from 128 goroutines, with numbers that spread.
func parallel128(b *testing.B, one func(i int)) {
	var seq atomic.Int64
	b.SetParallelism(max(1, 128/runtime.GOMAXPROCS(0)))
	b.RunParallel(func(pb *testing.PB) {
		for i := int(seq.Add(1)) * 7919; pb.Next(); i += 31 {
			one(i)
		}
	})
}

// BenchmarkNonBlocking is a call that its caller runs itself; there is no
// smaller thing to compare it with than a locked function call.
func BenchmarkNonBlocking(b *testing.B) {
	b.Run("civitas", func(b *testing.B) {
		_, refs := benchSystem(b, FastCell, 1)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := genserver.Call(context.Background(), refs[0], Get{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("baseline", baselineLocked)
}

// BenchmarkCast lets the server keep up: every 512th message is a call.
func BenchmarkCast(b *testing.B) {
	b.Run("civitas", func(b *testing.B) {
		s, refs := benchSystem(b, Cell, 1)
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if i++; i%512 == 0 {
				if _, err := genserver.Call(context.Background(), refs[0], Get{}); err != nil {
					b.Fatal(err)
				}
			}
			if err := refs[0].Cast(context.Background(), Put{N: i}); err != nil {
				b.Fatal(err)
			}
		}
		if got := s.Stats().Dropped; got != 0 {
			b.Errorf("got %d dropped casts, want 0", got)
		}
	})
	b.Run("baseline", baselineCast)
}

// BenchmarkSpawn starts a server and kills it.
func BenchmarkSpawn(b *testing.B) {
	b.Run("civitas", func(b *testing.B) {
		s := newSystem(b, genserver.Config{Logger: slog.New(slog.DiscardHandler)})
		b.ReportAllocs()
		for b.Loop() {
			p, err := s.Spawn("cell", Cell.With(struct{}{}), genserver.SpawnOptions{})
			if err != nil {
				b.Fatal(err)
			}
			p.Kill()
		}
	})
	b.Run("baseline", baselineSpawn)
}

// BenchmarkIdleServer measures what a named server costs that has handled a
// message and has nothing to do.
func BenchmarkIdleServer(b *testing.B) {
	b.Run("civitas", func(b *testing.B) {
		const servers = 20_000
		names := make([]string, servers)
		for i := range names {
			names[i] = fmt.Sprintf("cell%d", i)
		}
		for b.Loop() {
			s := genserver.NewSystem(genserver.Config{Logger: slog.New(slog.DiscardHandler)})
			before, goroutines := heap(), runtime.NumGoroutine()
			for _, name := range names {
				p, err := s.Start(context.Background(), name, Cell.With(struct{}{}), genserver.SpawnOptions{})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := genserver.Call(context.Background(), p.Ref(), Get{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(heap()-before)/servers, "B/server")
			b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/servers, "goroutines/server")
			if err := s.Stop(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("baseline", baselineIdle)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
