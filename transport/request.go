package transport

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

// Route says where a message goes: to a subject made by [Subjects.Node], and
// by which ownership.
type Route struct {
	// Subject is the server's, on the incarnation that owns it.
	Subject string
	// Epoch is that of the ownership the caller knows of, for the receiver
	// to compare; zero where there is none.
	Epoch uint64
	// From is the sender's own incarnation, by which its servers own their
	// cluster-wide names; see [Origin].
	From string
	// Bundle is the beginning of Subject where several messages may travel in
	// one; see [Msg] and [TakesBundles].
	Bundle string
	// Peer is that incarnation, for [Conn].Fail; nil for none.
	Peer *Peer
	// Sequence numbers what is sent to that incarnation; nil for no numbers.
	Sequence *Sequence
}

// Request sends a call to another node and waits for its answer until ctx
// ends, or out.Deadline. It is called from the caller's goroutine.
//
// The error is, or has in it, a *genserver.Error, whose Undelivered is right:
//
//   - what the server or its node answered;
//   - no_process, undelivered, also matched by [ErrNoResponders]: no node
//     listens there. It may have been replaced: whoever knows another route
//     may send again;
//   - unavailable, also matched by the [Conn]'s error: undelivered if that is
//     [ErrNotConnected] or [ErrClosed], unknown if [ErrDisconnected];
//   - node_down, also matched by [ErrPeerEnded], unknown: the Route's Peer is
//     known to have ended. Had it been before, it's no_process, as above;
//   - timeout, also matched by context.DeadlineExceeded: undelivered if
//     they had ended before, else unknown;
//   - bad_payload: undelivered if the message does not encode or is too
//     large; else it is the answer that is malformed, and the call ran.
//
// The exception: where ctx was canceled the error is context.Canceled, wrapped
// and without a *genserver.Error, and the outcome unknown.
func Request(ctx context.Context, conn Conn, to Route, out *genserver.Outgoing) (genserver.Body, error) {
	if err := ctx.Err(); err != nil {
		return nil, ctxError(err, out.To, true)
	}
	e := newEncoding()
	defer e.free()
	deadline, now := out.Deadline, time.Time{}
	if until, ok := ctx.Deadline(); ok && deadline.IsZero() {
		deadline = until
	}
	if !deadline.IsZero() {
		if now = time.Now(); !now.Before(deadline) {
			return nil, ctxError(context.DeadlineExceeded, out.To, true)
		}
	}
	if err := e.frame(to, out, deadline, now); err != nil {
		return nil, err
	}
	m, err := conn.Request(ctx, Msg{Subject: to.Subject, Bundle: to.Bundle, Data: e.buf.Bytes(), Until: out.Deadline, Peer: to.Peer, Sent: out.Sent})
	if err != nil {
		return nil, to.failed(err, out.To)
	}
	reply, err := ParseReply(m.Data)
	if err != nil {
		return nil, &wrapped{&genserver.Error{Code: genserver.ErrBadPayload.Code, Server: out.To, Text: "reply: " + err.Error()}, err}
	}
	if reply.Err != nil {
		return nil, reply.Err
	}
	return NewBody(MsgPack, reply.Payload), nil
}

// Publish sends a cast or an info to another node. Nil says that it has left,
// not that it arrived. The errors are those of [Request] that concern sending;
// all of them are undelivered.
func Publish(conn Conn, to Route, out *genserver.Outgoing) error {
	e := newEncoding()
	defer e.free()
	var now time.Time
	if !out.Deadline.IsZero() {
		now = time.Now()
	}
	if err := e.frame(to, out, out.Deadline, now); err != nil {
		return err
	}
	if err := conn.Publish(Msg{Subject: to.Subject, Bundle: to.Bundle, Data: e.buf.Bytes()}); err != nil {
		return to.failed(err, out.To)
	}
	return nil
}

