package membership_test

import (
	"testing"
	"time"

	"github.com/civitas-go/civitas/internal/membership"
)

var (
	a1 = membership.Witness{Server: "A", Client: 1}
	a2 = membership.Witness{Server: "A", Client: 2}
	b1 = membership.Witness{Server: "B", Client: 1}
)

// witnessed is a session whose record names a1 and b1, acknowledged at 30 ms as
// sequence 11; the newest PONG of a1 is for 30 ms, b1 has given none.
func witnessed(t *testing.T) *membership.Session {
	t.Helper()
	m := alive(t)
	m.Hold(10*ms, a1)
	m.Hold(10*ms, b1)
	step := m.Next(20 * ms) // at once, though not sooner after the last write
	wantStep(t, step, membership.Step{Do: membership.Update, Expect: 10, Nonce: "w2", Witnesses: membership.Witnesses{a1, b1}})
	m.Pong(a1, 30*ms)
	m.Result(30*ms, step, membership.Result{Seq: 11})
	return m
}

func wantUntil(t *testing.T, when string, m *membership.Session, want time.Duration) {
	t.Helper()
	if got := m.Until(); got != want {
		t.Errorf("%s: got open until %v, want %v", when, got, want)
	}
}

func TestWitnessesLimitTheLease(t *testing.T) {
	t.Parallel()
	m := witnessed(t)
	wantUntil(t, "with one PONG", m, 630*ms)
	m.Pong(b1, 100*ms)
	m.Pong(b1, 50*ms) // the answer to an older PING says less
	wantUntil(t, "with one of the other", m, 700*ms)
	m.Pong(a2, 500*ms)
	wantUntil(t, "with one of a stranger", m, 700*ms)
	m.Pong(a1, 11900*ms)
	wantUntil(t, "with one that outlasts the lease", m, 20*ms+12*s)
}

// No version needs a witness before one has named it, and a session that names
// none has its lease alone.
func TestWithoutWitnesses(t *testing.T) {
	t.Parallel()
	m := alive(t)
	wantUntil(t, "without witnesses", m, 12*s)
	m.Hold(10*ms, a1)
	wantUntil(t, "with one that no version names", m, 12*s)
	step := m.Next(20 * ms)
	wantUntil(t, "with one that the judge may have read of", m, 0)
	m.Pong(a1, 20*ms)
	wantUntil(t, "with its PONG", m, 620*ms)
	m.Drop(30*ms, a1)
	m.Result(40*ms, step, membership.Result{Seq: 11})
	wantUntil(t, "after its end", m, 0)
	step = m.Next(20*ms + s)
	m.Result(1100*ms, step, membership.Result{Seq: 12})
	wantUntil(t, "once the record names none again", m, 13*s+20*ms)
}

// A witness that came after a lost one counts once a version that names it is
// acknowledged, and the lost one never again.
func TestLostWitness(t *testing.T) {
	t.Parallel()
	m := witnessed(t)
	m.Drop(40*ms, a1)
	m.Drop(40*ms, b1)
	m.Pong(a1, 40*ms)
	wantUntil(t, "after both are lost", m, 0)
	if !m.Hold(45*ms, a2) || !m.Hold(45*ms, b1) || m.Hold(45*ms, a1) {
		t.Error("holding two, then a third: want the first two alone")
	}
	m.Drop(46*ms, b1)
	m.Pong(a2, 60*ms)
	wantUntil(t, "before the new one is named", m, 0)
	step := m.Next(60 * ms)
	wantStep(t, step, membership.Step{Do: membership.Update, Expect: 11, Nonce: "w3", Witnesses: membership.Witnesses{a2}})
	m.Result(2*s, step, membership.Result{Outcome: membership.Unknown})
	wantUntil(t, "while it may be named", m, 0)
	step = m.Next(2*s + 20*ms)
	m.Result(2*s+30*ms, step, membership.Result{Seq: 12, Session: membership.Content{Nonce: "w3"}})
	m.Pong(a2, 2*s)
	wantUntil(t, "when a read shows it named", m, 0)
	step = m.Next(2*s + 40*ms)
	m.Result(2*s+50*ms, step, membership.Result{Seq: 13})
	wantUntil(t, "when it is acknowledged", m, 2600*ms)
}

