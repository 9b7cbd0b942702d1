package cluster

import (
	"fmt"
	"sync"
	"time"

	"github.com/civitas-go/civitas/transport"
)

// natsLinks are a node's over its NATS.
type natsLinks struct {
	conn    *transport.NATS
	subject string // of the notices

	mu        sync.Mutex
	seen      map[transport.Server]sight
	noAnswers error // why servers are not asked about connections; nil if they are
}

// NATSLinks are the [Links] of a node whose data goes by conn, which stays the
// caller's. They dial the servers that conn knows, with its credentials.
//
// Each witness has the goroutines of its connection, which Close ends, and
// Disconnects has one, and the subscription's, which its stop ends.
func NATSLinks(conn *transport.NATS, cluster string) (Links, error) {
	subjects, err := transport.NewSubjects(cluster)
	if err != nil {
		return nil, fmt.Errorf("links: %w", err)
	}
	return &natsLinks{conn: conn, subject: subjects.Disconnects(), seen: map[transport.Server]sight{}, noAnswers: errAsking}, nil
}

// sight is what was found at an address the last time it was dialled.
type sight struct {
	server string // its id; empty if it was not reached
	near   bool   // it is on this host
	at     time.Time
}

func (l *natsLinks) saw(at transport.Server, s sight) {
	s.at = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen[at] = s
}

// sightOf is what is known of an address, for as long as that is likely to hold.
func (l *natsLinks) sightOf(at transport.Server) (s sight, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok = l.seen[at]
	return s, ok && time.Since(s.at) < sightHolds
}

// sawLast reports an address where the server was found the last time.
func (l *natsLinks) sawLast(at transport.Server, server string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen[at].server == server
}

// sightHolds is how long an address is taken for what it was.
const sightHolds = time.Minute
