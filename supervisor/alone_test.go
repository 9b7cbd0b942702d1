package supervisor_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

// A child that is alone is given up by itself, and whoever started it is told of
// its end for good.
func TestAlone(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		root := w.start(supervisor.Spec{MaxRestarts: 1, Children: w.children("a")})
		var ends []string
		start := func(name string, restart supervisor.Restart) {
			child := startProbe(w, name)
			child.Restart = restart
			child.Alone, child.Ended = true, func(reason error) {
				ends = append(ends, name+": "+reason.Error())
				if given := errors.Is(reason, supervisor.ErrRestartLimit); given != (name == "b") {
					t.Errorf("end of %s: got %v, which says it was given up: %v", name, reason, given)
				}
				if name == "b" && !errors.Is(reason, errBroken) {
					t.Errorf("end of %s: got %v, want it to match what it crashed of", name, reason)
				}
			}
			wantAsk(w, child, nil)
		}
		start("b", supervisor.Permanent)
		start("c", supervisor.Transient)
		start("d", supervisor.Temporary)
		start("e", supervisor.Permanent)
		w.forget()
		for range 2 {
			synctest.Wait()
			w.sys.Ref("b").Stop(context.Background(), errBroken)
		}
		synctest.Wait()
		noErr := func(err error) {
			synctest.Wait() // ends of several children are told in any order
			if err != nil {
				t.Errorf("got %v, want nil", err)
			}
		}
		noErr(w.sys.Ref("c").Stop(context.Background(), genserver.Normal))
		noErr(w.sys.Ref("d").Stop(context.Background(), errBroken))
		wantAsk(w, supervisor.TerminateChild{Name: "e"}, nil)
		synctest.Wait()
		want := []string{
			"b: restart limit reached: 2 in 5s, 1 allowed, the last was b",
			"c: normal",
			"d: it is broken",
			"e: shutdown",
		}
		for i := range ends {
			if i < len(want) && len(ends[i]) > len(want[i]) {
				ends[i] = ends[i][:len(want[i])]
			}
		}
		if diff := cmp.Diff(want, ends); diff != "" {
			t.Errorf("ends (-want +got):\n%s", diff)
		}
		if root.Reason() != nil {
			t.Errorf("the supervisor: got the end %v, want none", root.Reason())
		}
	})
}

// A strategy that concerns siblings has no child alone.
func TestAloneNeedsOneForOne(t *testing.T) {
	inWorld(t, func(_ *testing.T, w *world) {
		w.start(supervisor.Spec{Strategy: supervisor.OneForAll, Children: w.children("a")})
		child := startProbe(w, "b")
		child.Alone = true
		wantAsk(w, child, supervisor.ErrBadChild)
	})
}

// The reason of a start that failed is told, as an error that can be matched.
func TestEndedOfAFailedStart(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start(supervisor.Spec{})
		w.onInit["a"] = func(*genserver.Context, int) error { return errBroken }
		var reason error
		child := startProbe(w, "a")
		child.Ended = func(err error) { reason = err }
		wantAsk(w, child, supervisor.ErrChildFailed)
		if !errors.Is(reason, errBroken) {
			t.Errorf("got the reason %v, want %v", reason, errBroken)
		}
	})
}
