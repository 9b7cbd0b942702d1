package membership_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/civitas-go/civitas/internal/membership"
)

const (
	ms = time.Millisecond
	s  = time.Second
)

func newSession() *membership.Session {
	n := 0
	return membership.NewSession(membership.Timing{}.WithDefaults(), func() string {
		n++
		return fmt.Sprint("w", n)
	})
}

// alive is a session whose first write, with the nonce w1, was sent at 0 and
// acknowledged at 5 ms as sequence 10.
func alive(t *testing.T) *membership.Session {
	t.Helper()
	m := newSession()
	wantStep(t, m.Next(0), membership.Step{Do: membership.Create, Nonce: "w1"})
	m.Result(5*ms, membership.Step{Do: membership.Create}, membership.Result{Seq: 10})
	return m
}

func wantStep(t *testing.T, got, want membership.Step) {
	t.Helper()
	if got != want {
		t.Errorf("next step: got %+v, want %+v", got, want)
	}
}

func TestLeaseCountsFromTheSending(t *testing.T) {
	t.Parallel()
	m := alive(t)
	if m.Until() != 12*s || !m.Open(12*s-1) || m.Open(12*s) {
		t.Errorf("lease: got until %v, want 12s", m.Until())
	}
	wantStep(t, m.Next(6*ms), membership.Step{Do: membership.Wait, At: s})
	wantStep(t, m.Next(s), membership.Step{Do: membership.Update, Expect: 10, Nonce: "w2"})
	m.Result(3*s, membership.Step{Do: membership.Update}, membership.Result{Seq: 14}) // late
	if m.Until() != 13*s {
		t.Errorf("lease after a late acknowledgement: got until %v, want 13s", m.Until())
	}
	wantStep(t, m.Next(3*s), membership.Step{Do: membership.Update, Expect: 14, Nonce: "w3"})
}

// What a renewal with unknown outcome is found to be.
func TestUnknownRenewal(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		read membership.Result
		next membership.Step
		lost membership.Reason
	}{
		"it was done":               {membership.Result{Seq: 11, Session: membership.Content{Nonce: "w2"}}, membership.Step{Do: membership.Update, Expect: 11, Nonce: "w3"}, 0},
		"it was not done":           {membership.Result{Seq: 10, Session: membership.Content{Nonce: "w1"}}, membership.Step{Do: membership.Update, Expect: 10, Nonce: "w2"}, 0},
		"an older state":            {membership.Result{Seq: 7, Session: membership.Content{Nonce: "w0"}}, membership.Step{Do: membership.Update, Expect: 10, Nonce: "w2"}, 0},
		"declared dead":             {membership.Result{Seq: 11, Session: membership.Content{Nonce: "j", Dead: true}}, membership.Step{Do: membership.Done}, membership.Judged},
		"another process's":         {membership.Result{Seq: 11, Session: membership.Content{Nonce: "x"}}, membership.Step{Do: membership.Done}, membership.Usurped},
		"deleted":                   {membership.Result{Outcome: membership.NotFound, Seq: 11}, membership.Step{Do: membership.Done}, membership.Removed},
		"absent, but perhaps stale": {membership.Result{Outcome: membership.NotFound}, membership.Step{Do: membership.Update, Expect: 10, Nonce: "w2"}, 0},
		"no answer":                 {membership.Result{Outcome: membership.Unavailable}, membership.Step{Do: membership.Get}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := alive(t)
			m.Next(s)
			m.Result(3*s, membership.Step{Do: membership.Update}, membership.Result{Outcome: membership.Unknown})
			if m.Until() != 12*s {
				t.Errorf("lease: got until %v, want the old 12s", m.Until())
			}
			wantStep(t, m.Next(4*s), membership.Step{Do: membership.Get})
			m.Result(4*s, membership.Step{Do: membership.Get}, tt.read)
			wantStep(t, m.Next(5*s), tt.next)
			if got := m.Lost(); got != tt.lost {
				t.Errorf("lost: got %v, want %v", got, tt.lost)
			}
			if lost := tt.lost != 0; lost == m.Open(5*s) {
				t.Errorf("open: got %v, want %v", m.Open(5*s), !lost)
			}
		})
	}
}

