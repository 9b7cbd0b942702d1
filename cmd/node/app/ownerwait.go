package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/civitas-go/civitas/cluster"
)

// ownerPause is between two attempts at a name whose owner does not take its calls,
// and the least that an attempt has for its reply.
const ownerPause = 100 * time.Millisecond

// ownerWait is a call's wait for the owner of a name.
type ownerWait struct {
	server  string
	timeout time.Duration // of the call
	read    func(context.Context) (cluster.Ownership, error)
	last    cluster.Ownership // what was read last, if anything was
}

// wait returns nil when it's time for another attempt, and cluster.ErrNotFound if the
// name is not on record. When no time is left for a reply it waits for the end of ctx,
// so that no attempt is cut off whose outcome would be unknown.
func (w *ownerWait) wait(ctx context.Context) error {
	owner, err := w.read(ctx)
	switch {
	case noRecords(err):
		return cluster.ErrNotFound
	case errors.Is(err, cluster.ErrNotFound):
		return err
	case err == nil:
		w.last = owner
	}
	gone := pause(ctx, ownerPause)
	if deadline, ok := ctx.Deadline(); gone == nil && (!ok || time.Until(deadline) >= ownerPause) {
		return nil
	}
	<-ctx.Done()
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case w.last.Server != "":
		return coded(exitUnreachable, fmt.Errorf("nobody takes the calls for %s, which is node %s's (incarnation %s): that has crashed, or is cut off, "+
			"and none has taken the name over within %v; the call was not delivered", w.server, w.last.Node, w.last.Incarnation, w.timeout))
	default:
		return coded(exitUnreachable, fmt.Errorf("nobody takes the calls for %s, and whether there is such a server is not known: %w", w.server, err))
	}
}

// noRecords reports that this NATS can't have the records of any cluster.
func noRecords(err error) bool {
	for _, e := range []error{nats.ErrNoResponders, jetstream.ErrJetStreamNotEnabled, jetstream.ErrJetStreamNotEnabledForAccount} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
