package supervisor_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

type boom struct{ genserver.Returns[struct{}] }
type get struct{ genserver.Returns[n] }
type n struct{ N int }

func (boom) Op() string { return "boom" }
func (get) Op() string  { return "get" }

type srv struct{ n int }

var typ = genserver.Define("t", func(*genserver.Context, int) (*srv, error) { return &srv{}, nil },
	genserver.HandleCall(func(*srv, *genserver.Context, boom) (struct{}, error) { panic("boom") }),
	genserver.HandleCall(func(s *srv, _ *genserver.Context, _ get) (n, error) { s.n++; return n{s.n}, nil }))

func TestSmoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		s := genserver.NewSystem(genserver.Config{})
		root, err := s.Start(ctx, "root", supervisor.Spec{Strategy: supervisor.OneForAll, Children: []supervisor.Child{
			{Name: "a", Run: typ.With(1)}, {Name: "b", Run: typ.With(1)},
			{Name: "sup", Run: supervisor.Spec{MaxRestarts: 1, Children: []supervisor.Child{{Name: "c", Run: typ.With(1)}}}},
		}}, genserver.SpawnOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			r, err := genserver.Call(ctx, s.Ref("b"), get{})
			if err != nil {
				t.Fatal(err, r)
			}
		}
		_, err = genserver.Call(ctx, s.Ref("a"), boom{})
		t.Log(err)
		synctest.Wait()
		r, err := genserver.Call(ctx, s.Ref("b"), get{})
		if err != nil || r.N != 1 {
			t.Fatal(err, r)
		}
		for range 4 {
			_, err = genserver.Call(ctx, s.Ref("c"), boom{})
			t.Log(err)
			synctest.Wait()
		}
		for range 10 {
			_, err = genserver.Call(ctx, s.Ref("a"), boom{})
			t.Log(err)
			synctest.Wait()
		}
		<-root.Exited()
		t.Log(root.Reason(), errors.Is(root.Reason(), supervisor.ErrRestartLimit))
		ctx, c := context.WithTimeout(ctx, time.Second)
		defer c()
		if err := s.Stop(ctx); err != nil {
			t.Fatal(err)
		}
	})
}
