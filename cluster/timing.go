package cluster

import (
	"time"

	"github.com/civitas-go/civitas/internal/membership"
)

// Timing has the waits by which nodes tell life from death. Nodes of one
// cluster may have different ones, as while they are changed: a session says what it
// promises itself, and no judge waits less than that takes. The zero value is
// the default; of a value with some fields set, the others follow from Lease
// and Ping. [Join] refuses times with
// which two nodes could own one name, or a healthy node lose its own, and says
// which are short.
type Timing struct {
	// Lease is how long a node may act after it has sent a renewal of its
	// session that was acknowledged. Default 12 s: an election of the store's
	// leader, which takes up to 8 s, stops nobody.
	Lease time.Duration
	// Renew is the time between two renewals. Default a twelfth of Lease.
	Renew time.Duration
	// Judge is how long a session must have been seen unchanged before its
	// node is declared dead. Default 5/4 of Lease, which allows clocks that run
	// 11 % fast or slow.
	Judge time.Duration
	// Standing is for how long the writes of a node must have succeeded before
	// it may declare another dead. Default 3 times Renew.
	Standing time.Duration

	// Ping is the time between two PINGs to each witness: see [Links]. Default 200 ms.
	Ping time.Duration
	// Pong is how long a witness's answer holds, counted from when its PING was
	// sent. Default 3 times Ping.
	Pong time.Duration
	// Event is how long after its witnesses' ends were told a node is declared
	// dead. Default 7/6 of Pong, which allows clocks that run 7.5 % fast or slow.
	Event time.Duration
}

func (t Timing) withDefaults() membership.Timing { return membership.Timing(t).WithDefaults() }

// FastTiming is the default with failover in half the time, where disconnect
// events are told: twice as many PINGs, and a pause of 300 ms closes the gate.
func FastTiming() Timing {
	return Timing{Ping: 100 * time.Millisecond, Pong: 300 * time.Millisecond, Event: 350 * time.Millisecond}
}
