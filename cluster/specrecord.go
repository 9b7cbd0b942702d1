package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/civitas-go/civitas/internal/name"
	"github.com/civitas-go/civitas/supervisor"
)

// SpecRecord is one child of the cluster's root: what is to run once in the
// cluster, wherever there is a node for it. The first node that brings the child
// writes the record, and it holds whatever others bring under the same name, until
// an operator changes it: see [Registry.Apply].
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

	// Revision grows whenever something else is to run: it is the sequence of the
	// record that was there before, 0 for the first. The child's owner has it in its
	// record; one that runs by a lower one is stopped, and placed anew.
	Revision uint64 `json:"revision,omitempty"`
	// Removed is a child that was taken out of the tree: it is stopped where it
	// runs, and nobody is told of it any more. Who brings it again replaces the
	// record, which is forgotten after a day.
	Removed bool `json:"removed,omitempty"`

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
	// Ran is, of one that is Done, the Revision by which it ran; if the record has
	// another by now it stays as it is. It is not written down.
	Ran uint64 `json:"-"`
}

// Encode is the record's JSON, with Version set to [RecordVersion]. One that is
// Removed is Stopped too, for who does not know the other word.
func (r SpecRecord) Encode() ([]byte, error) {
	r.Version = RecordVersion
	r.Stopped = r.Stopped || r.Removed
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
	r.Stopped = r.Stopped || r.Removed
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
