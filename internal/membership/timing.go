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

	// Ping is the time between two PINGs to a witness. Default 200 ms.
	Ping time.Duration
	// Pong is how long a witness's answer holds, counted from when its PING was
	// sent. Default 3 times Ping.
	Pong time.Duration
	// Event is how long after the last of its witnesses' ends was told a session
	// is declared dead. Default 7/6 of Pong.
	Event time.Duration
}

// Skew is by how much the clock of any node may be fast or slow.
const Skew = 0.075

// WithDefaults fills in.
func (t Timing) WithDefaults() Timing {
	t.Lease = or(t.Lease, 12*time.Second)
	t.Renew = or(t.Renew, t.Lease/12)
	t.Judge = or(t.Judge, judgeFor(t.Lease))
	t.Standing = or(t.Standing, 3*t.Renew)
	t.Ping = or(t.Ping, 200*time.Millisecond)
	t.Pong = or(t.Pong, 3*t.Ping)
	t.Event = or(t.Event, eventFor(t.Pong))
	return t
}

// judgeFor and eventFor outlast a lease and a PONG on any two clocks.
func judgeFor(lease Time) Time { return lease * 5 / 4 }
func eventFor(pong Time) Time  { return pong * 7 / 6 }

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// Silence is how long a witness may owe a PONG before it is given up: closed,
// and pinged no more, so that its server notices too.
func (t Timing) Silence() time.Duration { return 5 * t.Ping }

// Check refuses times with which two could own a name, or nobody keep one.
func (t Timing) Check() error {
	for _, wait := range []time.Duration{t.Renew, t.Lease, t.Judge, t.Standing, t.Ping, t.Pong, t.Event} {
		if wait <= 0 {
			return fmt.Errorf("lease %v, renew %v, judge %v, standing %v, ping %v, pong %v, event %v: each must be more than 0",
				t.Lease, t.Renew, t.Judge, t.Standing, t.Ping, t.Pong, t.Event)
		}
	}
	if err := outlasts("judge", t.Judge, "a lease", t.Lease); err != nil {
		return err
	}
	if err := outlasts("event", t.Event, "a pong", t.Pong); err != nil {
		return err
	}
	if t.Lease < 3*t.Renew {
		return fmt.Errorf("lease %v is too short: it must be three times renew, %v, at least", t.Lease, t.Renew)
	}
	if t.Standing < 2*t.Renew {
		return fmt.Errorf("standing %v is too short: it must be twice renew, %v, at least", t.Standing, t.Renew)
	}
	if t.Pong < 2*t.Ping {
		return fmt.Errorf("pong %v is too short: it must be twice ping, %v, at least", t.Pong, t.Ping)
	}
	return nil
}

// outlasts checks a wait against the promise that it is to outlast on any two clocks.
func outlasts(wait string, w time.Duration, promise string, p time.Duration) error {
	least := time.Duration(float64(p) * (1 + Skew) / (1 - Skew)).Round(time.Millisecond)
	if w >= least {
		return nil
	}
	return fmt.Errorf("%s %v is too short for %s of %v: with clocks up to %v%% fast or slow it must be %v at least",
		wait, w, promise, p, 100*Skew, least)
}
