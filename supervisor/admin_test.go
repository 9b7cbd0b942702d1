package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
	"github.com/civitas-go/civitas/transport"
)

// ask calls the supervisor named root.
func ask[Req genserver.CallMessage[Rep], Rep any](w *world, r Req) (Rep, error) {
	return genserver.Call(context.Background(), w.sys.Ref("root"), r)
}

// wantAsk checks the error of a request.
func wantAsk[Req genserver.CallMessage[Rep], Rep any](w *world, r Req, want error) {
	w.t.Helper()
	if _, err := ask(w, r); !errors.Is(err, want) {
		w.t.Errorf("%+v: got %v, want %v", r, err, want)
	}
}

func startProbe(w *world, name string) supervisor.StartChild {
	return supervisor.StartChild{Name: name, Run: probeType.With(w)}
}

// wantListed compares the children with lines of name, status, type, restart and restarts.
func (w *world) wantListed(want ...string) {
	w.t.Helper()
	synctest.Wait()
	all, err := ask(w, supervisor.WhichChildren{})
	if err != nil {
		w.t.Fatalf("which children: got %v, want nil", err)
	}
	var got []string
	for _, c := range all.Children {
		line := fmt.Sprintf("%s %s %s %s %d", c.Name, c.Status, c.Type, c.Restart, c.Restarts)
		if c.LastReason != "" {
			line += " " + c.LastReason
		}
		got = append(got, line)
		if down := c.Status == "stopped" || c.Status == "restarting"; down != (c.Generation == 0) {
			w.t.Errorf("generation of %s: got %d while %s", c.Name, c.Generation, c.Status)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("children (-want +got):\n%s", diff)
	}
}

// The answers are OTP's.
func TestAdmin(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		temp := w.child("t")
		temp.Restart = supervisor.Temporary
		root := w.start(supervisor.Spec{
			Backoff: supervisor.Backoff{Growth: supervisor.Constant, Base: time.Minute},
			Children: []supervisor.Child{
				w.child("a"), temp, {Name: "sub", Run: supervisor.Spec{Children: w.children("b")}, Restart: supervisor.Transient},
			},
		})
		w.wantListed("a running worker permanent 0", "t running worker temporary 0", "sub running supervisor transient 0")
		if got, err := ask(w, supervisor.CountChildren{}); err != nil || got != (supervisor.Counts{Specs: 3, Active: 3, Supervisors: 1, Workers: 2}) {
			t.Errorf("count: got %+v, %v", got, err)
		}
		wantAsk(w, startProbe(w, "a"), supervisor.ErrAlreadyStarted)
		wantAsk(w, supervisor.RestartChild{Name: "a"}, supervisor.ErrRunning)
		wantAsk(w, supervisor.DeleteChild{Name: "a"}, supervisor.ErrRunning)
		wantAsk(w, supervisor.TerminateChild{Name: "x"}, supervisor.ErrNotFound)
		wantAsk(w, supervisor.RestartChild{Name: "x"}, supervisor.ErrNotFound)
		wantAsk(w, supervisor.DeleteChild{Name: "x"}, supervisor.ErrNotFound)
		wantAsk(w, startProbe(w, "a b"), supervisor.ErrBadChild)
		wantAsk(w, supervisor.StartChild{Name: "n"}, supervisor.ErrBadChild)
		wantAsk(w, supervisor.StartChild{Name: "n", Of: "test.None"}, supervisor.ErrBadChild)
		wantAsk(w, startProbe(w, "b"), supervisor.ErrChildFailed) // a nephew has the name

		wantAsk(w, startProbe(w, "c"), nil)
		w.wantCount("c", 1, 1)
		wantAsk(w, supervisor.TerminateChild{Name: "c"}, nil)
		w.wantGone("c")
		wantAsk(w, supervisor.TerminateChild{Name: "c"}, nil)
		wantAsk(w, startProbe(w, "c"), supervisor.ErrAlreadyPresent)
		<-time.After(time.Hour)
		wantAsk(w, supervisor.TerminateChild{Name: "t"}, nil)
		w.wantListed("a running worker permanent 0", "sub running supervisor transient 0", "c stopped worker permanent 0 shutdown")
		wantAsk(w, supervisor.RestartChild{Name: "c"}, nil)
		w.wantCount("c", 2, 1)

		_ = w.crash("c", "error")
		w.wantListed("a running worker permanent 0", "sub running supervisor transient 0",
			"c restarting worker permanent 1 lost: it is broken")
		if got, _ := ask(w, supervisor.CountChildren{}); got != (supervisor.Counts{Specs: 3, Active: 2, Supervisors: 1, Workers: 2}) {
			t.Errorf("count: got %+v", got)
		}
		wantAsk(w, supervisor.RestartChild{Name: "c"}, supervisor.ErrRestarting)
		wantAsk(w, supervisor.DeleteChild{Name: "c"}, supervisor.ErrRestarting)
		wantAsk(w, supervisor.TerminateChild{Name: "c"}, nil)
		wantAsk(w, supervisor.DeleteChild{Name: "c"}, nil)
		wantAsk(w, supervisor.TerminateChild{Name: "sub"}, nil)
		w.wantGone("sub", "b")
		wantAsk(w, supervisor.DeleteChild{Name: "sub"}, nil)
		<-time.After(time.Hour)
		w.wantListed("a running worker permanent 0")
		if got, _ := ask(w, supervisor.CountChildren{}); got != (supervisor.Counts{Specs: 1, Active: 1, Workers: 1}) {
			t.Errorf("count: got %+v", got)
		}
		w.stop(root)
	})
}

