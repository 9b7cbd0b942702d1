package cluster

import (
	"fmt"

	"github.com/civitas-go/civitas/internal/name"
)

// Kind says what a record is about. It is the first token of its key.
type Kind string

const (
	// KindSession is the kind of a [SessionRecord]; the key's name is the
	// incarnation's.
	KindSession Kind = "ses"
	// KindNode is the kind of a [NodeRecord]; the key's name is the node's.
	KindNode Kind = "node"
	// KindOwner is the kind of an [OwnerRecord]; the key's name is the server's.
	KindOwner Kind = "own"
	// KindLead is the kind of the [LeadRecord]; its key has no name.
	KindLead Kind = "lead"
	// KindSpec is the kind of a [SpecRecord]; the key's name is the child's.
	KindSpec Kind = "spec"
)

// single reports a kind of which there is one record, without a name.
func (k Kind) single() bool { return k == KindLead }

// Key names one record of a cluster.
type Key struct {
	Kind Kind
	// Name is one or more tokens joined by dots; empty for a kind that has
	// only one record.
	Name string
}

// String is the key as it stands in subjects and errors: own.rate.limiter.
func (k Key) String() string {
	if k.Name == "" {
		return string(k.Kind)
	}
	return string(k.Kind) + "." + k.Name
}

// Check refuses a key that cannot become a subject. Every Store calls it before
// anything else; its error matches none of the store's.
func (k Key) Check() error {
	if err := name.CheckToken("kind", string(k.Kind)); err != nil {
		return fmt.Errorf("record %q: %w", k.Kind, err)
	}
	if k.Name == "" || name.Runtime(k.Name) {
		return nil
	}
	return name.Check(k.Name)
}