// TakesBundles asks an incarnation whether it takes bundles: one that runs an
// earlier build does not. The error says that it is not known.
func TakesBundles(ctx context.Context, conn Conn, s Subjects, incarnation string) (bool, error) {
	_, err := Request(ctx, conn, Route{Subject: s.Node(incarnation, bundleToken)}, &genserver.Outgoing{
		Envelope: genserver.Envelope{To: bundleToken, Kind: genserver.KindCall}, Message: genserver.Map{},
	})
	if errors.Is(err, genserver.ErrNoProcess) && !errors.Is(err, ErrNoResponders) {
		return false, nil
	}
	return err == nil, err
}

// failed names a Conn's error; a message that certainly reached no one must
// not be missed by anyone.
func (to Route) failed(err error, server string) error {
	if unsent(err) {
		to.Sequence.withhold()
	}
	return connError(err, server)
}

// frame leaves the whole frame of a message in the buffer.
func (e *encoding) frame(to Route, out *genserver.Outgoing, deadline, now time.Time) error {
	if err := checkOutgoing(out); err != nil {
		return badRequest(out.To, err)
	}
	f := Frame{
		Kind: out.Kind, Op: out.Op, Span: out.Span, From: out.From, FromNode: out.FromNode,
		Chain: out.Chain, Epoch: to.Epoch, Number: to.Sequence.next(),
	}
	if out.FromEpoch > 0 {
		f.Origin = Origin{Incarnation: to.From, Epoch: out.FromEpoch}
	}
	if !deadline.IsZero() {
		f.Remaining = remainingUntil(deadline, now)
	}
	e.buf.Write(AppendFrame(e.buf.AvailableBuffer(), &f))
	if err := e.append(out.Message); err != nil {
		to.Sequence.withhold()
		return badRequest(out.To, err)
	}
	return nil
}

// checkOutgoing refuses here what every receiver would.
func checkOutgoing(out *genserver.Outgoing) error {
	if out.Kind < genserver.KindCall || out.Kind > genserver.KindInfo {
		return fmt.Errorf("kind %d", out.Kind)
	}
	if len(out.Op) > maxText {
		return fmt.Errorf("an op of %d bytes, limit %d", len(out.Op), maxText)
	}
	if len(out.Chain) > maxChain {
		return fmt.Errorf("a call chain of %d servers, limit %d", len(out.Chain), maxChain)
	}
	return nil
}

func badRequest(server string, err error) error {
	return &wrapped{&genserver.Error{
		Code: genserver.ErrBadPayload.Code, Server: server, Text: "request: " + err.Error(), Undelivered: true,
	}, err}
}

// connError names a Conn's error as a caller of a server knows it.
func connError(err error, server string) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return ctxError(err, server, false)
	}
	e := &genserver.Error{Server: server, Undelivered: unsent(err)}
	switch {
	case errors.Is(err, ErrNoResponders):
		e.Code = genserver.ErrNoProcess.Code
	case errors.Is(err, ErrPeerEnded):
		e.Code = genserver.ErrNodeDown.Code
		e.Text = err.Error()
		var reason *genserver.Error
		if errors.As(err, &reason) {
			e.Text = reason.Text
		}
	case errors.Is(err, ErrTooLarge), errors.Is(err, ErrBadSubject):
		e.Code = genserver.ErrBadPayload.Code
		e.Text = err.Error()
	default:
		e.Code = genserver.ErrUnavailable.Code
		e.Text = err.Error()
	}
	return &wrapped{e, err}
}

func ctxError(err error, server string, undelivered bool) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", server, err)
	}
	return &wrapped{&genserver.Error{Code: genserver.ErrTimeout.Code, Server: server, Undelivered: undelivered}, err}
}

// wrapped is a *genserver.Error that still shows what caused it.
type wrapped struct {
	err   *genserver.Error
	cause error
}

func (w *wrapped) Error() string   { return w.err.Error() }
func (w *wrapped) Unwrap() []error { return []error{w.err, w.cause} }