// The supervisor answers while a child's init hangs; who waits for the start
// learns what came of it.
func TestAdminWhileInitHangs(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.onInit["slow"] = func(ctx *genserver.Context, life int) error {
			<-time.After(2 * time.Second)
			if life == 2 {
				return errBroken
			}
			return nil
		}
		w.onInit["hung"] = func(ctx *genserver.Context, _ int) error { <-ctx.Done(); return ctx.Err() }
		root := w.start(supervisor.Spec{Children: w.children("a")})
		asked := make(chan error, 1)
		start := func(name string) {
			go func() { _, err := ask(w, startProbe(w, name)); asked <- err }()
			synctest.Wait()
		}
		start("slow")
		w.wantListed("a running worker permanent 0", "slow starting worker permanent 0")
		wantAsk(w, startProbe(w, "slow"), supervisor.ErrAlreadyStarted)
		if err := <-asked; err != nil || w.now() != 2*time.Second {
			t.Errorf("start: got %v after %v, want nil after 2s", err, w.now())
		}
		wantAsk(w, supervisor.TerminateChild{Name: "slow"}, nil)
		wantAsk(w, supervisor.RestartChild{Name: "slow"}, supervisor.ErrChildFailed)
		w.wantListed("a running worker permanent 0", "slow stopped worker permanent 1 it is broken")

		start("hung")
		wantAsk(w, supervisor.TerminateChild{Name: "hung"}, nil)
		if err := <-asked; !errors.Is(err, supervisor.ErrTerminated) {
			t.Errorf("start: got %v, want ErrTerminated", err)
		}
		start("hung")
		w.stop(root)
		if err := <-asked; !errors.Is(err, genserver.ErrExit) {
			t.Errorf("start: got %v, want ErrExit", err)
		}
	})
}

// As in OTP, a sibling's round starts what was terminated, and what was added.
func TestAdminAndRounds(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		root := w.start(supervisor.Spec{Strategy: supervisor.OneForAll, Children: w.children("a", "b")})
		wantAsk(w, startProbe(w, "c"), nil)
		wantAsk(w, supervisor.TerminateChild{Name: "a"}, nil)
		w.forget()
		_ = w.crash("b", "oops")
		w.wantNotes("b: panic: oops", "c: shutdown", "a: init", "b: init", "c: init")
		w.stop(root)
		w.wantNotes("c: shutdown", "b: shutdown", "a: shutdown")
	})
}

