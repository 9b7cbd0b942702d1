package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/civitas-go/civitas/transport"
)

// Recorded is a record of a child of the cluster's tree, and its sequence.
type Recorded struct {
	SpecRecord
	Seq uint64
}

// ReadSpecs reads the children of a cluster's tree, in the order of their names,
// for a client that is no node; see [ReadOwner]. Removed ones are left out. It is no
// picture of one moment.
//
// ErrNotFound: there is no such cluster. ErrUnavailable: the store did not answer.
func ReadSpecs(ctx context.Context, conn *transport.NATS, cluster string) ([]Recorded, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	s, err := openRead(ctx, conn, cluster)
	if err != nil {
		return nil, fmt.Errorf("read the tree of cluster %s: %w", cluster, err)
	}
	entries, err := s.List(ctx, KindSpec)
	if err != nil {
		return nil, fmt.Errorf("read the tree of cluster %s: %w", cluster, err)
	}
	var all []Recorded
	for _, e := range entries {
		rec, err := specIn(e.Value, e.Key.Name)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w%s", e.Key, err, remedy(e.Key, s))
		}
		if !rec.Removed {
			all = append(all, Recorded{rec, e.Seq})
		}
	}
	slices.SortFunc(all, func(a, b Recorded) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}
