package transport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/civitas-go/civitas/genserver"
)

// The headers of plain clients. All are optional in a request, beside W3C's
// traceparent and tracestate; both of the errors' are in every error reply.
const (
	// HeaderTimeout is how long the client waits, as a Go duration: "2s".
	HeaderTimeout = "Civitas-Timeout"
	// HeaderContentType is application/json or application/msgpack. A
	// successful reply has none: it is in the request's encoding. An error
	// reply is always JSON, and says so.
	HeaderContentType = "Content-Type"
	// HeaderError is an error reply's text, "code: message", on one line.
	HeaderError = "Nats-Service-Error"
	// HeaderErrorCode is an error reply's number; see [StatusOf].
	HeaderErrorCode = "Nats-Service-Error-Code"
)

const contentJSON = "application/json"

// ServePublic takes the messages of plain clients to one server. The body is
// the payload, a JSON object or a msgpack map; with a reply subject it is a
// call, without one a cast. The Incoming has no Op: the payload's tag has it.
//
// deliver is called from the one goroutine of the subscription, in the order
// each client sent, and must not block. The logger may be nil. See
// [ServeNode] for what both have in common.
func ServePublic(conn Conn, s Subjects, name string, log *slog.Logger, deliver func(*genserver.Incoming)) (*Service, error) {
	svc := newService(conn, log)
	var err error
	svc.sub, err = conn.Subscribe(s.Public(name), func(m Msg) {
		in, err := svc.publicIncoming(&m, name)
		if err != nil {
			svc.refusePublic(&m, name, err)
			return
		}
		svc.received.Add(1)
		deliver(in)
	})
	if err != nil {
		return nil, fmt.Errorf("serve %s to plain clients: %w", name, err)
	}
	return svc, nil
}

// publicDelivery is all that a plain client's message needs, in one allocation.
type publicDelivery struct {
	in       genserver.Incoming
	envelope genserver.Envelope
	body     body
	replier  replier
}

func (s *Service) publicIncoming(m *Msg, name string) (*genserver.Incoming, error) {
	codec, err := Detect(m.Data, m.Header.Get(HeaderContentType))
	if err != nil {
		return nil, err
	}
	deadline, err := clientDeadline(m.Header.Get(HeaderTimeout))
	if err != nil {
		return nil, err
	}
	d := &publicDelivery{body: body{codec: codec, data: m.Data}}
	d.envelope = genserver.Envelope{To: name, Kind: genserver.KindCast, Deadline: deadline, Span: clientSpan(m.Header)}
	d.in = genserver.Incoming{Envelope: &d.envelope, Body: &d.body}
	if m.Reply != "" {
		d.envelope.Kind = genserver.KindCall
		d.replier = replier{svc: s, subject: m.Reply, form: publicForm{codec: codec, server: name}, began: time.Now()}
		d.in.Reply = &d.replier
	}
	return &d.in, nil
}

func (s *Service) refusePublic(m *Msg, name string, err error) {
	s.malformed.Add(1)
	if m.Reply == "" {
		s.warn("message of a plain client refused", "server", name, "error", err)
		return
	}
	r := replier{svc: s, subject: m.Reply, form: publicForm{server: name}}
	r.Reply(nil, &genserver.Error{Code: genserver.ErrBadPayload.Code, Server: name, Text: err.Error(), Undelivered: true})
}

func clientDeadline(timeout string) (time.Time, error) {
	if timeout == "" {
		return time.Time{}, nil
	}
	d, err := time.ParseDuration(timeout)
	if err != nil || d <= 0 {
		return time.Time{}, fmt.Errorf("header %s: %q is no duration such as 500ms or 2s", HeaderTimeout, cut(timeout, 32))
	}
	return time.Now().Add(d), nil
}

// clientSpan ignores a malformed trace context, as W3C's rules ask.
func clientSpan(h Header) trace.SpanContext {
	if len(h) == 0 || h.Get("traceparent") == "" {
		return trace.SpanContext{}
	}
	ctx := propagation.TraceContext{}.Extract(context.Background(), h)
	return trace.SpanContextFromContext(ctx)
}

// publicForm is the form of answers to plain clients.
type publicForm struct {
	codec  genserver.Codec
	server string
}

func (f publicForm) value(_ *encoding, v any) (Msg, error) {
	data, err := f.codec.Encode(v)
	return Msg{Data: data}, err
}

// errorBody is the JSON of an error reply; a documented contract.
type errorBody struct {
	Error       string `json:"error"`
	Code        string `json:"code"`
	Undelivered bool   `json:"undelivered"`
}

func (f publicForm) err(e *genserver.Error) Msg {
	if e.Server == "" {
		named := *e
		named.Server = f.server
		e = &named
	}
	text := cut(e.Error(), maxErrorText)
	data, err := json.Marshal(errorBody{Error: text, Code: e.Code, Undelivered: e.Undelivered})
	if err != nil { // a struct of strings always encodes
		data = []byte(`{"error":"error","code":"handler_error","undelivered":false}`)
	}
	return Msg{
		Header: Header{
			HeaderError:       {oneLine(e.Code + ": " + text)},
			HeaderErrorCode:   {strconv.Itoa(StatusOf(e))},
			HeaderContentType: {contentJSON},
		},
		Data: data,
	}
}

// oneLine makes a text fit to be a header.
func oneLine(text string) string {
	const most = 1 << 10
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, cut(text, most))
}

// StatusOf is the number that plain clients see for an error. They are
// HTTP's, so that gateways can pass them on:
//
//	400  bad_payload
//	404  no_process, unknown_op
//	422  a code of the user's own, such as booking.no_seat: the server ran and declined
//	429  overloaded
//	503  draining, unavailable, moved
//	504  timeout
//	500  everything else
//
// The code and whether the message was delivered are in the JSON body: a
// status alone does not tell whether sending again is safe.
func StatusOf(err error) int {
	var e *genserver.Error
	if !errors.As(err, &e) {
		return 500
	}
	switch e.Code {
	case genserver.ErrBadPayload.Code:
		return 400
	case genserver.ErrNoProcess.Code, genserver.ErrUnknownOp.Code:
		return 404
	case genserver.ErrOverloaded.Code:
		return 429
	case genserver.ErrDraining.Code, genserver.ErrUnavailable.Code, genserver.ErrMoved.Code:
		return 503
	case genserver.ErrTimeout.Code:
		return 504
	}
	if strings.Contains(e.Code, ".") {
		return 422
	}
	return 500
}
