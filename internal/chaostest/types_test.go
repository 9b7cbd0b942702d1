//go:build unix

package chaostest

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/transport"
)

type (
	// Count is a call that must run once at most.
	Count struct {
		genserver.Returns[Counted]
		ID string `json:"id"`
	}
	// Counted says in which epoch it ran.
	Counted struct {
		Epoch uint64 `json:"epoch"`
	}
	// Note is what the scribe casts when it has written.
	Note struct {
		genserver.OneWay
		ID    string `json:"id"`
		Epoch uint64 `json:"epoch"`
	}
)

func (Count) Op() string { return "count" }
func (Note) Op() string  { return "note" }

type counter struct{ ledger book }

func counterType(ledger book) *genserver.TypeOf[struct{}] {
	return genserver.Define("chaostest.Counter",
		func(ctx *genserver.Context, _ struct{}) (*counter, error) {
			ledger.write("init %d %s %d -", now(), ctx.Self().Name(), ctx.Epoch())
			return &counter{ledger}, nil
		},
		genserver.HandleCall(func(c *counter, ctx *genserver.Context, m Count) (Counted, error) {
			c.ledger.write("start %d %s %d %s", now(), ctx.Self().Name(), ctx.Epoch(), m.ID)
			return Counted{ctx.Epoch()}, nil
		}),
		genserver.HandleCast(func(c *counter, _ *genserver.Context, m Note) error {
			c.ledger.write("note %d %s %d %s", now(), scribe, m.Epoch, m.ID)
			return nil
		}))
}

// writing is a scribe. What it does last in a handler happens long after the
// handler has begun: a process that stood still meanwhile does it in another time.
type writing struct {
	ledger book
	conn   *transport.NATS
}

const handling = 200 * time.Millisecond

func scribeType(ledger book, conn *transport.NATS) *genserver.TypeOf[struct{}] {
	return genserver.Define("chaostest.Scribe",
		func(ctx *genserver.Context, _ struct{}) (*writing, error) {
			ledger.write("init %d %s %d -", now(), ctx.Self().Name(), ctx.Epoch())
			return &writing{ledger, conn}, nil
		},
		genserver.HandleCall(func(w *writing, ctx *genserver.Context, m Count) (Counted, error) {
			w.ledger.write("start %d %s %d %s", now(), scribe, ctx.Epoch(), m.ID)
			<-time.After(handling)
			// It does not ask whether it still may: others have to refuse what it may not.
			stored := w.store(context.WithoutCancel(ctx), ctx.Epoch(), m.ID)
			w.ledger.write("wrote %d %s %d %s %s", now(), scribe, ctx.Epoch(), m.ID, stored)
			_ = ctx.Ref(others[0]).Cast(ctx, Note{ID: m.ID, Epoch: ctx.Epoch()}) // refused, or counted where it arrives
			return Counted{ctx.Epoch()}, nil
		}))
}

const (
	fenced   = "fenced"
	unstored = "unstored" // with an unknown outcome
)

// store writes the scribe's state, which the server of the records takes from its
// owner alone: the sequence of the owner's record has to be the epoch. The result
// is the sequence of what was stored, or why nothing was.
func (w *writing) store(ctx context.Context, epoch uint64, id string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		seq, err := w.storeOnce(ctx, epoch, id)
		var api *jetstream.APIError
		switch {
		case err == nil:
			return strconv.FormatUint(seq, 10)
		case errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
			return fenced
		}
		select { // the connection may have to be made anew
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return unstored
		}
	}
}

func (w *writing) storeOnce(ctx context.Context, epoch uint64, id string) (seq uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	js, err := jetstream.New(w.conn.Conn())
	if err != nil {
		return 0, err
	}
	const prefix = "civitas." + node.DefaultCluster + ".js."
	ack, err := js.Publish(ctx, prefix+"st."+scribe, []byte(id),
		jetstream.WithExpectLastSequenceForSubject(epoch, prefix+"own."+scribe), jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}
