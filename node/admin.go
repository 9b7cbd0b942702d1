package node

import (
	"time"

	"github.com/civitas-go/civitas/genserver"
)

// AdminName is the server that every node has for those who look after it. It
// answers the messages below: calls from other nodes, by
// n.Ref(AdminName).On("n2"), and requests of any NATS client, on the subjects
// that docs/wire.md describes.
const AdminName = "_node"

type (
	// AskStatus asks a node how it is.
	AskStatus struct{ genserver.Returns[Status] }

	// ListServers asks for the servers and supervisors of a node, in the order
	// of their paths. An answer has as many as fit into a message; the next one
	// begins after the path that it ends with.
	ListServers struct {
		genserver.Returns[Servers]
		// After is the path to begin after; "" for the beginning.
		After string `json:"after,omitempty"`
		// Limit is the most that are wanted; 0 for as many as fit.
		Limit int `json:"limit,omitempty"`
	}

	// InspectServer asks about one server or supervisor. The error is ErrNoServer.
	InspectServer struct {
		genserver.Returns[ServerInfo]
		Name string `json:"name"`
	}

	// StopServer asks for the end of a supervised server: as
	// supervisor.TerminateChild it is not started again until RestartServer, and
	// a temporary one, or one of a dynamic supervisor, is forgotten. The answer
	// comes once it has ended. The error is ErrNoServer or ErrUnsupervised.
	StopServer struct {
		genserver.Returns[ServerInfo]
		Name string `json:"name"`
	}

	// RestartServer asks for a new generation of a supervised server, stopped or
	// not. It costs nothing of the supervisor's restart limit. The answer comes
	// after its init. The error is ErrNoServer, ErrUnsupervised or a
	// supervisor's; supervisor.ErrDynamic for what a Dynamic started, which it
	// could not start again.
	RestartServer struct {
		genserver.Returns[ServerInfo]
		Name string `json:"name"`
	}

	// ApplyChild asks for a child of the cluster's tree to be on record as it is to run
	// from now on; the leader sees to that. An operator's stop of it holds. Any node will
	// do. The error is ErrChanged, ErrBadRecord, ErrNotApplied or ErrNoCluster.
	ApplyChild struct {
		genserver.Returns[Applied]
		// Record is a cluster.SpecRecord's JSON.
		Record []byte `json:"record"`
		// Seq is the sequence of the record that it replaces, 0 for none: that of one
		// that was removed does not count.
		Seq uint64 `json:"seq,omitempty"`
	}

	// RemoveChild asks for a child to be taken out of the cluster's tree: it's stopped
	// where it runs, and forgotten. A node that starts with it in its own tree brings it
	// again. The error is as of ApplyChild.
	RemoveChild struct {
		genserver.Returns[Applied]
		Name string `json:"name"`
		// Seq is the sequence of its record.
		Seq uint64 `json:"seq"`
	}

	// AskChildren asks the leader, through any node, what has become of children of the
	// cluster's tree. Those whose records it does not know yet are not in the answer.
	AskChildren struct {
		genserver.Returns[Children]
		// Children are their names, and the sequences of their records.
		Children map[string]uint64 `json:"children"`
	}
)

// Op is the message's name on the wire.
func (AskStatus) Op() string { return "status" }

// Op is the message's name on the wire.
func (ListServers) Op() string { return "ps" }

// Op is the message's name on the wire.
func (InspectServer) Op() string { return "inspect" }

// Op is the message's name on the wire.
func (StopServer) Op() string { return "stop" }

// Op is the message's name on the wire.
func (RestartServer) Op() string { return "restart" }

// Op is the message's name on the wire.
func (ApplyChild) Op() string { return "apply" }

// Op is the message's name on the wire.
func (RemoveChild) Op() string { return "remove" }

// Op is the message's name on the wire.
func (AskChildren) Op() string { return "children" }

// A node's refusals. They match with errors.Is on any node.
var (
	// ErrNoServer means that neither a process nor a supervisor's child has the
	// name on that node.
	ErrNoServer = genserver.NewError("node.no_server", "no such server")
	// ErrUnsupervised means that the server is not a supervisor's, so that
	// nobody could start it again: a tree's root, or the runtime's own.
	ErrUnsupervised = genserver.NewError("node.unsupervised", "no supervisor has it")
	// ErrChanged means that a child's record is another than the one that the sender has
	// read. Nothing was changed: read it again.
	ErrChanged = genserver.NewError("node.record_changed", "its record has changed")
	// ErrBadRecord means that what is to be applied is no record of a child.
	ErrBadRecord = genserver.NewError("node.bad_record", "no record of a child")
	// ErrNotApplied means that the store did not answer, or refused. It may have been
	// applied or not: it may be asked for again.
	ErrNotApplied = genserver.NewError("node.not_applied", "not known to be applied")
	// ErrNoCluster means that the node has no others beside it, as it has no NATS.
	ErrNoCluster = genserver.NewError("node.no_cluster", "the node is in no cluster")
)

