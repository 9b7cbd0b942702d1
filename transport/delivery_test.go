package transport

import (
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/civitas-go/civitas/genserver"
)

// Messages share only what they have in common, and what came alone shares no memory
// with others.
func TestWhatDeliveriesShare(t *testing.T) {
	s := newService(nil, nil)
	s.known = &texts{}
	subjects, err := NewSubjects("dev")
	if err != nil {
		t.Fatal(err)
	}
	take := func(f Frame, more int) *genserver.Incoming {
		t.Helper()
		m := Msg{Subject: subjects.Node("inc", "srv"), Reply: "in.1", Data: AppendFrame(nil, &f), more: more}
		in, _, _, err := s.incoming(&m, subjects, "inc")
		if err != nil {
			t.Fatalf("incoming: %v", err)
		}
		return in
	}
	cast := Frame{Kind: genserver.KindCast, Op: "say", From: "x", FromNode: "n2", Epoch: 3, Payload: []byte{0x81, 0xa1, 'n', 1}}
	first := take(cast, 0)
	with := func(change func(*Frame)) Frame { f := cast; change(&f); return f }
	for name, tt := range map[string]struct {
		f    Frame
		same bool
	}{
		"alike":          {cast, true},
		"other payload":  {with(func(f *Frame) { f.Payload = []byte{0x80} }), true},
		"other epoch":    {with(func(f *Frame) { f.Epoch++ }), true}, // it's no part of the envelope
		"an info":        {with(func(f *Frame) { f.Kind = genserver.KindInfo }), false},
		"other op":       {with(func(f *Frame) { f.Op = "tell" }), false},
		"other sender":   {with(func(f *Frame) { f.From = "y" }), false},
		"other node":     {with(func(f *Frame) { f.FromNode = "n3" }), false},
		"an origin":      {with(func(f *Frame) { f.Origin = Origin{Incarnation: "i", Epoch: 7} }), false},
		"a deadline":     {with(func(f *Frame) { f.Remaining = time.Second }), false},
		"a chain":        {with(func(f *Frame) { f.Chain = []string{"n2/x"} }), false},
		"a span":         {with(func(f *Frame) { f.Span = validSpan }), false},
		"a call":         {with(func(f *Frame) { f.Kind = genserver.KindCall }), false},
		"of another one": {with(func(f *Frame) { f.From, f.Op = "", "" }), false},
	} {
		take(cast, 0)
		in := take(tt.f, 0)
		if (*in.Envelope).Op != tt.f.Op || in.Kind != tt.f.Kind || in.From != tt.f.From || in.FromNode != tt.f.FromNode ||
			in.FromEpoch != tt.f.Origin.Epoch || len(in.Chain) != len(tt.f.Chain) || in.Deadline.IsZero() != (tt.f.Remaining == 0) ||
			in.Span.IsValid() != tt.f.Span.IsValid() {
			t.Errorf("%s: got envelope %+v of %+v", name, in.Envelope, tt.f)
		}
		again := take(cast, 0)
		if alike := in.Envelope == again.Envelope; alike != tt.same {
			t.Errorf("%s: shares the envelope with what follows: got %t, want %t", name, alike, tt.same)
		}
	}
	if first.Op != "say" || first.From != "x" {
		t.Errorf("got the first envelope changed: %+v", first.Envelope)
	}
	var bundle []*genserver.Incoming
	for more := 2*mostDeliveries + 5; more >= 0; more-- {
		f := cast
		if more%10 == 1 {
			f.Kind = genserver.KindCall
		}
		f.Payload = []byte{0x81, 0xa1, 'n', byte(more % 100)}
		bundle = append(bundle, take(f, more))
		if more == 0 && s.deliveries != nil {
			t.Errorf("got %d places left behind a bundle, want none", len(s.deliveries))
		}
	}
	for i, in := range bundle {
		var m struct {
			N int `json:"n"`
		}
		if err := in.Body.Decode(&m); err != nil || m.N != (len(bundle)-1-i)%100 {
			t.Errorf("message %d: got %+v, %v", i, m, err)
		}
	}
}

var validSpan = trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
