package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/civitas-go/civitas/internal/name"
	"github.com/civitas-go/civitas/supervisor"
)

// SpecRecord is one child of the cluster's root: what is to run once in the
// cluster, wherever there is a node for it. The first node that brings the child
// writes the record, and it holds whatever others bring under the same name.
type SpecRecord struct {
	Version int `json:"v"`
	// Name is the child's.
	Name string `json:"name"`
	// Type is the name of the Type that runs.
	Type string `json:"type"`
	// Config is the Type's config, by its json tags.
	Config json.RawMessage `json:"config,omitempty"`
	// Bound is a child whose config can't be written down, as it has functions
	// or is a supervisor's: only nodes that have the child in their own trees
	// can run it.
	Bound bool `json:"bound,omitempty"`
	// ReportAfter and CrashAfter are the limits of the server's watchdog; 0 for
	// never. See genserver.Watchdog.
	ReportAfter time.Duration `json:"report_after,omitempty"`
	CrashAfter  time.Duration `json:"crash_after,omitempty"`
	// Names are the cluster-wide names that the child takes. It runs where the
	// first of them has its owner.
	Names []string `json:"names"`
	// Restart, Shutdown and Placement are as in supervisor.Child.
	Restart  supervisor.Restart `json:"restart"`
	Shutdown time.Duration      `json:"shutdown,omitempty"`
	// Keeps is a server that serves its own node while that can't prove that it
	// lives: supervisor.Keep.
	Keeps     bool                 `json:"keeps,omitempty"`
	Placement supervisor.Placement `json:"placement,omitzero"`

	Stop

	// Node brought the child, and Since is when.
	Node  string    `json:"node"`
	Since time.Time `json:"since"`
}

// Stop is what a [SpecRecord] says of a child that is not to run. The zero value
// is of one that is.
type Stop struct {
	// Stopped is a child that is down for good.
	Stopped bool `json:"stopped,omitempty"`
	// Done is one that has ended by itself. It is started anew when the node
	// where it did is.
	Done bool `json:"done,omitempty"`
	// Reason says why, and StoppedOn and StoppedBy on which node, and by which
	// incarnation of it.
	Reason    string `json:"reason,omitempty"`
	StoppedOn string `json:"stopped_on,omitempty"`
	StoppedBy string `json:"stopped_by,omitempty"`
}

// Encode is the record's JSON, with Version set to [RecordVersion].
func (r SpecRecord) Encode() ([]byte, error) {
	r.Version = RecordVersion
	if err := r.check(); err != nil {
		return nil, err
	}
	return json.Marshal(r)
}

// DecodeSpec reads a spec record of any version. It refuses what is no JSON
// object, or lacks a version, a type, or well-formed names.
func DecodeSpec(value []byte) (SpecRecord, error) {
	var r SpecRecord
	if err := json.Unmarshal(value, &r); err != nil {
		return SpecRecord{}, fmt.Errorf("spec record: %w", err)
	}
	if err := r.check(); err != nil {
		return SpecRecord{}, err
	}
	return r, nil
}

// specIn reads the record of the child of that name.
func specIn(value []byte, child string) (SpecRecord, error) {
	r, err := DecodeSpec(value)
	if err == nil && r.Name != child {
		err = fmt.Errorf("spec record of %s says it is of %s", child, r.Name)
	}
	return r, err
}

func (r SpecRecord) check() error {
	err := name.Check(r.Name)
	switch {
	case err != nil:
	case r.Version < 1:
		err = errors.New("no version")
	case r.Type == "":
		err = errors.New("no type")
	case len(r.Names) == 0:
		err = errors.New("no names")
	default:
		for _, n := range r.Names {
			err = errors.Join(err, name.Check(n))
		}
	}
	if err != nil {
		return fmt.Errorf("spec record: %w", err)
	}
	return nil
}

// Differs says in which fields another record wants something else to run than
// this one; "" where it's the same. Of configs that can't be written down
// nothing is known.
func (r SpecRecord) Differs(other SpecRecord) string {
	for _, f := range []struct {
		field string
		same  bool
	}{
		{"type", r.Type == other.Type},
		{"config", r.Bound == other.Bound && (r.Bound || sameJSON(r.Config, other.Config))},
		{"watchdog", r.ReportAfter == other.ReportAfter && r.CrashAfter == other.CrashAfter},
		{"names", slices.Equal(r.Names, other.Names)},
		{"restart", r.Restart == other.Restart},
		{"shutdown", r.Shutdown == other.Shutdown},
		{"on_partition", r.Keeps == other.Keeps},
		{"placement", r.Placement.Node == other.Placement.Node && maps.Equal(r.Placement.Labels, other.Placement.Labels)},
	} {
		if !f.same {
			return f.field
		}
	}
	return ""
}

// sameJSON compares values, not texts: another release may write them otherwise.
func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return string(a) == string(b)
	}
	p, _ := json.Marshal(x) // never fails: it was JSON
	q, _ := json.Marshal(y)
	return string(p) == string(q)
}
