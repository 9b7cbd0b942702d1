package cluster

import (
	"context"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// jetStreamClient is JetStream by one connection. It is of no use once that is
// lost: everything asks newest for it.
type jetStreamClient struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream // guarded by the store's mu; nil until it was asked for
}

// newest is the client of the connection that there is now.
func (s *jetStreamStore) newest() (*jetStreamClient, error) {
	nc := s.conn.Conn()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil && s.client.nc == nc {
		return s.client, nil
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	s.client = &jetStreamClient{nc: nc, js: js}
	return s.client, nil
}

// stream is looked up once for each connection, for what is behind another may
// be another server's.
func (s *jetStreamStore) stream(ctx context.Context) (jetstream.Stream, error) {
	client, err := s.newest()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	stream := client.stream
	s.mu.Unlock()
	if stream != nil {
		return stream, nil
	}
	if stream, err = client.js.Stream(ctx, s.layout.stream()); err != nil {
		return nil, err
	}
	if err := checkStream(stream.CachedInfo().Config, s.config()); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	client.stream = stream
	return stream, nil
}
