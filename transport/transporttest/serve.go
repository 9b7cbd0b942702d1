package transporttest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/transport"
)

// TestServe checks the way of a message from [transport.Request] and plain
// clients to a server's Incoming and back, on a broker of [TestConn].
func TestServe(t *testing.T, network func(t *testing.T) Dial) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Dial)
	}{
		{"Envelope", envelope},
		{"CastAndInfo", castAndInfo},
		{"Reply", reply},
		{"NilReply", nilReply},
		{"Errors", errorsCross},
		{"BadReply", badReply},
		{"SecondReply", secondReply},
		{"RequestFails", requestFails},
		{"Malformed", malformed},
		{"Public", public},
		{"PublicRefused", publicRefused},
		{"PublicErrors", publicErrors},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, network(t)) })
	}
}

const incarnation = "Inc-1"

func subjects(t *testing.T) transport.Subjects {
	t.Helper()
	s, err := transport.NewSubjects("test")
	if err != nil {
		t.Fatalf("subjects: got %v, want nil", err)
	}
	return s
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func serveNode(t *testing.T, c transport.Conn, f transport.NodeFunc) *transport.Service {
	t.Helper()
	s, err := transport.ServeNode(c, subjects(t), incarnation, quiet(), f)
	if err != nil {
		t.Fatalf("serve node: got %v, want nil", err)
	}
	flush(t, c)
	return s
}

func servePublic(t *testing.T, c transport.Conn, name string, f func(*genserver.Incoming)) *transport.Service {
	t.Helper()
	s, err := transport.ServePublic(c, subjects(t), name, quiet(), f)
	if err != nil {
		t.Fatalf("serve public: got %v, want nil", err)
	}
	flush(t, c)
	return s
}

func route(t *testing.T, name string) transport.Route {
	return transport.Route{Subject: subjects(t).Node(incarnation, name), Epoch: 42}
}

type ask struct {
	genserver.Returns[told]
	N    int           `json:"n"`
	Wait time.Duration `json:"wait"`
	At   time.Time     `json:"at"`
}

func (ask) Op() string { return "ask" }

type told struct {
	N int `json:"n"`
}

func span(t *testing.T) trace.SpanContext {
	t.Helper()
	state, err := trace.ParseTraceState("vendor=1,other=x")
	if err != nil {
		t.Fatalf("trace state: %v", err)
	}
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1, 2, 3}, SpanID: trace.SpanID{4, 5}, TraceFlags: trace.FlagsSampled, TraceState: state,
	})
}

func call(name string, m genserver.Message) *genserver.Outgoing {
	return &genserver.Outgoing{Envelope: genserver.Envelope{To: name, Kind: genserver.KindCall, Op: m.Op()}, Message: m}
}

func envelope(t *testing.T, d Dial) {
	server, client := dial(t, d, "server"), dial(t, d, "client")
	type arrival struct {
		in    *genserver.Incoming
		epoch uint64
	}
	got := make(chan arrival, 1)
	serveNode(t, server, func(in *genserver.Incoming, epoch uint64) {
		got <- arrival{in, epoch}
		in.Reply.Reply(genserver.Map{}, nil)
	})
	at := time.Date(2026, 11, 23, 1, 2, 3, 4, time.UTC)
	out := call("a.b-c_d", ask{N: math.MinInt64, Wait: time.Minute, At: at})
	out.From, out.FromNode, out.Chain, out.Span = "from.it", "node-1", []string{"n/x", "m/y.z"}, span(t)
	out.Deadline = time.Now().Add(time.Hour)
	if _, err := transport.Request(wait(t), client, route(t, "a.b-c_d"), out); err != nil {
		t.Fatalf("request: got %v, want nil", err)
	}
	a := await(t, got, "the call")
	in := a.in
	if in.To != out.To || in.Kind != out.Kind || in.Op != out.Op || in.From != out.From || in.FromNode != out.FromNode || !slices.Equal(in.Chain, out.Chain) {
		t.Errorf("got envelope %+v, want %+v", in.Envelope, out.Envelope)
	}
	if !in.Span.Equal(out.Span.WithRemote(true)) {
		t.Errorf("got span %+v, want %+v, remote", in.Span, out.Span)
	}
	if off := in.Deadline.Sub(out.Deadline); off < 0 || off > patience {
		t.Errorf("got deadline %v, want %v and the time under way", in.Deadline, out.Deadline)
	}
	if a.epoch != 42 {
		t.Errorf("got epoch %d, want 42", a.epoch)
	}
	var m ask
	for range 2 { // Decode may be called again.
		if err := in.Body.Decode(&m); err != nil || m.N != math.MinInt64 || m.Wait != time.Minute || !m.At.Equal(at) {
			t.Errorf("got body %+v, %v, want %+v", m, err, out.Message)
		}
	}
	var whole genserver.Map
	if err := in.Body.Decode(&whole); err != nil || whole["n"] != int64(math.MinInt64) || len(whole) != 3 {
		t.Errorf("got body %v, %v, want three keys, n the least int64", whole, err)
	}
}

