package membership

import "testing"

// What a read shows is no acknowledgement: a name is claimed by a later write
// alone, and a lease is extended by none but its own.
func TestReadsProveNothing(t *testing.T) {
	claim := NewClaim("me")
	claim.Result(0, claim.Next(0), Result{Outcome: Unknown})
	now := contention
	claim.Result(now, claim.Next(now), Result{Outcome: OK, Seq: 7, Holder: "me"})
	if seq, ok := claim.Claimed(); ok {
		t.Errorf("a read that shows this one: got claimed with %d, want another write", seq)
	}
	if got := claim.Next(now); got.Do != Update || got.Expect != 7 {
		t.Errorf("then: got %+v, want an update of 7", got)
	}

	s := NewSession(Timing{}.WithDefaults(), func() string { return "nonce" })
	s.Result(0, s.Next(0), Result{Outcome: OK, Seq: 1})
	until := s.Until()
	now = s.Next(0).At
	renewal := s.Next(now)
	s.Result(now, renewal, Result{Outcome: Unknown})
	now += contention
	s.Result(now, s.Next(now), Result{Outcome: OK, Seq: 2, Session: Content{Nonce: renewal.Nonce}})
	if got := s.Next(now); got.Do != Update || got.Expect != 2 {
		t.Errorf("after a read that shows the renewal: got %+v, want an update of 2", got)
	}
	if got := s.Until(); got != until {
		t.Errorf("a renewal that was read: got a lease until %v, want still %v", got, until)
	}
}
