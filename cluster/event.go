package cluster

import "time"

// EventKind says what has happened.
type EventKind string

// The events of a cluster.
const (
	// EventJoin means that a node has joined.
	EventJoin EventKind = "join"
	// EventLeave means that a node has left in good order.
	EventLeave EventKind = "leave"
	// EventDead means that a node was declared dead, by another.
	EventDead EventKind = "dead"
	// EventTakeOver means that a node has taken a name over from one that has ended.
	EventTakeOver EventKind = "takeover"
	// EventFenced means that a node has lost its session, or one of its names, and acts no more.
	EventFenced EventKind = "fenced"
	// EventRestart means that a supervisor has started a server anew.
	EventRestart EventKind = "restart"
	// EventEscalate means that a supervisor has given up.
	EventEscalate EventKind = "escalate"
	// EventUnplaceable means that no node can run a child of the cluster's root.
	EventUnplaceable EventKind = "unplaceable"
)

// EventKinds are all of them.
func EventKinds() []EventKind {
	return []EventKind{
		EventJoin, EventLeave, EventDead, EventTakeOver, EventFenced, EventRestart, EventEscalate, EventUnplaceable,
	}
}

// Event is something that has happened in a cluster, for people and their
// tools: nothing is decided by it. Fields that an event has no use for are empty.
type Event struct {
	Version int       `json:"v"`
	Time    time.Time `json:"time"`
	Kind    EventKind `json:"event"`
	// Node and Incarnation are those that it happened to, or on.
	Node        string `json:"node,omitempty"`
	Incarnation string `json:"incarnation,omitempty"`
	// Server is the name it is about, Epoch the name's.
	Server string `json:"server,omitempty"`
	Epoch  uint64 `json:"epoch,omitempty"`
	// From is the incarnation that had the name before.
	From   string `json:"from,omitempty"`
	Reason string `json:"reason,omitempty"`
	// TraceID is of the trace that it is part of.
	TraceID string `json:"trace_id,omitempty"`
}