func castAndInfo(t *testing.T, d Dial) {
	server, client := dial(t, d, "server"), dial(t, d, "client")
	got := make(chan *genserver.Incoming, 2)
	serveNode(t, server, func(in *genserver.Incoming, _ uint64) { got <- in })
	past := time.Now().Add(-time.Hour)
	for _, kind := range []genserver.Kind{genserver.KindCast, genserver.KindInfo} {
		out := &genserver.Outgoing{
			Envelope: genserver.Envelope{To: "x", Kind: kind, Deadline: past},
			Message:  genserver.Map{"k": []any{int64(1), "two", nil, 2.5, []byte{3}}},
		}
		if err := transport.Publish(client, route(t, "x"), out); err != nil {
			t.Fatalf("publish: got %v, want nil", err)
		}
		in := await(t, got, kind.String())
		if in.Kind != kind || in.Reply != nil {
			t.Errorf("got kind %v and replier %v, want %v and none", in.Kind, in.Reply, kind)
		}
		if in.Deadline.IsZero() || in.Deadline.After(time.Now()) {
			t.Errorf("got deadline %v, want one that has passed", in.Deadline)
		}
		if in.Span.IsValid() || in.Chain != nil || in.From != "" {
			t.Errorf("got envelope %+v, want an empty one", in.Envelope)
		}
	}
}

func reply(t *testing.T, d Dial) {
	server, client := dial(t, d, "server"), dial(t, d, "client")
	serveNode(t, server, func(in *genserver.Incoming, _ uint64) {
		var m ask
		err := in.Body.Decode(&m)
		in.Reply.Reply(told{N: m.N + 1}, err)
	})
	body, err := transport.Request(wait(t), client, route(t, "x"), call("x", ask{N: 1}))
	if err != nil {
		t.Fatalf("request: got %v, want nil", err)
	}
	var got told
	if err := body.Decode(&got); err != nil || got.N != 2 {
		t.Errorf("got %+v, %v, want 2", got, err)
	}
}

func nilReply(t *testing.T, d Dial) {
	server, client := dial(t, d, "server"), dial(t, d, "client")
	serveNode(t, server, func(in *genserver.Incoming, _ uint64) { in.Reply.Reply(genserver.Map(nil), nil) })
	body, err := transport.Request(wait(t), client, route(t, "x"), call("x", ask{}))
	if err != nil {
		t.Fatalf("request: got %v, want nil", err)
	}
	var got genserver.Map
	if err := body.Decode(&got); err != nil || len(got) != 0 {
		t.Errorf("got %+v, %v, want an empty map", got, err)
	}
}

func errorsCross(t *testing.T, d Dial) {
	noSeat := genserver.NewError("booking.no_seat", "no seat left")
	deep := &genserver.Error{Code: "exit", Server: "y", Undelivered: true, Reason: &genserver.Error{
		Code: "panic", Text: "boom", Reason: noSeat,
	}}
	server, client := dial(t, d, "server"), dial(t, d, "client")
	send := make(chan error, 1)
	serveNode(t, server, func(in *genserver.Incoming, _ uint64) { in.Reply.Reply(nil, <-send) })
	ask := func(err error) error {
		send <- err
		_, got := transport.Request(wait(t), client, route(t, "x"), call("x", ask{}))
		return got
	}
	got := ask(deep)
	if got == nil || got.Error() != deep.Error() || !genserver.NotDelivered(got) {
		t.Errorf("got %v, want %v, undelivered", got, deep)
	}
	for _, want := range []error{genserver.ErrExit, genserver.ErrPanic, noSeat} {
		if !errors.Is(got, want) {
			t.Errorf("got %v, want it to match %v", got, want)
		}
	}
	if got := ask(noSeat); !errors.Is(got, noSeat) || genserver.NotDelivered(got) {
		t.Errorf("got %v, want %v, delivered", got, noSeat)
	}
	if got := ask(errors.New("plain")); !errors.Is(got, genserver.ErrHandler) || !strings.Contains(got.Error(), "plain") {
		t.Errorf("got %v, want %v with its text", got, genserver.ErrHandler)
	}
	if got := ask(&genserver.Error{Code: "moved", Text: strings.Repeat("é", 1<<20)}); !errors.Is(got, genserver.ErrMoved) {
		t.Errorf("an endless text: got %v, want %v", got, genserver.ErrMoved)
	}
}

