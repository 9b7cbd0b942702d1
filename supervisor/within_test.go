package supervisor_test

import (
	"testing"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

// The overall deadline holds where children may take as long as they like,
// however deep they are, and whatever the supervisor ends for.
func TestStopWithin(t *testing.T) {
	const within = 3 * time.Second
	for _, how := range []string{"stop", "escalation", "dynamic"} {
		t.Run(how, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				hung := w.child("hung")
				hung.Shutdown = supervisor.Infinity
				sub := supervisor.Spec{Children: []supervisor.Child{w.child("a"), hung}}
				var root *genserver.Process
				if how == "dynamic" {
					root = w.startDynamic(supervisor.Dynamic{StopWithin: within})
					wantAsk(w, supervisor.StartChild{Name: "sub", Run: sub}, nil)
					wantAsk(w, startProbe(w, "b"), nil)
				} else {
					root = w.start(supervisor.Spec{
						StopWithin: within, MaxRestarts: supervisor.NoRestarts,
						Children: []supervisor.Child{w.child("b"), {Name: "sub", Run: sub}},
					})
				}
				w.onTerminate["hung"] = func() { <-w.gate }
				began := w.now()
				if how == "escalation" {
					_ = w.crash("b", "oops")
					w.wantReason(root, supervisor.ErrRestartLimit)
				} else {
					w.stop(root)
				}
				if got := w.now() - began; got != within {
					t.Errorf("the end took: got %v, want %v", got, within)
				}
				w.wantGone("a", "hung", "sub", "b")
			})
		})
	}
}
