package genserver_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

type Add struct {
	genserver.Returns[Sum]
	N int `json:"n"`
}
type Sum struct {
	Total int `json:"total"`
}
type Zero struct{ genserver.OneWay }
type Boom struct{ genserver.Returns[Sum] }

func (Add) Op() string  { return "add" }
func (Zero) Op() string { return "zero" }
func (Boom) Op() string { return "boom" }

type counter struct{ n int }

func (c *counter) add(_ *genserver.Context, a Add) (Sum, error) { c.n += a.N; return Sum{c.n}, nil }
func (c *counter) zero(*genserver.Context, Zero) error          { c.n = 0; return nil }
func (c *counter) boom(*genserver.Context, Boom) (Sum, error)   { panic("boom") }

var Counter = genserver.Define("test.Counter", func(*genserver.Context, int) (*counter, error) { return &counter{}, nil },
	genserver.HandleCall((*counter).add), genserver.HandleCast((*counter).zero), genserver.HandleCall((*counter).boom))

var Fast = genserver.Define("test.Fast", func(*genserver.Context, int) (*counter, error) { return &counter{}, nil },
	genserver.HandleCall((*counter).add), genserver.HandleCast((*counter).zero), genserver.HandleCall((*counter).boom), genserver.NonBlocking[counter]())

func TestBasic(t *testing.T) {
	for _, typ := range []*genserver.TypeOf[int]{Counter, Fast} {
		s := genserver.NewSystem(genserver.Config{})
		ctx := context.Background()
		p, err := s.Start(ctx, "c", typ.With(0), genserver.SpawnOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r := s.Ref("c")
		sum, err := genserver.Call(ctx, r, Add{N: 3})
		if err != nil || sum.Total != 3 {
			t.Fatal(sum, err)
		}
		m, err := genserver.Call(ctx, r, genserver.Map{"type": "add", "n": 4})
		if err != nil || m["total"] != int64(7) {
			t.Fatal(m, err)
		}
		if err := r.Cast(ctx, Zero{}); err != nil {
			t.Fatal(err)
		}
		sum, err = genserver.Call(ctx, r, Add{N: 3})
		if err != nil || sum.Total != 3 {
			t.Fatal(sum, err)
		}
		_, err = genserver.Call(ctx, r, Boom{})
		if !errors.Is(err, genserver.ErrExit) || genserver.NotDelivered(err) {
			t.Fatal(err)
		}
		t.Log(err)
		<-p.Exited()
		_, err = genserver.Call(ctx, r, Add{N: 3})
		if !errors.Is(err, genserver.ErrNoProcess) || !genserver.NotDelivered(err) {
			t.Fatal(err)
		}
		c2, cancel := context.WithTimeout(ctx, time.Second)
		if err := s.Stop(c2); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
}

func BenchmarkX(b *testing.B) {
	for name, typ := range map[string]*genserver.TypeOf[int]{"counter": Counter, "fast": Fast} {
		s := genserver.NewSystem(genserver.Config{})
		ctx := context.Background()
		s.Start(ctx, "c", typ.With(0), genserver.SpawnOptions{})
		r := s.Ref("c")
		b.Run("call/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				genserver.Call(ctx, r, Add{N: 3000})
			}
		})
		b.Run("call128/"+name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(64)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					genserver.Call(ctx, r, Add{N: 3000})
				}
			})
		})
		b.Run("cast/"+name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				if i%500 == 0 {
					genserver.Call(ctx, r, Add{N: 3000})
				}
				r.Cast(ctx, Zero{})
			}
			b.ReportMetric(float64(s.Stats().Dropped), "dropped")
		})
	}
	b.Run("floor/chan", func(b *testing.B) {
		type m struct{ r chan int }
		in := make(chan m, 128)
		go func() {
			for x := range in {
				x.r <- 1
			}
		}()
		r := make(chan int, 1)
		for b.Loop() {
			in <- m{r}
			<-r
		}
	})
	b.Run("floor/cast", func(b *testing.B) {
		in := make(chan any, 1000)
		go func() {
			for range in {
			}
		}()
		for b.Loop() {
			in <- Zero{}
		}
	})
	b.Run("spawn", func(b *testing.B) {
		b.ReportAllocs()
		s := genserver.NewSystem(genserver.Config{})
		for b.Loop() {
			p, _ := s.Spawn("x", Counter.With(0), genserver.SpawnOptions{})
			p.Kill()
		}
	})
}
