package membership

import "time"

// Time is a reading of the node's own monotonic clock.
type Time = time.Duration

// Do is what a machine wants done.
type Do int

// What a machine can want. Each machine is about one record, or, for [Ask],
// about one session.
const (
	// Wait means until At, or until something of interest has changed.
	Wait Do = iota
	// Get reads the record.
	Get
	// Create writes it where there is none.
	Create
	// Update replaces the one that has the sequence Expect.
	Update
	// Delete removes the one that has the sequence Expect, or makes sure that a
	// late write that expects the deletion Expect is refused.
	Delete
	// Ask wants the state of the session Holder: see [Claim.Answer].
	Ask
	// Question asks the servers of Witnesses whether those connections have ended,
	// once. What a server says goes to [Ends].
	Question
	// Done means that there is nothing more to do.
	Done
)

// Step is the one thing that a machine wants done now.
type Step struct {
	Do     Do
	At     Time
	Expect uint64
	// Nonce and Witnesses are for a session's own record, to be written into it.
	// Of a Question, Witnesses are those of a session's that are not known to have ended.
	Nonce     string
	Witnesses Witnesses
	// Holder is the incarnation that Ask is about.
	Holder string
}

// Outcome is what came of an operation on the store.
type Outcome int

const (
	// OK means done, and acknowledged.
	OK Outcome = iota
	// NotFound means that the read found no record. Result.Seq is that of the deletion, or 0.
	NotFound
	// Conflict means not done, as the record is another than expected.
	Conflict
	// Unavailable means not done.
	Unavailable
	// Unknown means that it may be done, or be done later, or never.
	Unknown
)

// Result tells a machine what came of its step.
type Result struct {
	Outcome Outcome
	// Seq is the sequence of the write, or of the record that was read.
	Seq uint64
	// Session is what was read of a session's record.
	Session Content
	// Holder is the incarnation that an own or node record names, as it was read.
	Holder string
}

// Content is what matters here of a session's record.
type Content struct {
	// Nonce tells which write made this version of it.
	Nonce string
	// Dead is final.
	Dead bool
	// Witnesses are the connections whose ends mean the incarnation's.
	Witnesses Witnesses
	// Lease and Pong are what each of its writes and each PONG is worth to it; 0
	// if it doesn't say.
	Lease, Pong time.Duration
	// Embedded is the id of the NATS server in that process, which alone had
	// the cluster's records; empty if there is none.
	Embedded string
}
