package membership

// Release makes sure that a record does not name this incarnation, and will not
// by a write of it that is still on its way.
//
//	the very record ──OK, or another's by now──▶ done
//	whatever there is: read it ──another's──▶ done
//	       ▲ else                └─ this one's, or absent ▶ delete that ──OK──▶ done
//	       └───────────────────────────────────────────────────┘
//
// An absent record is deleted too: what was sent before expects the sequence
// that this uses up.
type Release struct {
	self  string
	exact bool // a record of known sequence
	seq   uint64
	phase releasePhase
	again Time

	proven bool
}

type releasePhase int

const (
	looking releasePhase = iota
	deleting
	released
)

// NewRelease begins one of the record that has the sequence seq, or, if seq is
// 0, of whatever may name the incarnation self.
func NewRelease(self string, seq uint64) *Release {
	r := &Release{self: self, exact: seq > 0, seq: seq}
	if r.exact {
		r.phase = deleting
	}
	return r
}

// Next is what the release wants done now.
func (r *Release) Next(now Time) Step {
	switch {
	case r.phase == released:
		return Step{Do: Done}
	case now < r.again:
		return Step{Do: Wait, At: r.again}
	case r.phase == deleting:
		return Step{Do: Delete, Expect: r.seq}
	default:
		return Step{Do: Get}
	}
}

// Result tells what came of the step before.
func (r *Release) Result(now Time, step Step, res Result) {
	switch {
	case res.Outcome == Unavailable || res.Outcome == Unknown:
		r.again = now + contention
		if !r.exact {
			r.phase = looking
		}
	case step.Do == Get && res.Outcome == OK && res.Holder != r.self:
		r.phase, r.seq = released, res.Seq
	case step.Do == Get:
		r.phase, r.seq = deleting, res.Seq
	case res.Outcome == OK || r.exact:
		r.phase, r.proven = released, true
	default:
		r.phase = looking
	}
}

// Proven reports that a write has shown the record not to be this incarnation's.
// A release that is done and not proven has only read so, perhaps an old state.
func (r *Release) Proven() bool { return r.proven }

// Doubt is about a name that may be recorded as this incarnation's though it
// does not own it: a write of its was never acknowledged, and may arrive at any
// time.
type Doubt struct {
	// Expect is the highest sequence that such a write expects: it is refused
	// once the record has a higher one. 0 if it expects that there is none.
	Expect uint64

	read  bool
	since Time
}

// With is the doubt about one more such write; d may be nil.
func (d *Doubt) With(expect uint64) *Doubt {
	if d != nil {
		expect = max(expect, d.Expect)
	}
	return &Doubt{Expect: expect}
}

// Settled takes the end of a [Release] and reports whether the doubt is over:
// the release was proven, or it has read the record past what the write
// expects, and reads have said so for as long as sure. (A read that is older
// than the write may show a record that was gone when a Create was sent.)
func (d *Doubt) Settled(now Time, r *Release, sure Time) bool {
	if r.proven {
		return true
	}
	if r.seq <= d.Expect {
		d.read = false
		return false
	}
	if !d.read {
		d.read, d.since = true, now
	}
	return now-d.since >= sure
}
