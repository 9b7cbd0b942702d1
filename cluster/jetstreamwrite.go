package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/civitas-go/civitas/transport"
)

// mark adds headers to a write.
type mark func(nats.Header)

const (
	operationHeader = "Civitas-Operation"
	deleteOperation = "delete"
)

func tombstone(h nats.Header) {
	h.Set(operationHeader, deleteOperation)
	h.Set(jetstream.MsgTTLHeader, tombstoneTTL.String())
}

func lastState(h nats.Header) { h.Set(jetstream.MsgTTLHeader, lastStateTTL.String()) }

func isTombstone(h nats.Header) bool { return h.Get(operationHeader) == deleteOperation }

// Codes of JetStream's answers to a write.
const (
	codeWrongSequence    jetstream.ErrorCode = 10071 // lost
	codeDuplicateRunning jetstream.ErrorCode = 10158 // our earlier attempt is being stored
	codeNotReady         jetstream.ErrorCode = 10163 // the leader is not ready to compare
	codeWriteRunning     jetstream.ErrorCode = 10164 // another write to the subject is being stored
)

// write is the one compare-and-set: it stores value as the subject's message
// after the one with the sequence expect. While no acknowledgement comes it is
// repeated under the same id until ctx ends; that applies it once at most, as
// the sequence it expects is gone once it is applied.
//
// Its errors match ErrConflict, ErrUnavailable or ErrUnknown.
func (s *jetStreamStore) write(ctx context.Context, k Key, value []byte, expect uint64, marks ...mark) (uint64, error) {
	id := nuid.Next()
	header := nats.Header{}
	header.Set(jetstream.MsgIDHeader, id)
	header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(expect, 10))
	for _, m := range marks {
		m(header)
	}
	subject := s.layout.record(k)

	sent := false // an attempt left and was not refused: it may be applied
	for {
		seq, err := s.attempt(ctx, &nats.Msg{Subject: subject, Header: header, Data: value})
		if err == nil {
			return seq, nil
		}
		switch verdictOf(err) {
		case lost:
			if !sent {
				return 0, fmt.Errorf("%w: %w", ErrConflict, err)
			}
			return s.whoseIsIt(ctx, k, id, expect)
		case refused:
			if !sent {
				return 0, fmt.Errorf("%w: %w", ErrUnavailable, explain(err, s.conn.Conn()))
			}
		case refusedForNow:
		case unsure:
			sent = true
		}
		if waitErr := pause(ctx, retryPause); waitErr != nil {
			if sent {
				return 0, fmt.Errorf("%w: %w", ErrUnknown, explain(err, s.conn.Conn()))
			}
			return 0, fmt.Errorf("%w: %w: %w", ErrUnavailable, waitErr, err)
		}
	}
}

// attempt sends once and waits for the acknowledgement, no longer than ackWait
// or half of the time left, so that one repetition always has its turn.
func (s *jetStreamStore) attempt(ctx context.Context, m *nats.Msg) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, notSentError{err}
	}
	client, err := s.newest()
	if err != nil {
		return 0, notSentError{err}
	}
	select {
	case <-s.conn.Lost(): // nothing gets through, closed or not
		return 0, notSentError{transport.ErrNotConnected}
	default:
	}
	wait := s.ackWait
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, max(time.Until(deadline)/2, retryPause))
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	ack, err := client.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// whoseIsIt settles the case that a repeated write was refused because the
// sequence has moved on: by its own earlier attempt, or by another's write. (A
// server without replicas compares sequences before it looks for duplicates.)
func (s *jetStreamStore) whoseIsIt(ctx context.Context, k Key, id string, expect uint64) (uint64, error) {
	m, err := s.last(ctx, k)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%w: %w", ErrUnknown, explain(err, s.conn.Conn()))
	case m.Header.Get(jetstream.MsgIDHeader) == id:
		return m.Sequence, nil
	case m.Header.Get(jetstream.ExpectedLastSubjSeqHeader) == strconv.FormatUint(expect, 10):
		return 0, ErrConflict // that one took the place of ours, so ours never had it
	default:
		return 0, fmt.Errorf("%w: the record has changed more than once", ErrUnknown)
	}
}

// verdict is what an attempt's error says about that attempt.
type verdict int

const (
	unsure        verdict = iota // it may have been applied, or may yet be
	lost                         // another write has changed the sequence
	refused                      // it is not applied, nor would a repetition soon be
	refusedForNow                // it is not applied, a repetition may be
)

func verdictOf(err error) verdict {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		switch {
		case api.ErrorCode == codeWrongSequence:
			return lost
		case api.ErrorCode == codeWriteRunning, api.ErrorCode == codeNotReady:
			return refusedForNow
		case api.ErrorCode == codeDuplicateRunning:
			return unsure
		case api.Code >= 400 && api.Code < 500,
			api.ErrorCode == jetstream.JSErrCodeJetStreamNotEnabled,
			api.ErrorCode == jetstream.JSErrCodeJetStreamNotEnabledForAccount:
			return refused
		default:
			return unsure
		}
	}
	var notSent notSentError
	for _, never := range []error{
		nats.ErrNoResponders, jetstream.ErrNoStreamResponse, // it went nowhere
		nats.ErrReconnectBufExceeded, nats.ErrConnectionDraining, nats.ErrMaxPayload,
		nats.ErrHeadersNotSupported, nats.ErrBadSubject, nats.ErrInvalidConnection, // it did not leave
	} {
		if errors.Is(err, never) {
			return refused
		}
	}
	if errors.As(err, &notSent) {
		return refused
	}
	return unsure
}

// notSentError is a reason for which nothing was sent at all.
type notSentError struct{ error }

func (e notSentError) Unwrap() error { return e.error }

// pause waits d, or less and with an error if ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