func badReply(t *testing.T, d Dial) {
	server, client := dial(t, d, "server"), dial(t, d, "client")
	send := make(chan any, 1)
	serveNode(t, server, func(in *genserver.Incoming, _ uint64) { in.Reply.Reply(<-send, nil) })
	servePublic(t, server, "x", func(in *genserver.Incoming) { in.Reply.Reply(<-send, nil) })
	for what, v := range map[string]any{
		"a channel": genserver.Map{"c": make(chan int)},
		"too large": genserver.Map{"b": make([]byte, transport.DefaultMaxPayload)},
	} {
		send <- v
		_, err := transport.Request(wait(t), client, route(t, "x"), call("x", ask{}))
		if !errors.Is(err, genserver.ErrBadPayload) || genserver.NotDelivered(err) {
			t.Errorf("%s: got %v, want %v, delivered", what, err, genserver.ErrBadPayload)
		}
		send <- v
		m, err := client.Request(wait(t), transport.Msg{Subject: subjects(t).Public("x")})
		if err != nil || m.Header.Get(transport.HeaderErrorCode) != "400" {
			t.Errorf("%s, plain client: got %v, %v, want status 400", what, m.Header, err)
		}
	}
}

func secondReply(t *testing.T, d Dial) {
	server, client := dial(t, d, "server"), dial(t, d, "client")
	s := serveNode(t, server, func(in *genserver.Incoming, _ uint64) {
		in.Reply.Reply(told{N: 1}, nil)
		in.Reply.Reply(nil, genserver.ErrExit)
	})
	body, err := transport.Request(wait(t), client, route(t, "x"), call("x", ask{}))
	if err != nil {
		t.Fatalf("request: got %v, want nil", err)
	}
	var got told
	if err := body.Decode(&got); err != nil || got.N != 1 {
		t.Errorf("got %+v, %v, want the first reply", got, err)
	}
	if err := s.Drain(wait(t)); err != nil {
		t.Errorf("drain: got %v, want nil", err)
	}
	if n := s.Stats().SecondReplies; n != 1 {
		t.Errorf("got %d second replies counted, want 1", n)
	}
}

func requestFails(t *testing.T, d Dial) {
	server, client := dial(t, d, "server"), dial(t, d, "client")
	serveNode(t, server, func(*genserver.Incoming, uint64) {}) // never answers
	nobody := transport.Route{Subject: subjects(t).Node("Other", "x")}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	expired, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for _, tc := range []struct {
		what        string
		ctx         context.Context // nil for one that ends soon
		to          transport.Route
		m           genserver.Message
		want        []error
		undelivered bool
	}{
		{"nobody", wait(t), nobody, ask{}, []error{genserver.ErrNoProcess, transport.ErrNoResponders}, true},
		{"canceled", canceled, route(t, "x"), ask{}, []error{context.Canceled}, false},
		{"expired", expired, route(t, "x"), ask{}, []error{genserver.ErrTimeout, context.DeadlineExceeded}, true},
		{"no answer", nil, route(t, "x"), ask{}, []error{genserver.ErrTimeout, context.DeadlineExceeded}, false},
		{"a channel", wait(t), route(t, "x"), genserver.Map{"c": make(chan int)}, []error{genserver.ErrBadPayload}, true},
		{"too large", wait(t), route(t, "x"), genserver.Map{"b": make([]byte, transport.DefaultMaxPayload)}, []error{genserver.ErrBadPayload, transport.ErrTooLarge}, true},
	} {
		if tc.ctx == nil {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			tc.ctx = ctx
		}
		_, err := transport.Request(tc.ctx, client, tc.to, call("x", tc.m))
		for _, want := range tc.want {
			if !errors.Is(err, want) {
				t.Errorf("%s: got %v, want it to match %v", tc.what, err, want)
			}
		}
		if got := genserver.NotDelivered(err); got != tc.undelivered {
			t.Errorf("%s: got undelivered %v, want %v", tc.what, got, tc.undelivered)
		}
	}
	if err := client.Close(wait(t)); err != nil {
		t.Fatalf("close: got %v, want nil", err)
	}
	if _, err := transport.Request(wait(t), client, route(t, "x"), call("x", ask{})); !errors.Is(err, genserver.ErrUnavailable) || !genserver.NotDelivered(err) {
		t.Errorf("closed: got %v, want %v, undelivered", err, genserver.ErrUnavailable)
	}
	cast := &genserver.Outgoing{Envelope: genserver.Envelope{To: "x", Kind: genserver.KindCast}, Message: genserver.Map{}}
	if err := transport.Publish(client, route(t, "x"), cast); !errors.Is(err, genserver.ErrUnavailable) || !genserver.NotDelivered(err) {
		t.Errorf("closed: got %v, want %v, undelivered", err, genserver.ErrUnavailable)
	}
}

