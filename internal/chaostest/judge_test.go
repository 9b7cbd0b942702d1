//go:build unix

package chaostest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/civitas-go/civitas/internal/proctest"
)

// start is a line of a ledger.
type start struct {
	kind  string
	at    time.Duration
	name  string
	epoch uint64
	id    string // of the call
	wrote string // of a write: its sequence, fenced or unstored
	life  string // of its process
}

// Kinds of lines.
const (
	began   = "init"  // of a server
	handled = "start" // of a handler
	noted   = "note"  // of a cast by the scribe, where it arrived
	wrote   = "wrote" // of a write, as the scribe saw it
)

// call is one as its caller saw it; over is 0 while it has not ended.
type call struct {
	began, over   time.Duration
	name, id      string
	outcome, code string
	epoch         uint64 // in which it ran, if it was replied to
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
	paused                              time.Duration   // the longest of those
	fenced                              int             // writes of what had been succeeded
}

// starts are the lines of all ledgers, by time.
func (w *world) starts() []start {
	w.tail.Each(w.t, func(life string, f []string) {
		if len(f) < 5 {
			return
		}
		at, err1 := strconv.ParseInt(f[1], 10, 64)
		epoch, err2 := strconv.ParseUint(f[3], 10, 64)
		if err1 == nil && err2 == nil {
			w.ledger = append(w.ledger, start{f[0], time.Duration(at), f[2], epoch, f[4], f[len(f)-1], life})
		}
	})
	slices.SortStableFunc(w.ledger, func(a, b start) int { return cmp.Compare(a.at, b.at) })
	return w.ledger
}

// servedSince are the latest epochs in which handlers have started since then.
func (w *world) servedSince(at time.Duration) map[string]uint64 {
	served := map[string]uint64{}
	for _, s := range w.starts() {
		if s.at >= at && s.kind == handled {
			served[s.name] = s.epoch
		}
	}
	return served
}

func (w *world) calls() map[string]call {
	calls := map[string]call{}
	proctest.EachLine(w.t, w.dir, outcomes, func(life string, f []string) {
		if len(f) < 8 {
			return
		}
		began, _ := strconv.ParseInt(f[1], 10, 64)
		over, _ := strconv.ParseInt(f[2], 10, 64)
		epoch, _ := strconv.ParseUint(f[7], 10, 64)
		calls[f[4]] = call{time.Duration(began), time.Duration(over), f[3], f[4], f[5], f[6], epoch, life}
	})
	return calls
}

// judge holds what was recorded against what was promised.
func (w *world) judge(f fault) row {
	w.t.Helper()
	r := row{fault: f.name, tries: len(w.tries)}
	ran := w.judgeStarts(&r)
	calls := w.calls()
	w.judgeCalls(&r, calls, ran)
	w.judgeEpochs(&r, calls)
	for _, a := range w.tries {
		if f.victim != nil {
			r.served = append(r.served, a.served)
			if a.served > f.within {
				w.find("served again after %v, want %v at most", a.served, f.within)
			}
		}
		r.told = max(r.told, spread(calls, a))
		r.paused = max(r.paused, w.pause(a))
	}
	if r.restarted > 0 {
		w.find("%d servers were started anew that were not on what was broken, want none", r.restarted)
	}
	if f.amid && r.fenced == 0 {
		w.find("got no write that was refused: nothing was broken amid a handler")
	}
	for _, what := range w.found {
		w.t.Error(what)
	}
	return r
}

// find notes something that must not be.
func (w *world) find(format string, args ...any) {
	w.found = append(w.found, fmt.Sprintf(format, args...))
}

// judgeStarts is about what ran, and how often each call did.
func (w *world) judgeStarts(r *row) (ran map[string]int) {
	w.t.Helper()
	ran = map[string]int{}
	latest := map[string]start{} // by name
	for _, s := range w.starts() {
		switch s.kind {
		case wrote, noted:
			continue
		case began:
			r.restarted += w.needless(s)
		case handled:
			if ran[s.id]++; ran[s.id] == 2 {
				r.doubled++
				w.find("call %s ran twice", s.id)
			}
		}
		last := latest[s.name]
		if s.epoch < last.epoch {
			w.find("%s starts %s in epoch %d, %v after it was started in epoch %d by %s",
				s.life, s.name, s.epoch, s.at-last.at, last.epoch, last.life)
		}
		if s.epoch > last.epoch {
			latest[s.name] = s
		}
	}
	return ran
}

// needless is 1 if a server was started anew though what had it was not broken.
func (w *world) needless(s start) int {
	for _, a := range w.tries {
		if o, ok := a.owned[s.name]; ok && o.Node != a.victim && s.at > a.broken && s.at < a.healed {
			w.find("%s starts %s, which %s had, %v after %s was broken", s.life, s.name, o.Node, s.at-a.broken, cmp.Or(a.victim, "NATS"))
			return 1
		}
	}
	return 0
}

