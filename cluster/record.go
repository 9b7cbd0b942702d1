package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nuid"

	"github.com/civitas-go/civitas/internal/name"
)

// RecordVersion is the version this release writes into records.
//
// A reader takes what it knows and ignores other fields, whatever the version,
// so that nodes of neighbouring releases can share a cluster. A change that an
// older reader would misunderstand therefore gets a new field or a new kind,
// never a new meaning of an old one.
const RecordVersion = 1

// NewIncarnation makes an id for one life of a node, such as
// "VzAPRfkBSpfO9kUNxLv1Zy". No two are the same, on any machine.
func NewIncarnation() string { return nuid.Next() }

// NodeRecord says which incarnation bears a node's name. Besides Incarnation
// and Node it is for the human who finds the name taken.
type NodeRecord struct {
	Version     int       `json:"v"`
	Incarnation string    `json:"incarnation"`
	Node        string    `json:"node"`
	Since       time.Time `json:"since"`
	Host        string    `json:"host,omitempty"`
	PID         int       `json:"pid,omitempty"`
	// Release is the version of the program.
	Release string `json:"release,omitempty"`
	// Offer is what the node can run for the cluster; nil while it takes no
	// children. See [Registry.Announce].
	Offer *Offer `json:"offer,omitempty"`
}

// Offer says which children of the cluster's tree a node can run.
type Offer struct {
	// Labels are what placements may ask for.
	Labels map[string]string `json:"labels,omitempty"`
	// Types are the names of the Types that the node has.
	Types []string `json:"types,omitempty"`
	// Own are children of the node's own tree whose config is known to it alone.
	Own []string `json:"own,omitempty"`
	// Leaving is a node that stops: it gives its children up and takes no more.
	Leaving bool `json:"leaving,omitempty"`
}

// LeadRecord says which incarnation coordinates the cluster.
type LeadRecord struct {
	Version     int       `json:"v"`
	Incarnation string    `json:"incarnation"`
	Node        string    `json:"node"`
	Since       time.Time `json:"since"`
}

// State is a session's.
type State string

const (
	// Alive is the state of a session that is renewed, or was until not long ago.
	Alive State = "alive"
	// Dead is final: the incarnation may act no more. Only another node writes
	// it, after the session's lease has run out.
	Dead State = "dead"
)

// SessionRecord says that an incarnation lives, or that it was declared dead.
// Each write makes a new version, and it is the change of version that tells
// others of life. Absent, it says that the incarnation has ended.
type SessionRecord struct {
	Version     int    `json:"v"`
	Incarnation string `json:"incarnation"`
	Node        string `json:"node"`
	State       State  `json:"state"`
	// Nonce is another with each write, so that a process can tell the
	// versions that it has written from all others.
	Nonce string `json:"nonce"`
	// Witnesses are the connections whose end, told by their servers, means
	// the end of the incarnation: two at most.
	Witnesses []Witness `json:"witnesses,omitempty"`
	// LeaseMS and PongMS are the node's Timing.Lease and Timing.Pong in
	// milliseconds, for those who judge it by other times; 0 for not said.
	LeaseMS int64 `json:"lease_ms,omitempty"`
	PongMS  int64 `json:"pong_ms,omitempty"`
	// Embedded is the id of the NATS server inside the process, if that server
	// alone had the cluster's records; see NodeInfo.EmbeddedServer.
	Embedded string    `json:"embedded,omitempty"`
	Since    time.Time `json:"since"`
	Host     string    `json:"host,omitempty"`
	PID      int       `json:"pid,omitempty"`
	// Release is the version of the program.
	Release string `json:"release,omitempty"`
	// By is the incarnation that declared this one dead.
	By string `json:"by,omitempty"`
}

// mostMS is a day. What promises to live longer could not be judged.
const mostMS = 24 * 60 * 60 * 1000

// Witness is a connection of a node to a NATS server, as that server knows it.
type Witness struct {
	Server string `json:"server"`
	Client uint64 `json:"client"`
}

// OwnerRecord says which incarnation owns a cluster-wide name. The epoch is not
// in it: it is the record's sequence.
type OwnerRecord struct {
	Version     int       `json:"v"`
	Incarnation string    `json:"incarnation"`
	Node        string    `json:"node"`
	Since       time.Time `json:"since"`
	// Child is the child of the cluster's tree whose name it is, and Revision that
	// of the [SpecRecord] by which it was started. Empty and 0 for other names, and
	// in records of releases that did not write them.
	Child    string `json:"child,omitempty"`
	Revision uint64 `json:"revision,omitempty"`
}

