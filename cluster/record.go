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
}

// OwnerRecord says which incarnation owns a cluster-wide name. The epoch is not
// in it: it is the record's sequence.
type OwnerRecord struct {
	Version     int       `json:"v"`
	Incarnation string    `json:"incarnation"`
	Node        string    `json:"node"`
	Since       time.Time `json:"since"`
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

func checkHolder(version int, incarnation, node string) error {
	if version < 1 {
		return errors.New("no version")
	}
	if err := name.CheckToken("incarnation", incarnation); err != nil {
		return err
	}
	return name.CheckToken("node", node)
}