// fussyType has a config, which comes back with each life.
var fussyType = genserver.Define("test.Fussy",
	func(_ *genserver.Context, cfg struct {
		N    int           `json:"n"`
		Wait time.Duration `json:"wait"`
	},
	) (*count, error) {
		return &count{N: cfg.N}, nil
	},
	genserver.HandleCall(func(c *count, _ *genserver.Context, _ incr) (count, error) { c.N++; return *c, nil }),
	genserver.HandleCall(func(_ *count, _ *genserver.Context, e end) (struct{}, error) { panic(e.How) }))

// Requests and answers survive the codecs, so they work from other nodes; a
// child is then given by its Type's name and a config.
func TestAdminUntyped(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		root := w.start(supervisor.Spec{Types: []genserver.Type{fussyType}})
		started, err := ask(w, genserver.Map{
			"type": "start_child", "name": "f", "of": "test.Fussy", "restart": "transient",
			"config": map[string]any{"n": 41},
		})
		if err != nil || started["name"] != "f" {
			t.Errorf("start: got %v, %v, want f's", started, err)
		}
		_ = w.crash("f", "oops")
		if got := w.count("f"); got.N != 42 {
			t.Errorf("count after a restart: got %d, want 42", got.N)
		}
		w.wantListed("f running worker transient 1 panic: oops")
		wantAsk(w, genserver.Map{"type": "start_child", "name": "g", "of": "test.Fussy", "config": map[string]any{"n": "x"}}, supervisor.ErrBadChild)
		wantAsk(w, genserver.Map{"type": "delete_child", "name": "f"}, supervisor.ErrRunning)
		w.stop(root)
	})
}

func TestAdminCodec(t *testing.T) {
	t.Parallel()
	for name, codec := range map[string]genserver.Codec{"json": genserver.JSON, "msgpack": transport.MsgPack} {
		want := supervisor.StartChild{
			Name: "a", Of: "T", Config: genserver.Map{"n": int64(1)}, Restart: supervisor.Temporary,
			Shutdown: time.Second, Scope: supervisor.Cluster,
		}
		b, err := codec.Encode(want)
		if err != nil {
			t.Errorf("%s: encode: %v", name, err)
			continue
		}
		var got supervisor.StartChild
		if err := codec.Decode(b, &got); err != nil {
			t.Errorf("%s: decode: %v", name, err)
		}
		if diff := cmp.Diff(fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A cluster-wide name that was added below a nested supervisor is given back
// when that one ends, however it does.
func TestAddedNamesAreGivenBack(t *testing.T) {
	for _, how := range []string{"delete", "stop", "kill", "crash"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				router := &claimRouter{slow: time.Second}
				w := newWorld(t, genserver.Config{Router: router})
				root := w.start(supervisor.Spec{Children: []supervisor.Child{
					{
						Name: "sub", Shutdown: supervisor.BrutalKill,
						Run: supervisor.Spec{Children: w.children("a"), MaxRestarts: supervisor.NoRestarts},
					},
				}})
				add := startProbe(w, "c")
				add.Scope = supervisor.Cluster
				sub := w.sys.Ref("sub")
				if _, err := genserver.Call(t.Context(), sub, add); err != nil {
					t.Fatalf("start: got %v, want nil", err)
				}
				if got := router.holds(); len(got) != 1 {
					t.Errorf("names: got %v, want c", got)
				}
				switch how {
				case "delete":
					if _, err := genserver.Call(t.Context(), sub, supervisor.TerminateChild{Name: "c"}); err != nil {
						t.Error(err)
					}
				case "stop":
					_ = sub.Stop(context.Background(), errBroken)
				case "kill":
					wantAsk(w, supervisor.TerminateChild{Name: "sub"}, nil)
					wantAsk(w, supervisor.RestartChild{Name: "sub"}, nil)
				case "crash":
					_ = w.crash("a", "oops")
				}
				<-time.After(time.Minute)
				if got := router.holds(); len(got) > 0 {
					t.Errorf("names: got %v, want none", got)
				}
				if how != "delete" {
					w.wantGone("c")
				}
				life := 2
				if how == "delete" {
					life = 1
				}
				w.wantCount("a", life, 1)
				w.stop(root)
				w.close()
			})
		})
	}
}
