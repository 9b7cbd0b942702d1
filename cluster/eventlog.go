package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/civitas-go/civitas/transport"
)

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
	losing  atomic.Bool     // the last one was dropped
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
		l.lose(e, errEventsWait)
	}
}

var errEventsWait = errors.New("too many wait to be written")

// lose counts an event that is not written, and logs the first after one that was.
func (l *EventLog) lose(e Event, reason error) {
	l.dropped.Add(1)
	if !l.losing.Swap(true) {
		l.log.Warn("events are dropped", "event", e.Kind, "reason", reason)
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
			l.dropped.Add(1) // the node has ended
			continue
		}
		if err := l.write(e); err != nil {
			l.lose(e, err)
		} else {
			l.losing.Store(false)
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
	for made := false; ; {
		js, err := jetstream.New(l.conn.Conn())
		if err == nil {
			_, err = js.PublishMsg(ctx, msg)
		}
		if errors.Is(err, jetstream.ErrNoStreamResponse) && !made {
			if made = l.create(ctx, js) == nil; made {
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
