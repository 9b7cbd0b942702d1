package node

import (
	"fmt"

	"github.com/civitas-go/civitas/cluster"
)

// Failover says how soon a node that dies is succeeded where NATS tells
// disconnect events. Without them both take as long.
type Failover string

const (
	// FailoverNormal has a node declared dead 700 ms after its connections have
	// ended; a pause of 600 ms closes a living node's gate. The default.
	FailoverNormal Failover = "normal"
	// FailoverFast takes half of that, and half the pauses: see
	// cluster.FastTiming. For hosts and networks that don't stall.
	FailoverFast Failover = "fast"
)

// timing is what the node is to have.
func (f Failover) timing(t cluster.Timing) (cluster.Timing, error) {
	switch f {
	case "", FailoverNormal:
		return t, nil
	case FailoverFast:
		fast := cluster.FastTiming()
		if t.Ping != 0 || t.Pong != 0 || t.Event != 0 {
			return t, fmt.Errorf("Failover: %q sets Ping, Pong and Event, which Timing sets too", f)
		}
		t.Ping, t.Pong, t.Event = fast.Ping, fast.Pong, fast.Event
		return t, nil
	default:
		return t, fmt.Errorf("Failover: %q is neither %q nor %q", f, FailoverNormal, FailoverFast)
	}
}
