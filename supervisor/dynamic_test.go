package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

// startDynamic starts a Dynamic named root.
func (w *world) startDynamic(d supervisor.Dynamic) *genserver.Process {
	w.t.Helper()
	root, err := w.sys.Start(context.Background(), "root", d, genserver.SpawnOptions{})
	if err != nil {
		w.t.Fatalf("start root: got %v, want nil", err)
	}
	return root
}

func TestDynamic(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		root := w.startDynamic(supervisor.Dynamic{MaxChildren: 2, MaxSpawns: 4, Veto: func(m supervisor.StartChild) error {
			switch m.Name {
			case "evil":
				return errBroken
			case "panic":
				panic("oops")
			}
			return nil
		}})
		w.wantListed()
		wantAsk(w, startProbe(w, "evil"), supervisor.ErrVetoed)
		wantAsk(w, startProbe(w, "panic"), supervisor.ErrVetoed)
		wantAsk(w, startProbe(w, "a"), nil)
		wantAsk(w, supervisor.StartChild{Name: "p", Run: probeType.With(w), Restart: supervisor.Permanent}, nil)
		wantAsk(w, startProbe(w, "c"), supervisor.ErrMaxChildren)
		wantAsk(w, startProbe(w, "a"), supervisor.ErrAlreadyStarted)
		wantAsk(w, supervisor.RestartChild{Name: "a"}, supervisor.ErrDynamic)
		wantAsk(w, supervisor.DeleteChild{Name: "a"}, supervisor.ErrDynamic)
		_ = w.crash("a", "oops")
		_ = w.crash("p", "normal")
		w.wantListed("a running worker transient 1 panic: oops", "p running worker permanent 1 normal")
		_ = w.crash("a", "normal")
		wantAsk(w, supervisor.TerminateChild{Name: "p"}, nil)
		wantAsk(w, supervisor.TerminateChild{Name: "p"}, supervisor.ErrNotFound)
		w.wantListed()
		wantAsk(w, startProbe(w, "a"), nil)
		wantAsk(w, supervisor.StartChild{Name: "sub", Run: supervisor.Spec{Children: w.children("b")}}, nil)
		if got, _ := ask(w, supervisor.CountChildren{}); got != (supervisor.Counts{Specs: 2, Active: 2, Supervisors: 1, Workers: 1}) {
			t.Errorf("count: got %+v", got)
		}
		wantAsk(w, supervisor.TerminateChild{Name: "sub"}, nil)
		wantAsk(w, startProbe(w, "c"), supervisor.ErrMaxSpawns)
		w.stop(root)
		w.wantGone("a", "b")
	})
}

// Children stop in parallel, and the restart limit is one for all.
func TestDynamicEnds(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		root := w.startDynamic(supervisor.Dynamic{MaxRestarts: 1})
		for i := range 20 {
			name := fmt.Sprint("c", i)
			w.onTerminate[name] = func() { <-time.After(time.Second) }
			wantAsk(w, startProbe(w, name), nil)
		}
		w.onTerminate["c7"] = func() { <-w.gate } // killed after five
		if got, want := w.stop(root), 5*time.Second; got != want {
			t.Errorf("the stop took: got %v, want %v", got, want)
		}
		root = w.startDynamic(supervisor.Dynamic{MaxRestarts: 1})
		wantAsk(w, startProbe(w, "a"), nil)
		wantAsk(w, startProbe(w, "b"), nil)
		_ = w.crash("a", "oops")
		_ = w.crash("b", "oops")
		w.wantReason(root, supervisor.ErrRestartLimit)
		w.wantGone("a", "b")
	})
}

// An empty Dynamic below another supervisor comes back empty.
func TestDynamicNested(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		root := w.start(supervisor.Spec{Strategy: supervisor.OneForAll, Children: []supervisor.Child{
			{Name: "pool", Run: supervisor.Dynamic{}}, w.child("a"),
		}})
		add := startProbe(w, "w1")
		add.Scope = supervisor.Cluster
		if _, err := genserver.Call(t.Context(), w.sys.Ref("pool"), add); err != nil {
			t.Errorf("start: got %v, want nil", err)
		}
		_ = w.crash("a", "oops")
		w.wantGone("w1")
		w.wantListed("pool running supervisor permanent 1 shutdown", "a running worker permanent 1 panic: oops")
		w.stop(root)
		err := supervisor.Spec{Children: []supervisor.Child{{Name: "pool", Run: supervisor.Dynamic{MaxChildren: -1}}}}.Validate()
		if err == nil || err.Error() != `Children[0] "pool".MaxChildren: -1 is negative` {
			t.Errorf("validate: got %v", err)
		}
	})
}

type hire struct {
	genserver.Returns[struct{}]
	Name string
}

func (hire) Op() string { return "hire" }

// bossType has root start probes, and notes their ends.
var bossType = genserver.Define("test.Boss",
	func(_ *genserver.Context, w *world) (*world, error) { return w, nil },
	genserver.HandleCall(func(w *world, ctx *genserver.Context, h hire) (struct{}, error) {
		m := startProbe(w, h.Name)
		m.Tell = true
		_, err := genserver.Call(ctx, ctx.Ref("root"), m)
		return struct{}{}, err
	}),
	genserver.HandleInfo(func(w *world, _ *genserver.Context, e supervisor.ChildEnded) error {
		w.note("told: %s of %s: %s", e.Name, e.Supervisor, e.Reason)
		return nil
	}))

func TestSpawnerIsTold(t *testing.T) {
	for _, run := range []genserver.Runnable{supervisor.Dynamic{}, supervisor.Spec{}} {
		inWorld(t, func(t *testing.T, w *world) {
			root, err := w.sys.Start(context.Background(), "root", run, genserver.SpawnOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.sys.Start(context.Background(), "boss", bossType.With(w), genserver.SpawnOptions{}); err != nil {
				t.Fatal(err)
			}
			hires := func(name string) error {
				_, err := genserver.Call(context.Background(), w.sys.Ref("boss"), hire{Name: name})
				return err
			}
			m := startProbe(w, "nobody's")
			m.Name, m.Tell = "nobody", true
			wantAsk(w, m, supervisor.ErrBadChild)
			w.onInit["bad"] = func(*genserver.Context, int) error { return errBroken }
			if err := hires("bad"); err == nil {
				t.Error("hire bad: got nil, want an error")
			}
			if err := errors.Join(hires("a"), hires("b")); err != nil {
				t.Error(err)
			}
			w.forget()
			_ = w.crash("a", "oops") // which is not its end
			wantAsk(w, supervisor.TerminateChild{Name: "a"}, nil)
			synctest.Wait()
			if _, dynamic := run.(supervisor.Dynamic); !dynamic {
				wantAsk(w, supervisor.DeleteChild{Name: "a"}, nil)
			}
			w.wantNotes("a: panic: oops", "a: init", "a: shutdown", "told: a of root: shutdown")
			w.stop(root)
			w.wantNotes("b: shutdown", "told: b of root: shutdown")
		})
	}
}
