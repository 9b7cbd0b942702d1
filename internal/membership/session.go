package membership

// Session is a node's own session: the record that says it lives, renewed by
// compare-and-set, the lease that each acknowledged renewal gives, and the
// witnesses that it names.
//
//	          Create acknowledged             read: dead, gone, or another's
//	joining ─────────────────────▶ alive ──────────────────────────────────▶ lost
//	                               │  ▲
//	 no acknowledgement for a lease,  │ both again
//	 or no PONG of a witness named ▼  │
//	                              closed
//
// Open tells alive from closed. Lost is final.
type Session struct {
	timing Timing
	nonce  func() string

	seq   uint64 // of the newest version that is known to be ours; 0 while joining
	mine  string // the nonce of that version
	next  string // the nonce of the version to come
	until Time   // the lease's end
	lost  Reason

	witnesses testimony

	sent     Time // when the write under way, or the last one, was sent
	again    Time // not before then is anything sent
	mustRead bool
	strayed  bool // a write met a conflict

	proven    bool // the last write succeeded
	provenAt  Time // since when all have
	lastProof Time
}

// Reason is why a session was lost.
type Reason int

const (
	// NotLost means that it is not.
	NotLost Reason = iota
	// Judged means that another node has declared it dead.
	Judged
	// Usurped means that another process writes it.
	Usurped
	// Removed means that its record is gone.
	Removed
)

func (r Reason) String() string {
	return [...]string{
		NotLost: "not lost",
		Judged:  "another node has declared it dead after it was silent for too long",
		Usurped: "another process has written its session",
		Removed: "its session was removed",
	}[r]
}

// NewSession makes the session of an incarnation that nobody has had before.
// nonce makes a new token each time.
func NewSession(t Timing, nonce func() string) *Session {
	return &Session{timing: t, nonce: nonce, next: nonce()}
}

// Next is what the session wants done now. A write that it asks for is counted
// from now, so nothing may delay that reading of the clock until after the sending.
func (s *Session) Next(now Time) Step {
	switch {
	case s.lost != NotLost:
		return Step{Do: Done}
	case now < s.again:
		return Step{Do: Wait, At: s.again}
	case s.mustRead:
		return Step{Do: Get}
	default:
		return s.write(now)
	}
}

// write is the next version: none of the witnesses that count is missing in it.
func (s *Session) write(now Time) Step {
	s.sent = now
	step := Step{Do: Create, Nonce: s.next, Witnesses: s.witnesses.current()}
	if s.seq > 0 {
		step.Do, step.Expect = Update, s.seq
	}
	s.witnesses.sent(step.Witnesses)
	return step
}

// Result tells what came of the step before.
func (s *Session) Result(now Time, step Step, r Result) {
	if s.lost != NotLost {
		return
	}
	if step.Do == Get {
		s.read(now, r)
		return
	}
	switch r.Outcome {
	case OK:
		s.adopt(r.Seq, s.next)
		s.until = max(s.until, s.sent+s.timing.Lease)
		s.witnesses.acknowledged(step.Witnesses)
		s.again = s.sent + s.timing.Renew
		if s.witnesses.current() != step.Witnesses {
			s.rename(now)
		}
		s.prove(now)
		return
	case Unknown:
		s.mustRead = true
		s.again = now + contention
	case Conflict:
		s.strayed = true
		s.mustRead = true
	case Unavailable, NotFound:
		s.again = now + s.retry()
	}
	s.proven = false
}

func (s *Session) read(now Time, r Result) {
	switch {
	case r.Outcome == OK:
		s.mustRead = false
		s.Saw(r.Seq, r.Session)
		if s.strayed && s.lost == NotLost { // the read was of an older state
			s.again = now + s.retry()
			s.mustRead = true
		}
	case r.Outcome == NotFound && r.Seq > s.seq && s.seq > 0:
		s.lost = Removed
	case r.Outcome == NotFound && s.seq == 0:
		s.mustRead, s.strayed = false, false
	case r.Outcome == NotFound && now >= s.until:
		s.lost = Removed
	case r.Outcome == NotFound:
		s.mustRead, s.strayed = false, false
		s.again = now + s.retry()
	default:
		s.again = now + s.retry()
	}
}

// Saw takes a version of the session's record that was read or watched.
func (s *Session) Saw(seq uint64, c Content) {
	switch {
	case s.lost != NotLost || seq < s.seq:
	case c.Dead:
		s.lost = Judged
	case seq == s.seq:
		s.lost = s.unless(c.Nonce == s.mine)
	case c.Nonce == s.next:
		s.adopt(seq, c.Nonce)
	default:
		s.lost = Usurped
	}
}

func (s *Session) unless(ours bool) Reason {
	if ours {
		return NotLost
	}
	return Usurped
}

// adopt takes a newer version as ours. It's no acknowledgement: it extends nothing.
func (s *Session) adopt(seq uint64, nonce string) {
	s.mustRead, s.strayed = false, false
	if seq <= s.seq {
		return
	}
	s.seq, s.mine, s.next = seq, nonce, s.nonce()
}

func (s *Session) prove(now Time) {
	if !s.proven || now-s.lastProof > s.timing.Standing {
		s.provenAt = now
	}
	s.proven, s.lastProof = true, now
}

// retry is the pause after what was refused at once.
func (s *Session) retry() Time { return s.timing.Renew / 4 }

// Until is when the session closes: with its lease, or with the last PONG of
// its witnesses if it names any.
func (s *Session) Until() Time {
	if s.lost != NotLost {
		return 0
	}
	return s.witnesses.limit(s.until)
}

// Lease is until when the last acknowledged renewal holds, whatever the
// witnesses say.
func (s *Session) Lease() Time { return s.until }

// Open reports whether this incarnation may act.
func (s *Session) Open(now Time) bool { return now < s.Until() }

// Joined reports whether the record has been acknowledged.
func (s *Session) Joined() bool { return s.seq > 0 }

// Lost says why the session has ended for good, or [NotLost].
func (s *Session) Lost() Reason { return s.lost }

// Standing is the session's as a judge.
func (s *Session) Standing(now Time) Standing {
	return Standing{
		Open: s.Open(now),
		Good: s.proven && now-s.provenAt >= s.timing.Standing && now-s.lastProof <= s.timing.Standing,
	}
}

// Standing is what entitles a node to declare others dead.
type Standing struct {
	// Open: its own gate is open.
	Open bool
	// Good: its own writes have succeeded for some time.
	Good bool
}