// Applied answers [ApplyChild] and [RemoveChild].
type Applied struct {
	// Seq is the sequence of the record that holds; 0 if there was none to remove.
	Seq uint64 `json:"seq"`
	// Revision is what the child runs by once it does by this record.
	Revision uint64 `json:"revision"`
}

// Children answers [AskChildren].
type Children struct {
	Children []ChildInfo `json:"children"`
}

// ChildInfo is what the leader tells of a child of the cluster's tree.
type ChildInfo struct {
	Name string `json:"name"`
	// State is unplaced, starting, running, waiting (for another attempt after it
	// failed), unplaceable or stopped.
	State string `json:"state"`
	// Node runs or starts it.
	Node string `json:"node,omitempty"`
	// Seq is the record's sequence.
	Seq uint64 `json:"seq"`
	// Revision is the record's, and Runs that by which a running one runs.
	Revision uint64 `json:"revision"`
	Runs     uint64 `json:"runs"`
	// Removed is a child that was taken out of the tree.
	Removed bool `json:"removed,omitempty"`
	// Reason says why it is stopped, unplaceable or waiting, or failed last.
	Reason string `json:"reason,omitempty"`
}

// Status answers [AskStatus]. Its JSON, and that of the other answers, is a
// contract; see docs/cli.md.
type Status struct {
	Node        string `json:"node"`
	Cluster     string `json:"cluster"`
	Incarnation string `json:"incarnation"`
	// State is ready or unready; Reason says why it is not ready.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	// Servers is how many processes there are besides supervisors and the
	// runtime's own.
	Servers int `json:"servers"`
	// Names is how many cluster-wide names the node owns.
	Names int `json:"names"`
	// DisconnectEvents says whether NATS tells of the ends of connections, and Failover
	// how many seconds after its end the node is known to be dead: long without.
	// NoEvents is why NATS does not tell.
	DisconnectEvents bool    `json:"disconnect_events"`
	Failover         float64 `json:"failover_seconds,omitempty"`
	NoEvents         string  `json:"no_events,omitempty"`

	Release string `json:"release,omitempty"`
	Host    string `json:"host"`
	PID     int    `json:"pid"`
	// Uptime is in seconds.
	Uptime float64 `json:"uptime_seconds"`
	// Leads is true of the node that coordinates the cluster.
	Leads bool `json:"leads,omitempty"`
	// Labels are the node's.
	Labels map[string]string `json:"labels,omitempty"`
	// Differs are the children that the node's tree has otherwise than the
	// cluster's records, which hold; a hundred at most.
	Differs []Difference `json:"differs,omitempty"`
}

// Servers answers [ListServers].
type Servers struct {
	Node        string       `json:"node"`
	Incarnation string       `json:"incarnation"`
	Servers     []ServerInfo `json:"servers"`
	// Next is what After should be for those that did not fit; "" if all did.
	Next string `json:"next,omitempty"`
	// Silent names the supervisors that did not answer in time, as they do
	// while they start; what they alone know is missing.
	Silent []string `json:"silent,omitempty"`
}

// ServerInfo is what a node tells of a server or a supervisor.
type ServerInfo struct {
	Name string `json:"name"`
	Node string `json:"node"`
	// Path has the names from the root on, with slashes between them, and
	// Supervisor all but the last of them.
	Path       string `json:"path"`
	Supervisor string `json:"supervisor,omitempty"`
	// Place is where it stands among its supervisor's children, from 0.
	Place int `json:"place"`
	// Kind is server, supervisor or, for the runtime's own, runtime.
	Kind string `json:"kind"`
	Type string `json:"type"`
	// Strategy is a supervisor's: one_for_one, one_for_all, rest_for_one or dynamic.
	Strategy string `json:"strategy,omitempty"`
	// Scope is local or cluster; Restart is permanent, transient or temporary.
	Scope   string `json:"scope,omitempty"`
	Restart string `json:"restart,omitempty"`
	// State is starting, running, stopping, restarting or stopped; of a child of the
	// cluster's tree that no node runs, which has no Node, also unplaced,
	// unplaceable or waiting: for another attempt, after it failed.
	State string `json:"state"`
	// Handling is what its handler is at, as in `call "acquire"`.
	Handling   string `json:"handling,omitempty"`
	Generation uint64 `json:"generation"`
	Restarts   uint64 `json:"restarts"`
	// Mailbox is how many messages wait, InFlight how many calls are not
	// answered yet, Handled how many messages this generation has had.
	Mailbox  int    `json:"mailbox"`
	InFlight int    `json:"in_flight"`
	Handled  uint64 `json:"handled"`
	// Uptime is this generation's, in seconds; 0 while there is none.
	Uptime float64 `json:"uptime_seconds"`
	// LastReason is why the last generation ended, or did not start.
	LastReason string `json:"last_reason,omitempty"`
	// Epoch is that of the name's ownership; 0 for a node-local one.
	Epoch uint64 `json:"epoch,omitempty"`
}

// since is a time for a JSON of seconds.
func since(t time.Time) float64 { return float64(time.Since(t).Milliseconds()) / 1000 }
