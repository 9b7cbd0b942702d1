package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/civitas-go/civitas/transport"
)

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
