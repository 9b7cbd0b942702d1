// Package membership is the decision core of a cluster: who lives, who may
// act, and who bears a name. It reads no clock, sends nothing and waits for
// nothing, so the same code runs against JetStream and in a simulation.
//
// There are four machines, each of which wants one thing at a time:
//
//	Session   one node's own session: its renewals, its lease, its end
//	Inquest   whether another's session has ended, one inquest per session
//	Claim     making a name one's own
//	Release   giving it back, or making sure that it is not one's own
//
// Whoever drives one asks Next what it wants, does that, and tells it by
// Result, again and again:
//
//	for {
//		step := m.Next(now())
//		switch step.Do {
//		case membership.Wait: // until step.At, or until something has changed
//		case membership.Done: return
//		default: m.Result(now(), step, do(step)) // one operation on the store
//		}
//	}
//
// The times are of the node's own monotonic clock, counted from anywhere. A
// step's time is taken by Next, before it is sent: what the store acknowledges
// is counted from then, however late the acknowledgement.
//
// None of the types may be used from two goroutines at once.
package membership
