package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

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
	return s.readOwner(ctx, server)
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
	names, err := s.names(ctx, KindOwner)
	if err != nil {
		return nil, fmt.Errorf("read the owners of cluster %s: %w", cluster, err)
	}
	const atOnce = 16
	var (
		wg    sync.WaitGroup
		slots = make(chan struct{}, atOnce)
		all   = make([]Ownership, len(names))
		errs  = make([]error, len(names))
	)
	for i, server := range names {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if all[i], errs[i] = s.readOwner(ctx, server); errors.Is(errs[i], ErrNotFound) {
				errs[i] = nil // it was released just now
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	all = slices.DeleteFunc(all, func(o Ownership) bool { return o.Incarnation == "" })
	slices.SortFunc(all, func(a, b Ownership) int { return cmp.Compare(a.Server, b.Server) })
	return all, nil
}

func (s *jetStreamStore) readOwner(ctx context.Context, server string) (Ownership, error) {
	k := ownerKey(server)
	e, err := s.Get(ctx, k)
	if err != nil {
		return Ownership{}, err
	}
	rec, err := DecodeOwner(e.Value)
	if err != nil {
		return Ownership{}, fmt.Errorf("read %s: %w", k, err)
	}
	return Ownership{Server: server, Node: rec.Node, Incarnation: rec.Incarnation, Epoch: e.Seq, Since: rec.Since}, nil
}

// names are those of the records of one kind, deleted ones among them.
func (s *jetStreamStore) names(ctx context.Context, kind Kind) ([]string, error) {
	stream, err := s.stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, explain(err, s.conn.Conn()))
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(s.layout.Record(string(kind), ">")))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, explain(err, s.conn.Conn()))
	}
	prefix := s.layout.record(Key{Kind: kind}) + "."
	names := make([]string, 0, len(info.State.Subjects))
	for subject := range info.State.Subjects {
		names = append(names, strings.TrimPrefix(subject, prefix))
	}
	return names, nil
}
