package cluster

import (
	"context"
	"fmt"

	"github.com/civitas-go/civitas/internal/name"
	"github.com/civitas-go/civitas/transport"
)

// ReadOwner reads the record of a cluster-wide name for a client that is no
// node: it joins nothing and makes no stream. Like every read, the answer is a
// hint.
//
// ErrNotFound: there is no record, or no such cluster. ErrUnavailable: the store
// did not answer.
func ReadOwner(ctx context.Context, conn *transport.NATS, cluster, server string) (Owner, error) {
	k := ownerKey(server)
	if err := name.Check(server); err != nil {
		return Owner{}, err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	s, err := openRead(ctx, conn, cluster)
	if err != nil {
		return Owner{}, fmt.Errorf("read %s: %w", k, err)
	}
	e, err := s.Get(ctx, k)
	if err != nil {
		return Owner{}, err
	}
	rec, err := DecodeOwner(e.Value)
	if err != nil {
		return Owner{}, fmt.Errorf("read %s: %w", k, err)
	}
	return Owner{Node: rec.Node, Incarnation: rec.Incarnation, Epoch: e.Seq}, nil
}