func TestInquestDeclaresDeadAfterTheEnds(t *testing.T) {
	t.Parallel()
	m, ends := newInquest(""), new(membership.Ends)
	read(m, 0, membership.Result{Seq: 5, Session: membership.Content{Witnesses: membership.Witnesses{a1, b1}}})
	ends.Add(10*ms, a1, s)
	ends.Add(20*ms, a2, s)
	wantStep(t, m.Next(s, membership.Standing{}, ends), membership.Step{Do: membership.Get}) // that it may be another by now
	read(m, s, membership.Result{Seq: 5})
	question := membership.Step{Do: membership.Question, Witnesses: membership.Witnesses{1: b1}}
	wantStep(t, m.Next(s, fit, ends), question)
	m.Result(s, question, membership.Result{Outcome: membership.Unavailable})
	if step := m.Next(s, fit, ends); step.Do != membership.Wait {
		t.Errorf("after the end of one: got %+v, want to wait", step)
	}
	ends.Add(1100*ms, b1, s)
	ends.Add(1500*ms, a1, s) // told again
	wantStep(t, m.Next(1100*ms, membership.Standing{}, ends), membership.Step{Do: membership.Wait, At: 1800 * ms})
	wantStep(t, m.Next(1800*ms, membership.Standing{}, ends), membership.Step{Do: membership.Update, Expect: 5})
	m.Result(1800*ms, membership.Step{Do: membership.Update}, membership.Result{Outcome: membership.Conflict})
	read(m, 1810*ms, membership.Result{Seq: 6, Session: membership.Content{Witnesses: membership.Witnesses{a2}}})
	wantStep(t, m.Next(1810*ms, membership.Standing{}, ends), membership.Step{Do: membership.Update, Expect: 6}) // its end was told long ago
	m.Result(1810*ms, membership.Step{Do: membership.Update}, membership.Result{Seq: 7})
	if got := m.Status(2 * s); got != membership.Died {
		t.Errorf("got %v, want died", got)
	}
}

// While a session that was read does not change, its witnesses' servers are asked what
// became of them: once for each time that it is read.
func TestInquestQuestions(t *testing.T) {
	t.Parallel()
	m, ends := newInquest(""), new(membership.Ends)
	version := func(seq uint64, ws ...membership.Witness) membership.Result {
		r := membership.Result{Seq: seq}
		copy(r.Session.Witnesses[:], ws)
		return r
	}
	questions := func(now time.Duration, want ...membership.Witness) {
		t.Helper()
		step := m.Next(now, membership.Standing{}, ends)
		if len(want) == 0 {
			if step.Do == membership.Question {
				t.Errorf("at %v: got %+v, want no question", now, step)
			}
			return
		}
		wantStep(t, step, membership.Step{Do: membership.Question, Witnesses: version(0, want...).Session.Witnesses})
		m.Result(now, step, membership.Result{})
		if step := m.Next(now, membership.Standing{}, ends); step.Do == membership.Question {
			t.Errorf("at %v: got another question, want none before the next read", now)
		}
	}
	read(m, 0, version(5, a1, b1))
	questions(0) // it may have been written just now
	read(m, s/2, version(5, a1, b1))
	questions(s / 2)
	read(m, s, version(5, a1, b1))
	questions(s, a1, b1)
	read(m, 2*s, version(6, a1, b1))
	questions(2 * s) // it lives
	read(m, 4*s, version(6, a1, b1))
	m.Saw(4*s, 7, version(7, a1, b1).Session, true)
	questions(4 * s)
	read(m, 9*s, version(7, a1, b1))
	ends.Add(9*s, a1, s)
	questions(9*s, membership.Witness{}, b1)
	ends.Add(9100*ms, b1, s)
	read(m, 9200*ms, version(7, a1, b1))
	questions(9200 * ms) // nothing is left to be asked
	read(m, 9300*ms, version(8))
	read(m, 12*s, version(8))
	questions(12 * s) // nor is there where no witness is named
}

// Nothing follows from the ends of connections if the record names none.
func TestNoEndOfNone(t *testing.T) {
	t.Parallel()
	ends := new(membership.Ends)
	ends.Add(0, membership.Witness{}, s)
	if _, all := ends.Last(membership.Witnesses{}); all {
		t.Error("no witnesses: got all ended, want not")
	}
}

// A session's own promises are waited out, whatever the judge's times.
func TestInquestKeepsOthersPromises(t *testing.T) {
	t.Parallel()
	m, ends := newInquest(""), new(membership.Ends)
	read(m, 0, membership.Result{Seq: 5, Session: membership.Content{
		Witnesses: membership.Witnesses{a1}, Pong: 1200 * ms, Lease: 24 * s,
	}})
	read(m, 29*s, membership.Result{Seq: 5})
	if step := m.Next(29*s, fit, ends); step.Do == membership.Update {
		t.Error("29s of silence with a lease of 24s: got a verdict, want none")
	}
	ends.Add(29*s, a1, s)
	if step := m.Next(29*s+800*ms, fit, ends); step.Do == membership.Update {
		t.Error("800ms after the end with a PONG that holds for 1200ms: got a verdict, want none")
	}
	read(m, 30*s, membership.Result{Seq: 5})
	wantStep(t, m.Next(30*s, fit, ends), membership.Step{Do: membership.Update, Expect: 5})
}