// Encode is the record's JSON, with Version set to [RecordVersion].
func (r NodeRecord) Encode() ([]byte, error) {
	r.Version = RecordVersion
	if err := r.check(); err != nil {
		return nil, err
	}
	return json.Marshal(r)
}

// Encode is the record's JSON, with Version set to [RecordVersion].
func (r OwnerRecord) Encode() ([]byte, error) {
	r.Version = RecordVersion
	if err := r.check(); err != nil {
		return nil, err
	}
	return json.Marshal(r)
}

// Encode is the record's JSON, with Version set to [RecordVersion].
func (r SessionRecord) Encode() ([]byte, error) {
	r.Version = RecordVersion
	if err := r.check(); err != nil {
		return nil, err
	}
	return json.Marshal(r)
}

// DecodeSession reads a session record of any version. It refuses what is no
// JSON object, or lacks a well-formed incarnation or node, a nonce, or a state
// that it knows.
func DecodeSession(value []byte) (SessionRecord, error) {
	var r SessionRecord
	if err := json.Unmarshal(value, &r); err != nil {
		return SessionRecord{}, fmt.Errorf("session record: %w", err)
	}
	if err := r.check(); err != nil {
		return SessionRecord{}, err
	}
	return r, nil
}

// DecodeNode reads a node record of any version. It refuses what is no JSON
// object or lacks a well-formed incarnation or node.
func DecodeNode(value []byte) (NodeRecord, error) {
	var r NodeRecord
	if err := json.Unmarshal(value, &r); err != nil {
		return NodeRecord{}, fmt.Errorf("node record: %w", err)
	}
	if err := r.check(); err != nil {
		return NodeRecord{}, err
	}
	return r, nil
}

// DecodeOwner reads an owner record of any version. It refuses what is no JSON
// object or lacks a well-formed incarnation or node.
func DecodeOwner(value []byte) (OwnerRecord, error) {
	var r OwnerRecord
	if err := json.Unmarshal(value, &r); err != nil {
		return OwnerRecord{}, fmt.Errorf("owner record: %w", err)
	}
	if err := r.check(); err != nil {
		return OwnerRecord{}, err
	}
	return r, nil
}

// Encode is the record's JSON, with Version set to [RecordVersion].
func (r LeadRecord) Encode() ([]byte, error) {
	r.Version = RecordVersion
	if err := r.check(); err != nil {
		return nil, err
	}
	return json.Marshal(r)
}

// DecodeLead reads a lead record of any version. It refuses what is no JSON
// object or lacks a well-formed incarnation or node.
func DecodeLead(value []byte) (LeadRecord, error) {
	var r LeadRecord
	if err := json.Unmarshal(value, &r); err != nil {
		return LeadRecord{}, fmt.Errorf("lead record: %w", err)
	}
	if err := r.check(); err != nil {
		return LeadRecord{}, err
	}
	return r, nil
}

func (r LeadRecord) check() error {
	if err := checkHolder(r.Version, r.Incarnation, r.Node); err != nil {
		return fmt.Errorf("lead record: %w", err)
	}
	return nil
}

func (r NodeRecord) check() error {
	if err := checkHolder(r.Version, r.Incarnation, r.Node); err != nil {
		return fmt.Errorf("node record: %w", err)
	}
	return nil
}

func (r OwnerRecord) check() error {
	if err := checkHolder(r.Version, r.Incarnation, r.Node); err != nil {
		return fmt.Errorf("owner record: %w", err)
	}
	return nil
}

func (r SessionRecord) check() error {
	err := checkHolder(r.Version, r.Incarnation, r.Node)
	switch {
	case err != nil:
	case r.State != Alive && r.State != Dead:
		err = fmt.Errorf("state %q is neither alive nor dead", r.State)
	case r.Nonce == "":
		err = errors.New("no nonce")
	case r.LeaseMS < 0 || r.PongMS < 0 || max(r.LeaseMS, r.PongMS) > mostMS:
		err = fmt.Errorf("lease of %d ms, pong of %d ms: want 0 to %d", r.LeaseMS, r.PongMS, mostMS)
	case len(r.Witnesses) > 2:
		err = fmt.Errorf("%d witnesses, want two at most", len(r.Witnesses))
	}
	if err != nil {
		return fmt.Errorf("session record: %w", err)
	}
	return nil
}

func checkHolder(version int, incarnation, node string) error {
	if version < 1 {
		return errors.New("no version")
	}
	if err := name.CheckToken("incarnation", incarnation); err != nil {
		return err
	}
	return name.CheckToken("node", node)
}