func malformed(t *testing.T, d Dial) {
	server, client := dial(t, d, "server"), dial(t, d, "client")
	delivered := make(chan *genserver.Incoming, 10)
	s := serveNode(t, server, func(in *genserver.Incoming, _ uint64) { delivered <- in })
	good := subjects(t).Node(incarnation, "x")
	for what, m := range map[string]transport.Msg{
		"no bytes": {Subject: good},
		"JSON":     {Subject: good, Data: []byte(`{"type":"x"}`)},
		"newer":    {Subject: good, Data: []byte{0xC1, 99, 1, 0}},
		"a reply":  {Subject: good, Data: transport.AppendReply(nil, &transport.Reply{})},
		"bad name": {Subject: good + ".é", Data: transport.AppendFrame(nil, &transport.Frame{Kind: genserver.KindCall})},
	} {
		r, err := client.Request(wait(t), m)
		if err != nil {
			t.Fatalf("%s: got %v, want an answer", what, err)
		}
		answer, err := transport.ParseReply(r.Data)
		if err != nil || !errors.Is(answer.Err, genserver.ErrBadPayload) || !genserver.NotDelivered(answer.Err) {
			t.Errorf("%s: got %+v, %v, want %v, undelivered", what, answer, err, genserver.ErrBadPayload)
		}
	}
	publish(t, client, transport.Msg{Subject: good, Data: []byte("cast")})
	publish(t, client, transport.Msg{Subject: good, Data: transport.AppendFrame(nil, &transport.Frame{Kind: genserver.KindCall})})
	flush(t, client)
	if err := s.Drain(wait(t)); err != nil {
		t.Errorf("drain: got %v, want nil", err)
	}
	if got := s.Stats(); got.Malformed != 7 || got.Received != 0 || len(delivered) != 0 {
		t.Errorf("got %+v, want 7 malformed and none received", got)
	}
}

func public(t *testing.T, d Dial) {
	server, client := dial(t, d, "server"), dial(t, d, "client")
	got := make(chan *genserver.Incoming, 1)
	servePublic(t, server, "cache", func(in *genserver.Incoming) {
		got <- in
		if in.Reply != nil {
			var m genserver.Map
			err := in.Body.Decode(&m)
			in.Reply.Reply(genserver.Map{"seen": m["n"]}, err)
		}
	})
	subject := subjects(t).Public("cache")
	packed, err := transport.MsgPack.Encode(genserver.Map{"n": 7})
	if err != nil {
		t.Fatalf("encode: got %v, want nil", err)
	}
	want, err := transport.MsgPack.Encode(genserver.Map{"seen": 7})
	if err != nil {
		t.Fatalf("encode: got %v, want nil", err)
	}
	for what, tc := range map[string]struct{ data, want []byte }{
		"JSON":    {[]byte(` {"n":7}`), []byte(`{"seen":7}`)},
		"msgpack": {packed, want},
		"empty":   {nil, []byte(`{"seen":null}`)},
	} {
		m, err := client.Request(wait(t), transport.Msg{Subject: subject, Data: tc.data})
		if err != nil || !bytes.Equal(m.Data, tc.want) || len(m.Header) != 0 || transport.PublicError(m) != nil {
			t.Errorf("%s: got %q, headers %v, %v, want %q and no headers", what, m.Data, m.Header, err, tc.want)
		}
		in := await(t, got, "the call")
		if in.Kind != genserver.KindCall || in.To != "cache" || in.Op != "" || !in.Deadline.IsZero() || in.Span.IsValid() {
			t.Errorf("%s: got %+v, want a bare call", what, in.Envelope)
		}
	}
	publish(t, client, transport.Msg{Subject: subject, Data: []byte(`{}`), Header: transport.Header{
		"traceparent":           {"00-0102030405060708090a0b0c0d0e0f10-0102030405060708-01"},
		"tracestate":            {"a=b"},
		transport.HeaderTimeout: {"1h"},
		"content-type":          {"application/json; charset=utf-8"},
	}})
	in := await(t, got, "the cast")
	if in.Kind != genserver.KindCast || in.Reply != nil {
		t.Errorf("got %v with replier %v, want a cast without", in.Kind, in.Reply)
	}
	if in.Span.TraceID().String() != "0102030405060708090a0b0c0d0e0f10" || !in.Span.IsSampled() || !in.Span.IsRemote() || in.Span.TraceState().Get("a") != "b" {
		t.Errorf("got span %+v, want the client's", in.Span)
	}
	if left := time.Until(in.Deadline); left < 59*time.Minute || left > time.Hour {
		t.Errorf("got %v left, want an hour", left)
	}
}

