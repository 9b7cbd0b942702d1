package cluster

import (
	"context"
	"errors"
)

// Links is what a node needs of NATS besides the records, for its death to be
// noticed at once: witnesses of its own life, and word of the ends of others'.
// Its methods may be called from anywhere.
type Links interface {
	// DialWitness opens a connection of its own to a NATS server that is none of
	// except, which are server ids. It waits no longer than ctx. The error says
	// what was tried; there may be no other server.
	DialWitness(ctx context.Context, except []string) (WitnessConn, error)
	// Disconnects calls fn for each connection whose end its server tells, one at
	// a time, from a goroutine of the Links'. Words can be late, come twice, or
	// never. stop ends that and waits until fn is not and will not be running.
	//
	// ErrNoEvents: this NATS tells none, or anyone could tell them; the text says
	// what to do about it. That can change when the connection to NATS does: then
	// state is called with an ErrNoEvents, and with nil when there are words again;
	// until then it was called with nil once, before Disconnects returned. It is
	// called as fn is, and stop waits for it too.
	Disconnects(ctx context.Context, fn func(Witness), state func(error)) (stop func(), err error)
	// Ended asks the servers of some connections whether those have ended, and returns
	// the ones of which their own server has said so; of the others nothing follows. It
	// waits no longer than ctx. An error says that there are no answers, or not all of
	// them: ErrNotAsked that there will be none, and what to do about it.
	Ended(ctx context.Context, connections []Witness) ([]Witness, error)
}

// WitnessConn is a connection whose end, told by its server, says that its
// node may have died. It is not dialled anew.
type WitnessConn interface {
	// Witness is the connection, as its server knows it.
	Witness() Witness
	// Ping sends a PING and waits for its PONG, no longer than ctx. It is called
	// by one goroutine at a time.
	Ping(ctx context.Context) error
	// Done is closed when the connection has ended.
	Done() <-chan struct{}
	// Close ends it; it may be called again.
	Close()
}

// ErrNotAsked means that NATS servers are not asked about connections: this node's
// user may not, others could answer in their place, or the answer would say nothing.
var ErrNotAsked = errors.New("NATS is not asked about connections")

// ErrNoEvents means that this NATS does not tell of the ends of connections.
var ErrNoEvents = errors.New("NATS tells no disconnect events")
