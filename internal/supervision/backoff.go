package supervision

import (
	"fmt"
	"math"
	"time"
)

// Backoff is the wait between a crash and the restart. OTP has none; the zero
// value is like OTP.
//
// A child's attempts are counted from one, and from one again after it has run
// for a healthy period: the restart window, or twice its last wait if that is
// longer.
type Backoff struct {
	// Growth is how the wait grows with a child's attempts.
	Growth Growth
	// Base is the wait before the first attempt.
	Base time.Duration
	// Max caps the wait, jitter included; 0 for no cap.
	Max time.Duration
	// Jitter lengthens each wait by a random part of it, at most this one: 0
	// for none, up to MaxJitter. It keeps servers that crashed together from
	// coming back together.
	Jitter float64
}

// MaxJitter is the largest Jitter: a quarter.
const MaxJitter = 0.25

// Growth says how a wait depends on the attempt n.
type Growth uint8

const (
	// NoBackoff restarts at once.
	NoBackoff Growth = iota
	// Constant always waits Base.
	Constant
	// Linear waits n times Base.
	Linear
	// Exponential waits Base, doubled n-1 times.
	Exponential
)

// String is the growth's name in specs and logs.
func (g Growth) String() string {
	return word(g, "none", "constant", "linear", "exponential")
}

// longest keeps sums of an instant and a wait far from overflow.
const longest = 365 * 24 * time.Hour

// delay is the wait before attempt n, counted from 1. The cap comes last, so
// that no jitter exceeds it. A nil rand is no jitter.
func (b Backoff) delay(n int, rand func() float64) time.Duration {
	var wait float64
	switch b.Growth {
	case Constant:
		wait = float64(b.Base)
	case Linear:
		wait = float64(b.Base) * float64(n)
	case Exponential:
		wait = float64(b.Base) * math.Exp2(float64(n-1))
	default:
		return 0
	}
	if b.Jitter > 0 && rand != nil {
		wait += wait * b.Jitter * rand()
	}
	limit := longest
	if b.Max > 0 && b.Max < longest {
		limit = b.Max
	}
	if !(wait < float64(limit)) { // also where doubling has left the numbers: an infinity without jitter is NaN
		return limit
	}
	return time.Duration(wait)
}

// healthy is how long a child must run for its attempts to be forgotten.
func healthy(window, last time.Duration) time.Duration {
	return max(window, 2*last)
}

func (b Backoff) validate() error {
	switch {
	case b.Growth > Exponential:
		return fmt.Errorf("growth: %d is none", b.Growth)
	case b.Growth == NoBackoff && b != Backoff{}:
		return fmt.Errorf("growth: none, but other fields are set")
	case b.Growth != NoBackoff && b.Base <= 0:
		return fmt.Errorf("base: %v is not positive", b.Base)
	case b.Max < 0 || b.Max > 0 && b.Max < b.Base:
		return fmt.Errorf("max: %v is less than base, %v", b.Max, b.Base)
	case !(b.Jitter >= 0 && b.Jitter <= MaxJitter):
		return fmt.Errorf("jitter: %v is not in 0 to %v", b.Jitter, MaxJitter)
	}
	return nil
}
