package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/civitas-go/civitas/internal/name"
	"github.com/civitas-go/civitas/transport"
)

// Ownership is who has a cluster-wide name, as its record says.
type Ownership struct {
	// Server is the name.
	Server string
	// Node and Incarnation are the owner's. It may have ended.
	Node, Incarnation string
	// Epoch is the record's sequence; it grows with every change of owner.
	Epoch uint64
	// Since is when the owner took the name, by its own clock.
	Since time.Time
}

// ReadOwner reads the record of a cluster-wide name for a client that is no
// node: it joins nothing and makes no stream. Like every read, the answer is a
// hint.
//
// ErrNotFound: there is no record, or no such cluster. ErrUnavailable: the store
// did not answer.
func ReadOwner(ctx context.Context, conn *transport.NATS, cluster, server string) (Ownership, error) {
	if err := name.Check(server); err != nil {
		return Ownership{}, err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	s, err := openRead(ctx, conn, cluster)
	if err != nil {
		return Ownership{}, fmt.Errorf("read %s: %w", ownerKey(server), err)
	}
	e, err := s.Get(ctx, ownerKey(server))
	if err != nil {
		return Ownership{}, err
	}
	return ownershipIn(e)
}

// ReadOwners reads who has which cluster-wide names, in the order of these, for
// a client that is no node; see [ReadOwner]. It is no picture of one moment.
//
// ErrNotFound: there is no such cluster. ErrUnavailable: the store did not answer.
func ReadOwners(ctx context.Context, conn *transport.NATS, cluster string) ([]Ownership, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	s, err := openRead(ctx, conn, cluster)
	if err != nil {
		return nil, fmt.Errorf("read the owners of cluster %s: %w", cluster, err)
	}
	entries, err := s.List(ctx, KindOwner)
	if err != nil {
		return nil, fmt.Errorf("read the owners of cluster %s: %w", cluster, err)
	}
	all := make([]Ownership, 0, len(entries))
	for _, e := range entries {
		o, err := ownershipIn(e)
		if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b Ownership) int { return cmp.Compare(a.Server, b.Server) })
	return all, nil
}

func ownershipIn(e Entry) (Ownership, error) {
	rec, err := DecodeOwner(e.Value)
	if err != nil {
		return Ownership{}, fmt.Errorf("read %s: %w", e.Key, err)
	}
	return Ownership{Server: e.Key.Name, Node: rec.Node, Incarnation: rec.Incarnation, Epoch: e.Seq, Since: rec.Since}, nil
}
