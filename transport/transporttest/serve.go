package transporttest

import (
	"errors"
	"io"
	"log/slog"
	"math"
	"slices"
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
		from  transport.Origin
	}
	got := make(chan arrival, 1)
	serveNode(t, server, func(in *genserver.Incoming, epoch uint64, from transport.Origin) {
		got <- arrival{in, epoch, from}
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
	serveNode(t, server, func(in *genserver.Incoming, _ uint64, _ transport.Origin) { got <- in })
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

func malformed(t *testing.T, d Dial) {
	server, client := dial(t, d, "server"), dial(t, d, "client")
	delivered := make(chan *genserver.Incoming, 10)
	s := serveNode(t, server, func(in *genserver.Incoming, _ uint64, _ transport.Origin) { delivered <- in })
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
