package membership

import "time"

// contention is the pause between tries to write a record that keeps changing,
// or that the store does not answer for.
const contention = 20 * time.Millisecond

// Claim makes a record name this incarnation: an own record, or a node's. It is
// done only by a write that was acknowledged; that a read shows this
// incarnation's name is the reason for another write.
//
//	create ──OK──▶ done        ask ──lives──▶ refused
//	  │ else                    ▲ └──ended──▶ update ──OK──▶ done
//	  ▼          another's      │               │ else
//	 read ──────────────────────┘               ▼
//	  └─ absent ▶ create, this one's ▶ update  read
type Claim struct {
	self string

	phase   claimPhase
	again   Time
	unknown bool   // a write's outcome is, and none was acknowledged since
	seq     uint64 // of the record that was read; then of the one that was written
	expect  uint64 // by the last Update
	holder  string // whom it names
	from    string // the holder that was succeeded
}

type claimPhase int

const (
	creating claimPhase = iota
	reading
	updating
	asking
	claimed
	refused
)

// NewClaim begins one for the incarnation self.
func NewClaim(self string) *Claim { return &Claim{self: self} }

// Next is what the claim wants done now.
func (c *Claim) Next(now Time) Step {
	if now < c.again {
		return Step{Do: Wait, At: c.again}
	}
	switch c.phase {
	case creating:
		return Step{Do: Create}
	case reading:
		return Step{Do: Get}
	case updating:
		c.expect = c.seq
		return Step{Do: Update, Expect: c.seq}
	case asking:
		return Step{Do: Ask, Holder: c.holder}
	default:
		return Step{Do: Done}
	}
}

// Result tells what came of the step before.
func (c *Claim) Result(now Time, step Step, r Result) {
	if step.Do == Get {
		c.read(now, r)
		return
	}
	switch r.Outcome {
	case OK:
		c.phase, c.seq, c.unknown = claimed, r.Seq, false
		return
	case Unknown:
		c.unknown = true
	default: // it isn't done, nor will it be
	}
	c.phase = reading
	if r.Outcome != Conflict {
		c.again = now + contention
	}
}

func (c *Claim) read(now Time, r Result) {
	c.from = ""
	switch {
	case r.Outcome == NotFound:
		c.phase = creating
	case r.Outcome != OK:
		c.again = now + contention
	case r.Holder == c.self:
		c.seq, c.phase = r.Seq, updating
	default:
		c.seq, c.holder, c.phase = r.Seq, r.Holder, asking
	}
}

// Answer tells what is known of the holder that Ask was about.
func (c *Claim) Answer(s Status) {
	switch {
	case c.phase != asking:
	case s.Ended():
		c.from = c.holder
		c.phase = updating
	case s == Lives:
		c.phase = refused
	}
}

// Claimed is the sequence of the write that made the record this incarnation's.
func (c *Claim) Claimed() (seq uint64, ok bool) { return c.seq, c.phase == claimed }

// Refused is the record of the living holder.
func (c *Claim) Refused() (seq uint64, holder string, ok bool) {
	return c.seq, c.holder, c.phase == refused
}

// From is the ended incarnation that had the record before; empty for none.
func (c *Claim) From() string { return c.from }

// Expect is the sequence that the last Update expects, 0 if there was none: see [Doubt].
func (c *Claim) Expect() uint64 { return c.expect }

// Unknown reports that the record may be this incarnation's, or may become so,
// although the claim has not been acknowledged.
func (c *Claim) Unknown() bool { return c.unknown }
