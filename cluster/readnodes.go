package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/civitas-go/civitas/transport"
)

// ReadNodes reads the records of a cluster's nodes, in the order of their
// names, for a client that is no node; see [ReadOwner]. A node that has crashed
// may still be on record.
//
// ErrNotFound: there is no such cluster. ErrUnavailable: the store did not answer.
func ReadNodes(ctx context.Context, conn *transport.NATS, cluster string) ([]NodeRecord, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	s, err := openRead(ctx, conn, cluster)
	if err != nil {
		return nil, fmt.Errorf("read the nodes of cluster %s: %w", cluster, err)
	}
	entries, err := s.List(ctx, KindNode)
	if err != nil {
		return nil, fmt.Errorf("read the nodes of cluster %s: %w", cluster, err)
	}
	var nodes []NodeRecord
	for _, e := range entries {
		rec, err := DecodeNode(e.Value)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", e.Key, err)
		}
		nodes = append(nodes, rec)
	}
	slices.SortFunc(nodes, func(a, b NodeRecord) int { return cmp.Compare(a.Node, b.Node) })
	return nodes, nil
}

// openRead opens the records as they are, for reading.
func openRead(ctx context.Context, conn *transport.NATS, cluster string) (*jetStreamStore, error) {
	layout, err := layoutOf(cluster)
	if err != nil {
		return nil, err
	}
	s := &jetStreamStore{conn: conn, layout: layout, replicas: 1, ackWait: defaultAckWait}
	_, err = s.stream(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("%w: cluster %s has no records here", ErrNotFound, cluster)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, explain(err, conn.Conn()))
	}
	return s, nil
}