func publicRefused(t *testing.T, d Dial) {
	server, client := dial(t, d, "server"), dial(t, d, "client")
	s := servePublic(t, server, "x", func(in *genserver.Incoming) { t.Errorf("got %+v delivered, want it refused", in.Envelope) })
	subject := subjects(t).Public("x")
	for what, m := range map[string]transport.Msg{
		"array":        {Data: []byte(`[1]`)},
		"text":         {Data: []byte(`hello`)},
		"type":         {Data: []byte(`{}`), Header: transport.Header{"Content-Type": {"text/xml"}}},
		"wrong type":   {Data: []byte(`{}`), Header: transport.Header{"Content-Type": {"application/msgpack"}}},
		"timeout":      {Data: []byte(`{}`), Header: transport.Header{transport.HeaderTimeout: {"soon"}}},
		"past timeout": {Data: []byte(`{}`), Header: transport.Header{transport.HeaderTimeout: {"-1s"}}},
	} {
		m.Subject = subject
		r, err := client.Request(wait(t), m)
		if err != nil || r.Header.Get(transport.HeaderErrorCode) != "400" {
			t.Errorf("%s: got %v, %v, want status 400", what, r.Header, err)
		}
	}
	publish(t, client, transport.Msg{Subject: subject, Data: []byte(`nonsense`)})
	flush(t, client)
	if err := s.Drain(wait(t)); err != nil {
		t.Errorf("drain: got %v, want nil", err)
	}
	if n := s.Stats().Malformed; n != 7 {
		t.Errorf("got %d malformed, want 7", n)
	}
}

func publicErrors(t *testing.T, d Dial) {
	server, client := dial(t, d, "server"), dial(t, d, "client")
	send := make(chan error, 1)
	servePublic(t, server, "x", func(in *genserver.Incoming) { in.Reply.Reply(nil, <-send) })
	packed := []byte{0x80}
	for status, err := range map[string]*genserver.Error{
		"400": genserver.ErrBadPayload,
		"404": genserver.ErrUnknownOp,
		"422": genserver.NewError("booking.no_seat", "no\r\nseat: left"),
		"429": {Code: "overloaded", Server: "x", Undelivered: true},
		"500": genserver.ErrExit,
		"503": genserver.ErrDraining,
		"504": genserver.ErrTimeout,
	} {
		send <- err
		m, rerr := client.Request(wait(t), transport.Msg{Subject: subjects(t).Public("x"), Data: packed})
		if rerr != nil {
			t.Fatalf("%s: got %v, want an answer", status, rerr)
		}
		if got := transport.PublicError(m); !errors.Is(got, err) || genserver.NotDelivered(got) != err.Undelivered {
			t.Errorf("%s: got %v, want %v", status, got, err)
		}
		var body struct {
			Error, Code string
			Undelivered bool
		}
		if jerr := json.Unmarshal(m.Data, &body); jerr != nil {
			t.Fatalf("%s: got body %q, want JSON: %v", status, m.Data, jerr)
		}
		if m.Header.Get(transport.HeaderErrorCode) != status || !strings.HasPrefix(m.Header.Get(transport.HeaderError), err.Code+": ") || m.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: got headers %v, want that status and %q", status, m.Header, err.Code)
		}
		if body.Code != err.Code || body.Undelivered != err.Undelivered || !strings.HasPrefix(body.Error, "x: ") {
			t.Errorf("%s: got %+v, want %+v of server x", status, body, err)
		}
	}
}
