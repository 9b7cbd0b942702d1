package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/civitas-go/civitas/transport"
)

// EventKind says what has happened.
type EventKind string

// The events of a cluster.
const (
	// EventJoin means that a node has joined.
	EventJoin EventKind = "join"
	// EventLeave means that a node has left in good order.
	EventLeave EventKind = "leave"
	// EventDead means that a node was declared dead, by another.
	EventDead EventKind = "dead"
	// EventTakeOver means that a node has taken a name over from one that has ended.
	EventTakeOver EventKind = "takeover"
	// EventFenced means that a node has lost its session, or one of its names, and acts no more.
	EventFenced EventKind = "fenced"
	// EventRestart means that a supervisor has started a server anew.
	EventRestart EventKind = "restart"
	// EventEscalate means that a supervisor has given up.
	EventEscalate EventKind = "escalate"
	// EventUnplaceable means that no node can run a child of the cluster's root.
	EventUnplaceable EventKind = "unplaceable"
)

// EventKinds are all of them.
func EventKinds() []EventKind {
	return []EventKind{
		EventJoin, EventLeave, EventDead, EventTakeOver, EventFenced, EventRestart, EventEscalate, EventUnplaceable,
	}
}

// Event is something that has happened in a cluster, for people and their
// tools: nothing is decided by it. Fields that an event has no use for are empty.
type Event struct {
	Version int       `json:"v"`
	Time    time.Time `json:"time"`
	Kind    EventKind `json:"event"`
	// Node and Incarnation are those that it happened to, or on.
	Node        string `json:"node,omitempty"`
	Incarnation string `json:"incarnation,omitempty"`
	// Server is the name it is about, Epoch the name's.
	Server string `json:"server,omitempty"`
	Epoch  uint64 `json:"epoch,omitempty"`
	// From is the incarnation that had the name before.
	From   string `json:"from,omitempty"`
	Reason string `json:"reason,omitempty"`
	// TraceID is of the trace that it is part of.
	TraceID string `json:"trace_id,omitempty"`
}

// Limits of the stream that keeps the events.
const (
	eventsKept = 10000
	eventsAge  = 7 * 24 * time.Hour
	eventsSize = 16 << 20
	// eventsWaiting are as many as wait to be written, in a store's absence.
	eventsWaiting = 1000
)

// EventLog writes a node's events to the cluster's stream of them, one after
// another, from a goroutine of its own. While the store is away they wait, some
// of them; what does not fit is dropped and counted.
type EventLog struct {
	conn   *transport.NATS
	layout layout
	log    *slog.Logger

	queue   chan Event
	dropped atomic.Uint64
	life    context.Context // of its goroutine
	end     context.CancelFunc
	wg      sync.WaitGroup

	mu      sync.Mutex
	closing bool
}

// OpenEventLog makes one for a cluster. The stream, CIVITAS_<cluster>_EVENTS, is
// made when there is something to write.
func OpenEventLog(conn *transport.NATS, cluster string, log *slog.Logger) (*EventLog, error) {
	layout, err := layoutOf(cluster)
	if err != nil {
		return nil, fmt.Errorf("open the events: %w", err)
	}
	l := &EventLog{conn: conn, layout: layout, log: log, queue: make(chan Event, eventsWaiting)}
	l.life, l.end = context.WithCancel(context.Background())
	l.wg.Go(l.run)
	return l, nil
}

// Write has an event written soon; it doesn't wait. Time and Version are filled in.
func (l *EventLog) Write(e Event) {
	e.Version, e.Time = RecordVersion, time.Now().UTC()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return
	}
	select {
	case l.queue <- e:
	default:
		if l.dropped.Add(1) == 1 {
			l.log.Warn("events are dropped: too many wait to be written")
		}
	}
}

// Dropped is how many events were not written.
func (l *EventLog) Dropped() uint64 { return l.dropped.Load() }

// Close writes what waits until ctx ends, and ends the log.
func (l *EventLog) Close(ctx context.Context) error {
	l.mu.Lock()
	if !l.closing {
		l.closing = true
		close(l.queue)
	}
	l.mu.Unlock()
	stop := context.AfterFunc(ctx, l.end)
	defer stop()
	l.wg.Wait()
	l.end()
	return nil
}

