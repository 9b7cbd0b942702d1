package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/civitas-go/civitas/internal/name"
)

// ReadOwner reads the record of a cluster-wide name for a client that is no
// node: it joins nothing and makes no stream. Like every read, the answer is a
// hint.
//
// ErrNotFound: there is no record, or no such cluster. ErrUnavailable: the store
// did not answer.
func ReadOwner(ctx context.Context, nc *nats.Conn, cluster, server string) (Owner, error) {
	k := ownerKey(server)
	layout, err := layoutOf(cluster)
	if err := errors.Join(err, name.Check(server)); err != nil {
		return Owner{}, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return Owner{}, fmt.Errorf("read %s: %w", k, err)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	stream, err := js.Stream(ctx, layout.stream())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return Owner{}, fmt.Errorf("read %s: %w: cluster %s has no records here", k, ErrNotFound, cluster)
	}
	if err != nil {
		return Owner{}, fmt.Errorf("read %s: %w: %w", k, ErrUnavailable, explain(err, nc))
	}
	s := &jetStreamStore{nc: nc, js: js, stream: stream, layout: layout, ackWait: defaultAckWait}
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