// A session that is gone is lost once its lease has run out, though each read
// could be of an old state.
func TestAbsentSessionIsLostWithItsLease(t *testing.T) {
	t.Parallel()
	m := alive(t)
	for now := s; now < 12*s; now += s {
		if step := m.Next(now); step.Do == membership.Update {
			m.Result(now, step, membership.Result{Outcome: membership.Conflict})
		}
		m.Result(now, membership.Step{Do: membership.Get}, membership.Result{Outcome: membership.NotFound})
		if m.Lost() != membership.NotLost {
			t.Fatalf("lost at %v: got %v, want not yet", now, m.Lost())
		}
	}
	m.Result(12*s, membership.Step{Do: membership.Get}, membership.Result{Outcome: membership.NotFound})
	if m.Lost() != membership.Removed {
		t.Errorf("lost with the lease: got %v, want removed", m.Lost())
	}
}

func TestStandingNeedsThreeGoodSeconds(t *testing.T) {
	t.Parallel()
	m := alive(t)
	good := func(now time.Duration, want bool) {
		t.Helper()
		if got := m.Standing(now).Good; got != want {
			t.Errorf("standing at %v: got %v, want %v", now, got, want)
		}
	}
	renew := func(now time.Duration, r membership.Result) {
		m.Result(now, m.Next(now), r)
	}
	seq := uint64(10)
	for now := s; now <= 4*s; now += s {
		seq++
		renew(now, membership.Result{Seq: seq})
	}
	good(4*s, true)
	good(8*s, false) // nothing for too long
	renew(5*s, membership.Result{Outcome: membership.Unavailable})
	good(5*s, false)
	renew(6*s, membership.Result{Seq: 20})
	good(6*s, false)
	renew(7*s, membership.Result{Seq: 21})
	renew(8*s, membership.Result{Seq: 22})
	renew(9*s, membership.Result{Seq: 23})
	good(9*s+ms, true)
}

var (
	fit    = membership.Standing{Open: true, Good: true}
	nobody = new(membership.Ends) // has ended
)

func newInquest(embedded string) *membership.Inquest {
	return membership.NewInquest(membership.Timing{}.WithDefaults(), embedded)
}

func read(m *membership.Inquest, now time.Duration, r membership.Result) {
	m.Result(now, membership.Step{Do: membership.Get}, r)
}

func TestInquestDeclaresDeadAfterSilence(t *testing.T) {
	t.Parallel()
	m := newInquest("")
	wantStep(t, m.Next(0, fit, nobody), membership.Step{Do: membership.Get})
	same := membership.Result{Seq: 5, Session: membership.Content{Nonce: "a"}}
	for now := time.Duration(0); now < 15*s; now += s {
		read(m, now, same)
	}
	read(m, 15*s-1, same)
	if step := m.Next(15*s-1, fit, nobody); step.Do != membership.Wait {
		t.Errorf("just before 15s: got %+v, want to wait", step)
	}
	for _, own := range []membership.Standing{{Open: true}, {Good: true}} {
		if step := m.Next(15*s, own, nobody); step.Do == membership.Update {
			t.Errorf("with standing %+v: got a verdict, want none", own)
		}
	}
	wantStep(t, m.Next(15*s, fit, nobody), membership.Step{Do: membership.Update, Expect: 5})
	m.Result(15*s, membership.Step{Do: membership.Update}, membership.Result{Outcome: membership.Unknown})
	if m.Status(16 * s).Ended() {
		t.Error("after a verdict with unknown outcome: got ended, want not")
	}
	wantStep(t, m.Next(16*s, fit, nobody), membership.Step{Do: membership.Get})
	read(m, 16*s, membership.Result{Seq: 6, Session: membership.Content{Dead: true}})
	if got := m.Status(16 * s); got != membership.Died {
		t.Errorf("after it was read dead: got %v, want died", got)
	}
}

func TestInquestSeesLife(t *testing.T) {
	t.Parallel()
	m := newInquest("")
	read(m, 0, membership.Result{Seq: 5})
	if got := m.Status(0); got != membership.Unsure {
		t.Errorf("after one read: got %v, want unsure", got)
	}
	read(m, 14*s, membership.Result{Seq: 6})
	if got := m.Status(14 * s); got != membership.Lives {
		t.Errorf("after a change: got %v, want that it lives", got)
	}
	read(m, 15*s, membership.Result{Seq: 5}) // an old state
	if step := m.Next(20*s, fit, nobody); step.Do == membership.Update {
		t.Errorf("6s after a change: got a verdict, want none")
	}
	if got := m.Status(20 * s); got != membership.Unsure {
		t.Errorf("6s after a change: got %v, want unsure", got)
	}
	wantStep(t, m.Next(29*s, fit, nobody), membership.Step{Do: membership.Update, Expect: 6})
}