func (l *EventLog) run() {
	for e := range l.queue {
		if l.life.Err() != nil {
			l.dropped.Add(1)
			continue
		}
		if err := l.write(e); err != nil {
			l.dropped.Add(1)
			l.log.Debug("an event was not written", "event", e.Kind, "error", err)
		}
	}
}

// write tries for some seconds, through an election.
func (l *EventLog) write(e Event) error {
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(l.life, 10*time.Second)
	defer cancel()
	msg := &nats.Msg{Subject: l.layout.Event(string(e.Kind)), Data: data, Header: nats.Header{jetstream.MsgIDHeader: {nuid.Next()}}}
	for {
		nc := l.conn.Conn()
		js, err := jetstream.New(nc)
		if err == nil {
			_, err = js.PublishMsg(ctx, msg)
		}
		if errors.Is(err, jetstream.ErrNoStreamResponse) {
			if err = l.create(ctx, js); err == nil {
				continue
			}
		}
		if err == nil || pause(ctx, 500*time.Millisecond) != nil {
			return err
		}
	}
}

func (l *EventLog) create(ctx context.Context, js jetstream.JetStream) error {
	var subjects []string
	for _, kind := range EventKinds() {
		subjects = append(subjects, l.layout.Event(string(kind)))
	}
	ctx, cancel := context.WithTimeout(ctx, defaultAckWait)
	defer cancel()
	_, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name:        l.layout.events(),
		Description: "Civitas: what has happened in cluster " + l.layout.Cluster(),
		Subjects:    subjects,
		Storage:     jetstream.FileStorage,
		Replicas:    replicasOf(l.conn.Conn()),
		Discard:     jetstream.DiscardOld,
		MaxMsgs:     eventsKept, MaxAge: eventsAge, MaxBytes: eventsSize,
	})
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return nil
	}
	return err
}

// ReadEvents calls fn for the events of a cluster since a time, oldest first,
// until there are no more or, with follow, until ctx ends, which is no error
// then. fn's error ends it and is returned. For a client that is no node.
//
// ErrNotFound: there is no such stream, and nothing has happened yet; with
// follow, that is waited for.
// ErrUnavailable: the store did not answer.
func ReadEvents(ctx context.Context, conn *transport.NATS, cluster string, since time.Time, follow bool, fn func(Event) error) error {
	layout, err := layoutOf(cluster)
	if err != nil {
		return err
	}
	js, err := jetstream.New(conn.Conn())
	if err != nil {
		return err
	}
	stream, err := eventStream(ctx, js, layout)
	for follow && errors.Is(err, jetstream.ErrStreamNotFound) {
		if pause(ctx, 200*time.Millisecond) != nil {
			return nil
		}
		stream, err = eventStream(ctx, js, layout)
	}
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("%w: cluster %s has no events here", ErrNotFound, cluster)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, explain(err, conn.Conn()))
	}
	cfg := jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy}
	if !since.IsZero() {
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	}
	ask, cancel := context.WithTimeout(ctx, mostWait)
	defer cancel()
	consumer, err := stream.OrderedConsumer(ask, cfg)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, explain(err, conn.Conn()))
	}
	return eachEvent(ctx, consumer, follow, fn)
}

func eventStream(ctx context.Context, js jetstream.JetStream, l layout) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, mostWait)
	defer cancel()
	return js.Stream(ctx, l.events())
}

func eachEvent(ctx context.Context, consumer jetstream.Consumer, follow bool, fn func(Event) error) error {
	for {
		batch, err := consumer.FetchNoWait(256)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		n := 0
		for m := range batch.Messages() {
			n++
			var e Event
			if json.Unmarshal(m.Data(), &e) != nil || !slices.Contains(EventKinds(), e.Kind) {
				continue // a later release's, or nobody's
			}
			if err := fn(e); err != nil {
				return err
			}
		}
		switch {
		case batch.Error() != nil:
			return fmt.Errorf("%w: %w", ErrUnavailable, batch.Error())
		case n > 0:
		case !follow:
			return nil
		case pause(ctx, 200*time.Millisecond) != nil:
			return nil
		}
	}
}
