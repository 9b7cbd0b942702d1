//go:build unix

package chaostest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/civitas-go/civitas/internal/proctest"
)

// start is that of a handler, or of a server.
type start struct {
	init  bool
	at    time.Duration
	name  string
	epoch uint64
	id    string
	life  string // of its process
}

// call is one as its caller saw it; over is 0 while it has not ended.
type call struct {
	began, over   time.Duration
	name, id      string
	outcome, code string
	life          string
}

// row is what became of one fault's tries.
type row struct {
	fault                               string
	tries, calls                        int
	undelivered, unknown, doubled, lost int
	served                              []time.Duration // again
	told                                time.Duration   // the longest from the first caller's word of the death to another's, on a node
	restarted                           int             // servers that were not on what was broken
}

// starts are those that all processes have written.
func (w *world) starts() (all []start) {
	proctest.EachLine(w.t, w.dir, ledgers, func(life string, f []string) {
		if len(f) < 5 {
			return
		}
		at, err1 := strconv.ParseInt(f[1], 10, 64)
		epoch, err2 := strconv.ParseUint(f[3], 10, 64)
		if err1 == nil && err2 == nil {
			all = append(all, start{f[0] == "init", time.Duration(at), f[2], epoch, f[4], life})
		}
	})
	slices.SortStableFunc(all, func(a, b start) int { return int(a.at - b.at) })
	return all
}

func (w *world) startsSince(at time.Duration, epoch uint64) (n int) {
	for _, s := range w.starts() {
		if s.at >= at && s.epoch == epoch && !s.init {
			n++
		}
	}
	return n
}

func (w *world) calls() map[string]call {
	calls := map[string]call{}
	proctest.EachLine(w.t, w.dir, outcomes, func(life string, f []string) {
		if len(f) < 7 {
			return
		}
		began, _ := strconv.ParseInt(f[1], 10, 64)
		over, _ := strconv.ParseInt(f[2], 10, 64)
		calls[f[4]] = call{time.Duration(began), time.Duration(over), f[3], f[4], f[5], f[6], life}
	})
	return calls
}

// judge holds what was recorded against what was promised.
func (w *world) judge(f fault) row {
	w.t.Helper()
	r := row{fault: f.name, tries: len(w.tries)}
	starts, calls := w.starts(), w.calls()
	ran := map[string]int{}
	latest := map[string]start{} // by name
	for _, s := range starts {
		if last := latest[s.name]; s.epoch < last.epoch {
			w.t.Errorf("%s starts %s in epoch %d, %v after it was started in epoch %d by %s",
				s.life, s.name, s.epoch, s.at-last.at, last.epoch, last.life)
		}
		if s.epoch > latest[s.name].epoch {
			latest[s.name] = s
		}
		if s.init {
			r.restarted += w.needless(s)
			continue
		}
		if ran[s.id]++; ran[s.id] == 2 {
			r.doubled++
			w.t.Errorf("call %s ran twice", s.id)
		}
	}
	told := map[string]int{}
	for id, c := range calls {
		told[c.outcome+" "+c.code]++
		switch {
		case c.outcome == replied && ran[id] == 0:
			r.lost++
			w.t.Errorf("call %s was answered and never ran", id)
		case c.outcome == undelivered && ran[id] > 0:
			w.t.Errorf("call %s is told to be undelivered, and ran: %s", id, c.code)
		case c.over == 0 && !w.died(c.life):
			r.lost++
			w.t.Errorf("call %s of %s never ended", id, c.life)
		}
		if c.outcome != "stopped" && c.over > 0 {
			r.calls++
		}
		switch c.outcome {
		case undelivered:
			r.undelivered++
		case unknown:
			r.unknown++
		}
	}
	w.t.Logf("callers were told %v", told)
	for _, a := range w.tries {
		if f.moves {
			r.served = append(r.served, a.served)
			if a.served > f.within {
				w.t.Errorf("served again after %v, want %v at most", a.served, f.within)
			}
		}
		r.told = max(r.told, spread(calls, a))
	}
	if r.calls == 0 || r.calls < 100*len(w.tries) {
		w.t.Errorf("got %d calls in %d tries: that was no load", r.calls, r.tries)
	}
	if !f.moves && r.restarted > 0 {
		w.t.Errorf("%d servers were started anew, want none", r.restarted)
	}
	return r
}

// needless is 1 if a server's start is after a fault that its owner before did not
// suffer.
func (w *world) needless(s start) int {
	for _, a := range w.tries {
		if !w.fault.moves && s.at > a.broken && s.at < a.healed {
			return 1
		}
	}
	return 0
}

// died reports whether a process ended other than in good order.
func (w *world) died(life string) bool {
	for _, m := range w.members {
		if m.process.Life() == life {
			return false
		}
	}
	return true // it was succeeded by another
}

// spread is how long after the first caller on a node was told of a death the
// last one was.
func spread(calls map[string]call, a attempt) (most time.Duration) {
	first, last := map[string]time.Duration{}, map[string]time.Duration{}
	for _, c := range calls {
		if c.outcome != unknown || c.code != "node_down" || c.over < a.broken || c.over > a.healed || c.began > a.broken {
			continue
		}
		if at, ok := first[c.life]; !ok || c.over < at {
			first[c.life] = c.over
		}
		last[c.life] = max(last[c.life], c.over)
	}
	for life := range first {
		most = max(most, last[life]-first[life])
	}
	return most
}

// table is for the eye.
func table(rows []row) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "fault\ttries\tcalls\tfailed before delivery\tunknown outcome\tdoubled\tlost\tserved again p50\tmax\tword of a death spreads in")
	for _, r := range rows {
		slices.Sort(r.served)
		p50, most := "-", "-"
		if n := len(r.served); n > 0 {
			p50, most = r.served[n/2].Round(time.Millisecond).String(), r.served[n-1].Round(time.Millisecond).String()
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%v\n", r.fault, r.tries, r.calls, r.undelivered, r.unknown, r.doubled, r.lost,
			p50, most, r.told.Round(time.Millisecond))
	}
	_ = w.Flush()
	return text.String()
}
