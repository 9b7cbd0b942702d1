package membership

import (
	"fmt"
	"time"
)

// Timing has the waits of the protocol. The zero value of a field is its default.
type Timing struct {
	// Lease is how long an acknowledged write of a session holds, counted from
	// when it was sent. Default 12 s.
	Lease time.Duration
	// Renew is the time between two such writes. Default 1 s.
	Renew time.Duration
	// Judge is how long a session must have been seen unchanged before it is
	// declared dead. Default 15 s.
	Judge time.Duration
	// Standing is for how long a judge's own writes must have succeeded. Default 3 s.
	Standing time.Duration
}

// Skew is by how much the clock of any node may be fast or slow.
const Skew = 0.08

// WithDefaults fills in.
func (t Timing) WithDefaults() Timing {
	if t == (Timing{}) {
		return Timing{Lease: 12 * time.Second, Renew: time.Second, Judge: 15 * time.Second, Standing: 3 * time.Second}
	}
	if t.Lease == 0 {
		t.Lease = 12 * time.Second
	}
	if t.Renew == 0 {
		t.Renew = t.Lease / 12
	}
	if t.Judge == 0 {
		t.Judge = t.Lease * 5 / 4
	}
	if t.Standing == 0 {
		t.Standing = 3 * t.Renew
	}
	return t
}

// Check refuses times with which two could own a name, or nobody keep one.
func (t Timing) Check() error {
	if t.Renew <= 0 || t.Lease <= 0 || t.Judge <= 0 || t.Standing <= 0 {
		return fmt.Errorf("lease %v, renew %v, judge %v, standing %v: each must be more than 0", t.Lease, t.Renew, t.Judge, t.Standing)
	}
	if least := leastWait(t.Lease); t.Judge < least {
		return fmt.Errorf("judge %v is too short for a lease of %v: with clocks up to %v%% fast or slow it must be %v at least",
			t.Judge, t.Lease, 100*Skew, least)
	}
	if t.Lease < 3*t.Renew {
		return fmt.Errorf("lease %v is too short: it must be three times renew, %v, at least", t.Lease, t.Renew)
	}
	if t.Standing < 2*t.Renew {
		return fmt.Errorf("standing %v is too short: it must be twice renew, %v, at least", t.Standing, t.Renew)
	}
	return nil
}

// leastWait is the shortest wait that outlasts a promise on any two clocks.
func leastWait(promise time.Duration) time.Duration {
	return time.Duration(float64(promise) * (1 + Skew) / (1 - Skew)).Round(time.Millisecond)
}