// judgeCalls is about what callers were told.
func (w *world) judgeCalls(r *row, calls map[string]call, ran map[string]int) {
	w.t.Helper()
	told := map[string]int{}
	for id, c := range calls {
		told[c.outcome+" "+c.code]++
		switch {
		case c.outcome == replied && ran[id] == 0:
			r.lost++
			w.find("call %s was answered and never ran", id)
		case c.outcome == undelivered && ran[id] > 0:
			w.find("call %s is told to be undelivered, and ran: %s", id, c.code)
		case c.over == 0 && !w.died(c.life):
			r.lost++
			w.find("call %s of %s never ended", id, c.life)
		}
		if c.outcome != stopped && c.over > 0 {
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
	if r.calls < 100*len(w.tries) || r.calls == 0 {
		w.find("got %d calls in %d tries: that was no load", r.calls, r.tries)
	}
}

// late is how long what was accepted may take to be recorded.
const late = time.Second

// judgeEpochs is about what servers did that had been succeeded: nobody may accept
// it.
func (w *world) judgeEpochs(r *row, calls map[string]call) {
	w.t.Helper()
	began := w.began()
	stored, unknown := 0, 0
	for _, s := range w.starts() {
		switch {
		case s.kind == noted:
			if next, ok := began.after(s.name, s.epoch); ok && s.at > next.at+late {
				w.find("%s takes a cast of %s in epoch %d, %v after that of epoch %d began",
					s.life, s.name, s.epoch, s.at-next.at, next.epoch)
			}
		case s.kind != wrote:
		case s.wrote == fenced:
			r.fenced++
		case s.wrote == unstored:
			unknown++
		default:
			stored++
			// Epochs are sequences of the stream that has what was written too.
			seq, err := strconv.ParseUint(s.wrote, 10, 64)
			if next, ok := began.after(s.name, s.epoch); err != nil || ok && seq > next.epoch {
				w.find("a write by %s in epoch %d was stored as %s, after epoch %d had begun", s.name, s.epoch, s.wrote, next.epoch)
			}
		}
	}
	for _, c := range calls {
		if c.outcome != replied || w.died(c.life) { // those amid the fault have their own process's word
			continue
		}
		if next, ok := began.after(c.name, c.epoch); ok && c.over > next.at+late {
			w.find("%s is told of %s in epoch %d, %v after that of epoch %d began", c.life, c.name, c.epoch, c.over-next.at, next.epoch)
		}
	}
	w.t.Logf("of the scribe's writes %d were stored, %d were refused, of %d it is not known", stored, r.fenced, unknown)
}

// epochs are the first starts in each epoch, by name and in order.
type epochs map[string][]start

func (w *world) began() epochs {
	all := epochs{}
	for _, s := range w.starts() {
		if of := all[s.name]; (s.kind == began || s.kind == handled) && (len(of) == 0 || of[len(of)-1].epoch < s.epoch) {
			all[s.name] = append(of, s)
		}
	}
	return all
}

// after is the first start of a later epoch.
func (e epochs) after(name string, epoch uint64) (start, bool) {
	of := e[name]
	i := slices.IndexFunc(of, func(s start) bool { return s.epoch > epoch })
	if i < 0 {
		return start{}, false
	}
	return of[i], true
}

// pause is the longest time for which something was not served that was not broken.
// The scribe takes its time, and waits for the store.
func (w *world) pause(a attempt) (longest time.Duration) {
	last := map[string]time.Duration{}
	for _, s := range w.starts() {
		if s.kind != handled || s.name == scribe || s.at > a.healed || a.owned[s.name].Node == a.victim {
			continue
		}
		if s.at > a.broken {
			longest = max(longest, s.at-max(last[s.name], a.broken))
		}
		last[s.name] = s.at
	}
	return longest
}

// died reports whether a process ended other than in good order.
func (w *world) died(life string) bool { return !w.orderly[life] }

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
	fmt.Fprintln(w, "fault\ttries\tcalls\tfailed before delivery\tunknown outcome\tdoubled\tlost\tserved again p50\tmax\tthe others paused\tword of a death spreads in")
	for _, r := range rows {
		slices.Sort(r.served)
		p50, most := "-", "-"
		if n := len(r.served); n > 0 {
			p50, most = r.served[n/2].Round(time.Millisecond).String(), r.served[n-1].Round(time.Millisecond).String()
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%v\t%v\n", r.fault, r.tries, r.calls, r.undelivered, r.unknown, r.doubled, r.lost,
			p50, most, r.paused.Round(time.Millisecond), r.told.Round(time.Millisecond))
	}
	_ = w.Flush()
	return text.String()
}