func TestInquestProvesAbsence(t *testing.T) {
	t.Parallel()
	m := newInquest("")
	read(m, 0, membership.Result{Outcome: membership.NotFound})
	wantStep(t, m.Next(0, fit, nobody), membership.Step{Do: membership.Delete})
	m.Result(0, membership.Step{Do: membership.Delete}, membership.Result{Outcome: membership.Conflict}) // the read was stale
	wantStep(t, m.Next(0, fit, nobody), membership.Step{Do: membership.Get})
	read(m, 0, membership.Result{Outcome: membership.NotFound, Seq: 9})
	if got := m.Status(0); got != membership.Left {
		t.Errorf("after its deletion was read: got %v, want left", got)
	}
	m = newInquest("")
	read(m, 0, membership.Result{Outcome: membership.NotFound})
	m.Result(0, m.Next(0, fit, nobody), membership.Result{})
	if got := m.Status(0); got != membership.Left {
		t.Errorf("after absence was proven: got %v, want left", got)
	}
}

func TestInquestOfAnEmbeddedServersNode(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		own, other string
		atOnce     bool
	}{
		{"S2", "S1", true}, {"S1", "S1", false}, {"", "S1", false}, {"S2", "", false},
	} {
		m := newInquest(tt.own)
		read(m, 0, membership.Result{Seq: 5, Session: membership.Content{Embedded: tt.other}})
		if got := m.Next(0, membership.Standing{Open: true}, nobody).Do == membership.Update; got != tt.atOnce {
			t.Errorf("judge with %q, session with %q: got verdict %v, want %v", tt.own, tt.other, got, tt.atOnce)
		}
		if m.Next(0, membership.Standing{}, nobody).Do == membership.Update {
			t.Error("with a closed gate: got a verdict, want none")
		}
	}
}

func TestTimingDefaults(t *testing.T) {
	t.Parallel()
	got := membership.Timing{Lease: 2 * s}.WithDefaults()
	want := membership.Timing{
		Lease: 2 * s, Renew: 2 * s / 12, Judge: 2500 * ms, Standing: 3 * (2 * s / 12),
		Ping: 200 * ms, Pong: 600 * ms, Event: 700 * ms,
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, tt := range []membership.Timing{{}, {Lease: 2 * s}, {Renew: 100 * ms}, {Ping: 100 * ms}} {
		if err := tt.WithDefaults().Check(); err != nil {
			t.Errorf("%+v: got %v, want nil", tt, err)
		}
	}
}

// A write that may still arrive is feared until the record has passed what it
// expects, however long that takes.
func TestDoubt(t *testing.T) {
	t.Parallel()
	reads := func(seq uint64) *membership.Release {
		m := membership.NewRelease("me", 0)
		m.Result(0, m.Next(0), membership.Result{Seq: seq, Holder: "other"})
		return m
	}
	proven := membership.NewRelease("me", 0)
	proven.Result(0, proven.Next(0), membership.Result{Outcome: membership.NotFound, Seq: 3})
	proven.Result(0, proven.Next(0), membership.Result{})

	var d *membership.Doubt
	d = d.With(7).With(5)
	for _, tt := range []struct {
		now     time.Duration
		release *membership.Release
		want    bool
	}{
		{0, reads(7), false},
		{60 * s, reads(7), false}, // the record of an ended owner, which the write is to replace
		{61 * s, reads(8), false}, // it is refused, unless that read is of an older state
		{62 * s, reads(6), false},
		{63 * s, reads(8), false},
		{77 * s, reads(8), false},
		{78 * s, reads(8), true},
		{0, proven, true},
	} {
		if got := d.Settled(tt.now, tt.release, 15*s); got != tt.want {
			t.Errorf("at %v: got settled %v, want %v", tt.now, got, tt.want)
		}
	}
}
