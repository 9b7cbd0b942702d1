//go:build unix

package chaostest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/internal/proctest"
)

// The judge finds each thing that must not be, in records that are without fault but for
// that.
func TestTheJudgeFinds(t *testing.T) {
	t.Parallel()
	// The node n1 had the limiter and the scribe, in epochs 5 and 6, until it was broken at
	// 10 s; member-2 has them from 11 s on, in epochs 15 and 16, and has had a all along.
	const ledger = `
init 1000000000 limiter 5 -
start 2000000000 limiter 5 c1
wrote 3000000000 scribe 6 w1 7
note 3000000000 scribe 6 w1
init 11000000000 limiter 15 -
start 11100000000 limiter 15 c2
init 11000000000 scribe 16 -
wrote 12000000000 scribe 16 w2 20
wrote 12000000000 scribe 6 w3 fenced
`
	const calls = `
begun 2000000000 0 limiter c1 - - 0
ended 2000000000 2100000000 limiter c1 replied - 5
ended 9900000000 10700000000 limiter c3 unknown node_down 0
ended 11000000000 11200000000 limiter c2 replied - 15
`
	for _, c := range []struct {
		name, ledger, calls, want string
	}{
		{"nothing", "", "", ""},
		{"a call that ran twice", "start 11200000000 limiter 15 c1", "", "c1 ran twice"},
		{"a handler of an old epoch", "start 13000000000 limiter 5 c9", "", "starts limiter in epoch 5"},
		{"a start that nobody needed", "init 11000000000 a 17 -", "", "starts a, which n2 had"},
		{"an answer without a handler", "", "ended 2000000000 2100000000 limiter c7 replied - 5", "c7 was answered and never ran"},
		{"a call that ran after all", "start 2500000000 limiter 5 c8", "ended 2000000000 2100000000 limiter c8 undelivered no_process 0", "c8 is told to be undelivered, and ran"},
		{"a call that never ends", "", "begun 2000000000 0 limiter c6 - - 0", "c6 of member-2 never ended"},
		{"a write of an old epoch", "wrote 12000000000 scribe 6 w4 21", "", "in epoch 6 was stored as 21"},
		{"a cast of an old epoch", "note 12500000000 scribe 6 w5", "", "takes a cast of scribe in epoch 6"},
		{"an answer of an old epoch", "start 9000000000 limiter 5 c5", "ended 9000000000 12500000000 limiter c5 replied - 5", "is told of limiter in epoch 5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := &world{t: t, dir: t.TempDir(), orderly: map[string]bool{"member-2": true}}
			w.tail = proctest.NewTail(w.dir, ledgers)
			w.tries = []attempt{{
				broken: 10 * time.Second, healed: 20 * time.Second, victim: "n1",
				owned: map[string]cluster.Ownership{
					watched: {Node: "n1", Epoch: 5}, scribe: {Node: "n1", Epoch: 6}, "a": {Node: "n2", Epoch: 7},
				},
			}}
			write := func(kind, text string) {
				if err := os.WriteFile(filepath.Join(w.dir, "member-2"+kind), []byte(strings.TrimSpace(text)+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write(ledgers, ledger+c.ledger)
			write(outcomes, calls+c.calls)
			var r row
			recorded := w.calls()
			w.judgeCalls(&r, recorded, w.judgeStarts(&r))
			w.judgeEpochs(&r, recorded)
			w.found = slices.DeleteFunc(w.found, func(what string) bool { return strings.Contains(what, "no load") })
			if all := strings.Join(w.found, "\n"); c.want == "" && all != "" || !strings.Contains(all, c.want) {
				t.Errorf("got %q, want %q", all, c.want)
			}
		})
	}
}
