package node

import (
	"context"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/transport"
)

// Memory connects nodes of one process with each other, without NATS: for
// tests of a whole cluster, in virtual time too. Every node that is given the
// same Memory is in the same cluster.
type Memory struct {
	hub   *transport.Hub
	store *cluster.Memory
}

// NewMemory makes a cluster without nodes.
func NewMemory() *Memory {
	return &Memory{hub: transport.NewHub(), store: cluster.NewMemory()}
}

// Connect makes Memory a [Connector].
func (m *Memory) Connect(_ context.Context, o LinkOptions) (*Link, error) {
	conn := m.hub.Dial(o.Node)
	store := m.store.Open()
	return &Link{Conn: conn, Store: store, Close: func(ctx context.Context) error {
		_ = store.Close() // never fails
		return conn.Close(ctx)
	}}, nil
}

// Hub is the broker of the cluster's messages, for tests that lose, delay or cut
// off some: its connections bear the nodes' names. The records are not on it.
func (m *Memory) Hub() *transport.Hub { return m.hub }
