package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/civitas-go/civitas/transport"
)

// JetStreamOptions are for [OpenJetStream]. The zero value is valid.
type JetStreamOptions struct {
	// Replicas is how many servers keep the records, if the stream has yet to be
	// made. Default 3 in a cluster of NATS servers, which must have three with
	// JetStream then, else 1. An existing stream keeps what it has.
	Replicas int
	// AckWait is how long a write waits for its acknowledgement before it is
	// repeated under the same id, and a read for its answer. Default 2 s.
	AckWait time.Duration
}

const (
	defaultAckWait = 2 * time.Second
	// mostWait is for contexts without a deadline.
	mostWait = 5 * time.Second
	// retryPause is between attempts at what the servers refused for now.
	retryPause = 5 * time.Millisecond
	// tombstoneTTL is how long a deletion is kept. It must exceed the time that
	// a message can be on its way: until then the tombstone refuses a late Create.
	tombstoneTTL = time.Hour
	// lastStateTTL is how long a record's last state is kept, for people to find.
	lastStateTTL = 24 * time.Hour
)

// jetStreamStore keeps a record in the last message of its subject, and a
// deletion as a tombstone: an empty message with a header, which is a
// compare-and-set like any other, is republished to watchers, makes the
// sequence grow, and expires. Create expects either no message or a tombstone.
type jetStreamStore struct {
	conn     *transport.NATS
	layout   layout
	replicas int
	ackWait  time.Duration

	mu      sync.Mutex
	closed  bool
	client  *jetStreamClient
	watches map[*jetStreamWatch]struct{}
}

// OpenJetStream opens the records of a cluster, whose name is one token of
// [A-Za-z0-9_-]. It makes the stream CIVITAS_<cluster> if there is none, and
// refuses one whose settings would break the records' guarantees. Where
// JetStream is off, the error says so and how to turn it on.
//
// The connection stays the caller's. When it is lost and made anew, so is all
// that the Store has on it.
//
// While the servers have no leader yet, OpenJetStream tries again until ctx
// ends, or for some seconds if it has no deadline.
func OpenJetStream(ctx context.Context, conn *transport.NATS, cluster string, o JetStreamOptions) (Store, error) {
	layout, err := layoutOf(cluster)
	if err != nil {
		return nil, fmt.Errorf("open records: %w", err)
	}
	if o.AckWait == 0 {
		o.AckWait = defaultAckWait
	}
	if o.Replicas < 0 || o.Replicas > 5 || o.AckWait < 0 {
		return nil, fmt.Errorf("open records of cluster %s: %d replicas, wait of %v: want 1 to 5 replicas and no negative wait", cluster, o.Replicas, o.AckWait)
	}
	s := &jetStreamStore{
		conn: conn, layout: layout, replicas: o.Replicas, ackWait: o.AckWait, watches: map[*jetStreamWatch]struct{}{},
	}
	client, err := s.newest()
	if err != nil {
		return nil, fmt.Errorf("open records of cluster %s: %w", cluster, err)
	}
	if s.replicas == 0 {
		s.replicas = replicasOf(client.nc)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	if client.stream, err = openStream(ctx, client.js, s.config(), o.AckWait); err != nil {
		return nil, fmt.Errorf("open records of cluster %s: %w", cluster, explain(err, client.nc))
	}
	return s, nil
}

// replicasOf are as many as keep the records through the loss of a server.
func replicasOf(nc *nats.Conn) int {
	if nc.ConnectedClusterName() == "" {
		return 1
	}
	return 3
}

func (s *jetStreamStore) config() jetstream.StreamConfig { return streamConfig(s.layout, s.replicas) }

// bounded gives a context without a deadline one.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, mostWait)
}

// ready is checked before anything is sent, so that its errors are certain.
func (s *jetStreamStore) ready(ctx context.Context, op string, k Key) error {
	if err := k.Check(); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s %s: %w: %w", op, k, ErrUnavailable, ctx.Err())
	case closed:
		return fmt.Errorf("%s %s: %w: %w", op, k, ErrUnavailable, errClosed)
	}
	return nil
}

func (s *jetStreamStore) Get(ctx context.Context, k Key) (Entry, error) {
	if err := s.ready(ctx, "get", k); err != nil {
		return Entry{}, err
	}
	m, err := s.last(ctx, k)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return Entry{Key: k}, fmt.Errorf("get %s: %w", k, ErrNotFound)
	case err != nil:
		return Entry{}, fmt.Errorf("get %s: %w: %w", k, ErrUnavailable, explain(err, s.conn.Conn()))
	case isTombstone(m.Header):
		return Entry{Key: k, Seq: m.Sequence}, fmt.Errorf("get %s: %w", k, ErrNotFound)
	}
	return Entry{Key: k, Value: m.Data, Seq: m.Sequence}, nil
}

// last reads the record's message from the stream's leader.
func (s *jetStreamStore) last(ctx context.Context, k Key) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, s.ackWait)
	defer cancel()
	stream, err := s.stream(ctx)
	if err != nil {
		return nil, err
	}
	return stream.GetLastMsgForSubject(ctx, s.layout.record(k))
}

func (s *jetStreamStore) Create(ctx context.Context, k Key, value []byte) (uint64, error) {
	if err := s.ready(ctx, "create", k); err != nil {
		return 0, err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	var expect uint64
	for {
		seq, err := s.write(ctx, k, value, expect)
		if err == nil {
			return seq, nil
		}
		if !errors.Is(err, ErrConflict) {
			return 0, fmt.Errorf("create %s: %w", k, err)
		}
		// A tombstone in the way is no conflict: create over it.
		e, getErr := s.Get(ctx, k)
		if !errors.Is(getErr, ErrNotFound) || e.Seq <= expect {
			return 0, fmt.Errorf("create %s: %w", k, err)
		}
		expect = e.Seq
	}
}

func (s *jetStreamStore) Update(ctx context.Context, k Key, value []byte, expect uint64) (uint64, error) {
	if expect == 0 {
		return 0, fmt.Errorf("update %s: %w", k, errExpectsZero)
	}
	return s.replace(ctx, "update", k, value, expect)
}

func (s *jetStreamStore) Finish(ctx context.Context, k Key, value []byte, expect uint64) (uint64, error) {
	if expect == 0 {
		return 0, fmt.Errorf("finish %s: %w", k, errExpectsZero)
	}
	return s.replace(ctx, "finish", k, value, expect, lastState)
}

func (s *jetStreamStore) Delete(ctx context.Context, k Key, expect uint64) error {
	_, err := s.replace(ctx, "delete", k, nil, expect, tombstone)
	return err
}

func (s *jetStreamStore) replace(ctx context.Context, op string, k Key, value []byte, expect uint64, marks ...mark) (uint64, error) {
	if err := s.ready(ctx, op, k); err != nil {
		return 0, err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	seq, err := s.write(ctx, k, value, expect, marks...)
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w", op, k, err)
	}
	return seq, nil
}

// RemoveCommand is the command by which an operator removes a record whose
// holder is gone.
func (s *jetStreamStore) RemoveCommand(k Key) string {
	return fmt.Sprintf("nats stream purge %s --subject %s --force", s.layout.stream(), s.layout.record(k))
}

func (s *jetStreamStore) Close() error {
	s.mu.Lock()
	s.closed = true
	watches := s.watches
	s.watches = map[*jetStreamWatch]struct{}{}
	s.mu.Unlock()
	for w := range watches {
		w.stop()
	}
	return nil
}
