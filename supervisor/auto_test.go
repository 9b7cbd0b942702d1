package supervisor_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

func (w *world) jobs(names ...string) []supervisor.Child {
	all := w.children(names...)
	for i := range all {
		all[i].Restart, all[i].Significant = supervisor.Transient, true
	}
	return all
}

func TestAutoShutdown(t *testing.T) {
	for _, tt := range []struct {
		auto supervisor.AutoShutdown
		end  []string
	}{
		{supervisor.AnySignificant, []string{"j1"}},
		{supervisor.AllSignificant, []string{"j1", "j2"}},
	} {
		t.Run(tt.auto.String(), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				root := w.start(supervisor.Spec{AutoShutdown: tt.auto, Children: append(w.jobs("j1", "j2"), w.child("a"))})
				_ = w.crash("j1", "error")
				wantAsk(w, supervisor.TerminateChild{Name: "j1"}, nil)
				wantAsk(w, supervisor.RestartChild{Name: "j1"}, nil)
				synctest.Wait()
				for _, name := range tt.end {
					if root.Reason() != nil {
						t.Errorf("root before the end of %s: got %v, want it alive", name, root.Reason())
					}
					_ = w.crash(name, "normal")
				}
				w.wantReason(root, genserver.Shutdown)
				w.wantGone("a", "j1", "j2")
			})
		})
	}
}

// Above, an automatic shutdown is no crash: a transient supervisor stays down.
func TestAutoShutdownNested(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		root := w.start(supervisor.Spec{MaxRestarts: supervisor.NoRestarts, Children: []supervisor.Child{{
			Name: "batch", Restart: supervisor.Transient,
			Run: supervisor.Spec{AutoShutdown: supervisor.AnySignificant, Children: w.jobs("job")},
		}}})
		_ = w.crash("job", "normal")
		w.wantListed("batch stopped supervisor transient 0 shutdown")
		w.stop(root)
	})
}

// A job that is done before its siblings are up does not fail the start.
func TestAutoShutdownDuringStart(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.onInit["job"] = func(ctx *genserver.Context, _ int) error {
			ctx.SendAfter(time.Millisecond, finish{})
			return nil
		}
		w.onInit["slow"] = func(*genserver.Context, int) error { <-time.After(time.Second); return nil }
		root := w.start(supervisor.Spec{AutoShutdown: supervisor.AnySignificant, Children: append(w.jobs("job"), w.child("slow"))})
		w.wantReason(root, genserver.Shutdown)
		w.wantNotes("job: init", "job: normal", "slow: init", "slow: shutdown")
	})
}

func TestAutoShutdownDynamic(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		root := w.startDynamic(supervisor.Dynamic{AutoShutdown: supervisor.AllSignificant})
		add := func(name string) supervisor.StartChild {
			m := startProbe(w, name)
			m.Significant = true
			return m
		}
		bad := add("p")
		bad.Restart = supervisor.Permanent
		wantAsk(w, bad, supervisor.ErrBadChild)
		wantAsk(w, add("a"), nil)
		wantAsk(w, add("b"), nil)
		_ = w.crash("a", "normal")
		w.wantListed("b running worker transient 0")
		_ = w.crash("b", "normal")
		w.wantReason(root, genserver.Shutdown)
	})
}

func TestAutoShutdownValidate(t *testing.T) {
	t.Parallel()
	got := supervisor.Spec{Children: []supervisor.Child{
		{Name: "a", Run: Counter.With(0), Significant: true},
		{Name: "b", Run: Counter.With(0), Significant: true, Restart: supervisor.Temporary},
	}}.Validate()
	const want = "Children[0].Significant: a is permanent; it must be transient or temporary\n" +
		"Children[1].Significant: the supervisor of b has no AutoShutdown"
	if got == nil || got.Error() != want {
		t.Errorf("validate: got %v, want %s", got, want)
	}
}
