package cluster_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/supervisor"
)

func childSpec(name, config string) cluster.SpecRecord {
	return cluster.SpecRecord{
		Name: name, Type: "T", Names: []string{name}, Restart: supervisor.Permanent, Config: json.RawMessage(config), Node: "operator",
	}
}

func onRecord(t *testing.T, s cluster.Store, child string) (cluster.SpecRecord, uint64) {
	t.Helper()
	e, err := s.Get(t.Context(), cluster.Key{Kind: cluster.KindSpec, Name: child})
	if err != nil {
		t.Fatalf("get %s: %v", child, err)
	}
	rec, err := cluster.DecodeSpec(e.Value)
	if err != nil {
		t.Fatalf("decode %s: %v", child, err)
	}
	return rec, e.Seq
}

// The revision grows with what is to run, and with nothing else; over a removal and a
// deletion too. An operator's stop holds.
func TestRevisions(t *testing.T) {
	t.Parallel()
	s := cluster.NewMemory().Open()
	r := join(t, s, "n1")
	last := uint64(0)
	grown := func(what string, err error, want bool) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		rec, seq := onRecord(t, s, "a")
		if rec.Revision > last != want || rec.Revision >= seq {
			t.Errorf("%s: got revision %d of the record %d after %d, want it grown: %v", what, rec.Revision, seq, last, want)
		}
		last = rec.Revision
	}
	seqNow := func() uint64 { _, seq := onRecord(t, s, "a"); return seq }
	_, _, err := r.Bring(t.Context(), childSpec("a", `{"n":1}`))
	grown("brought", err, false)
	_, err = r.MarkStopped(t.Context(), "a", cluster.Stop{Stopped: true, Reason: "by hand"})
	grown("stopped", err, false)
	_, _, err = r.Apply(t.Context(), childSpec("a", `{"n":2}`), seqNow())
	grown("changed", err, true)
	if rec, _ := onRecord(t, s, "a"); !rec.Stopped || rec.Reason != "by hand" || string(rec.Config) != `{"n":2}` || rec.Node != "n1" {
		t.Errorf("changed: got %+v, want it stopped still", rec)
	}
	_, seq, err := r.Apply(t.Context(), childSpec("a", `{ "n": 2 }`), 1)
	grown("changed to the same", err, false)
	if seq != seqNow() {
		t.Errorf("changed to the same: got the sequence %d, want %d", seq, seqNow())
	}
	_, err = r.MarkStopped(t.Context(), "a", cluster.Stop{})
	grown("started", err, false)
	_, err = r.MarkStopped(t.Context(), "a", cluster.Stop{Stopped: true, Done: true, Ran: 0})
	grown("an older one ended", err, false)
	if rec, _ := onRecord(t, s, "a"); rec.Stopped {
		t.Errorf("an older one ended: got %+v, want it to run", rec)
	}
	_, err = r.MarkStopped(t.Context(), "a", cluster.Stop{Stopped: true, Done: true, Ran: last})
	grown("it ended", err, false)
	_, _, err = r.Apply(t.Context(), childSpec("a", `{"n":3}`), seqNow())
	grown("changed once it had ended", err, true)
	if rec, _ := onRecord(t, s, "a"); rec.Stopped {
		t.Errorf("changed once it had ended: got %+v, want it to run", rec)
	}
	_, err = r.Remove(t.Context(), "a", seqNow())
	grown("removed", err, true)
	if rec, _ := onRecord(t, s, "a"); !rec.Removed || !rec.Stopped || rec.Config != nil {
		t.Errorf("removed: got %+v, want that alone", rec)
	}
	if seq, err := r.Remove(t.Context(), "a", 1); err != nil || seq != seqNow() {
		t.Errorf("removed again: got %d, %v, want nothing done", seq, err)
	}
	if _, err := r.MarkStopped(t.Context(), "a", cluster.Stop{}); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("mark of one that was removed: got %v, want ErrNotFound", err)
	}
	if _, _, err := r.Apply(t.Context(), childSpec("a", `{"n":4}`), seqNow()); !errors.Is(err, cluster.ErrChanged) {
		t.Errorf("changed as if it was there: got %v, want ErrChanged", err)
	}
	_, _, err = r.Bring(t.Context(), childSpec("a", `{"n":4}`))
	grown("brought again", err, true)
	if err := s.Delete(t.Context(), cluster.Key{Kind: cluster.KindSpec, Name: "a"}, seqNow()); err != nil {
		t.Fatal(err)
	}
	_, _, err = r.Apply(t.Context(), childSpec("a", `{"n":5}`), 0)
	grown("written after a deletion", err, true)
}

// An unknown outcome is settled: it is written once, or it was.
func TestUnknownApplyIsSettled(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string][]fault{
		"done": {unknownDone}, "lost": {unknownLost, unknownLost}, "late": {unknownLate}, "away": {unavailable, unavailable},
	} {
		s := &faultStore{Store: cluster.NewMemory().Open()}
		r := join(t, s, "n1")
		_, seq, err := r.Bring(t.Context(), childSpec("a", `{"n":1}`))
		if err != nil {
			t.Fatal(err)
		}
		left := faults
		s.on(func(op string, _ cluster.Key) fault {
			if op == "update" && len(left) > 0 {
				f := left[0]
				left = left[1:]
				return f
			}
			return none
		})
		holds, after, err := r.Apply(t.Context(), childSpec("a", `{"n":2}`), seq)
		s.release()
		rec, now := onRecord(t, s, "a")
		if err != nil || after != now || rec.Revision != seq || holds.Revision != seq || string(rec.Config) != `{"n":2}` {
			t.Errorf("%s: got %+v, %d, %v, and %+v, %d on record; want revision %d", name, holds, after, err, rec, now, seq)
		}
	}
}
