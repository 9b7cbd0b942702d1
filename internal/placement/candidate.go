package placement

import "time"

const (
	// eachPlace keeps those who follow from taking the lead all at once.
	eachPlace = 50 * time.Millisecond
	// lookAgain is how often the lead record is read, should a copy be lost.
	lookAgain = 5 * time.Second
	// afterNoAnswer is the pause when the store has not answered, afterNoTake
	// that after a vain attempt at the lead.
	afterNoAnswer, afterNoTake = 500 * time.Millisecond, 100 * time.Millisecond
)

// Candidate is a node's part in who leads, by the lead record. Whoever drives it
// asks Next what it wants, does that, and tells it what came of it.
//
//	looking ──another's──▶ following ──it has ended──▶ waiting for its turn
//	   │                                                     │
//	   └──there is none──▶ taking ◀─────────────────────────┘
//	                          └──done──▶ leading
//
// From everywhere a newer state of the record, and a vain attempt to take it, lead
// back to looking.
//
// That the lead is taken only from one that has ended is membership.Claim's doing,
// which takes it.
type Candidate struct {
	self string

	holder string // by the newest state of the record that was seen; empty for none
	seq    uint64 // of that state
	ended  bool   // the holder has

	stand stand
	about uint64 // the state of the record that it stands by
	at    Time   // its turn
	again Time   // not before then is the record read
}

type stand int

const (
	looking stand = iota
	following
	waiting
	taking
	leading
)

// LeadDo is what a [Candidate] wants done.
type LeadDo int

const (
	// LookAtLead reads the lead record: see [Candidate.Looked].
	LookAtLead LeadDo = iota
	// FollowLead waits for the end of the Holder, see [Candidate.Ended], until At.
	FollowLead
	// AwaitTurn waits until At.
	AwaitTurn
	// TakeLead takes the lead record: see [Candidate.Took].
	TakeLead
	// Lead leads, by the record of the sequence Seq.
	Lead
)

// LeadStep is the one thing that a [Candidate] wants done now, as long as it has
// not [Candidate.Saw] another state of the record.
type LeadStep struct {
	Do     LeadDo
	Holder string
	At     Time
	Seq    uint64
}

// NewCandidate makes that of an incarnation.
func NewCandidate(self string) *Candidate { return &Candidate{self: self} }

// Next is what it wants now.
func (c *Candidate) Next(now Time) LeadStep {
	if c.stand != looking && c.stand != taking && c.seq > c.about {
		c.stand, c.again = looking, now
	}
	switch {
	case c.stand == leading:
		return LeadStep{Do: Lead, Seq: c.about}
	case c.stand == waiting && now >= c.at:
		c.stand = taking
		return LeadStep{Do: TakeLead}
	case c.stand == waiting:
		return LeadStep{Do: AwaitTurn, At: c.at}
	case c.stand == taking:
		return LeadStep{Do: TakeLead}
	case c.stand == looking && now < c.again:
		return LeadStep{Do: AwaitTurn, At: c.again}
	case c.stand == following && now < c.again:
		return LeadStep{Do: FollowLead, Holder: c.holder, At: c.again}
	default:
		return LeadStep{Do: LookAtLead}
	}
}

// Saw takes a state of the record that was read, or came as a copy; an older
// one than was seen says nothing. The holder is empty if there is no record.
func (c *Candidate) Saw(holder string, seq uint64) {
	if seq > c.seq {
		c.holder, c.seq, c.ended = holder, seq, false
	}
}

// Looked tells that the record was read, and [Candidate.Saw] it; or that the
// store did not answer.
func (c *Candidate) Looked(now Time, answered bool) {
	switch {
	case c.stand != looking && c.stand != following:
	case !answered:
		c.again = now + afterNoAnswer
	case c.holder == "" || c.holder == c.self:
		c.stand = taking
	default:
		c.stand, c.about, c.again = following, c.seq, now+lookAgain
	}
}

// Ended tells that an incarnation has ended, and who is known to live. If it is
// the leader, each of those has its turn to follow it.
func (c *Candidate) Ended(now Time, incarnation string, living []string) {
	if c.holder != incarnation || c.stand != following || c.about != c.seq {
		return
	}
	place := 0
	for _, other := range living {
		if other != incarnation && other < c.self {
			place++
		}
	}
	c.ended = true
	c.stand, c.at = waiting, now+Time(place)*eachPlace
}

// Took tells that the lead record was made this incarnation's, by the write of
// the sequence seq, or that it was not.
func (c *Candidate) Took(now Time, seq uint64, ok bool) {
	switch {
	case c.stand != taking:
	case ok:
		c.Saw(c.self, seq)
		c.stand, c.about = leading, seq
	default:
		c.stand, c.again = looking, now+afterNoTake
	}
}

// Leader is the incarnation that leads as far as is known, and the sequence of
// the record that says so; empty if none is known that has not ended.
func (c *Candidate) Leader() (incarnation string, seq uint64) {
	if c.ended {
		return "", c.seq
	}
	return c.holder, c.seq
}
