package transport_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.opentelemetry.io/otel/trace"
	"pgregory.net/rapid"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/transport"
)

func fullFrame(t testing.TB) *transport.Frame {
	t.Helper()
	state, err := trace.ParseTraceState("a=b")
	if err != nil {
		t.Fatalf("trace state: %v", err)
	}
	return &transport.Frame{
		Kind: genserver.KindCall, Op: "acquire", Remaining: 5 * time.Second,
		Span: trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: 1, TraceState: state, Remote: true,
		}),
		From: "web.front", FromNode: "n1", Chain: []string{"n1/a", "n1/web.front"}, Epoch: 1 << 40,
		Origin:  transport.Origin{Incarnation: "VzAPRfkBSpfO9kUNxLv1Zy", Epoch: 1 << 50},
		Number:  transport.Number{Stream: 1 << 60, N: 1 << 30, Withheld: 3},
		Payload: []byte{0x81, 0xa1, 'n', 1},
	}
}

var sameSpan = cmp.Comparer(func(a, b trace.SpanContext) bool { return a.Equal(b) })

func TestFrameRoundTrip(t *testing.T) {
	t.Parallel()
	text := rapid.StringN(0, 100, 1000)
	rapid.Check(t, func(t *rapid.T) {
		f := transport.Frame{
			Kind:      genserver.Kind(rapid.IntRange(1, 3).Draw(t, "kind")),
			Op:        text.Draw(t, "op"),
			Remaining: time.Duration(rapid.Int64Range(-1, 1<<61).Draw(t, "remaining")),
			From:      text.Draw(t, "from"),
			FromNode:  text.Draw(t, "node"),
			Chain:     rapid.SliceOfN(text, 0, 20).Draw(t, "chain"),
			Epoch:     rapid.Uint64().Draw(t, "epoch"),
			Payload:   rapid.SliceOf(rapid.Byte()).Draw(t, "payload"),
		}
		if n := rapid.Uint64().Draw(t, "number"); n > 0 {
			f.Number = transport.Number{Stream: rapid.Uint64().Draw(t, "stream"), N: n, Withheld: rapid.Uint64().Draw(t, "withheld")}
		}
		if e := rapid.Uint64().Draw(t, "origin's epoch"); e > 0 {
			f.Origin = transport.Origin{Incarnation: text.Draw(t, "origin"), Epoch: e}
		}
		prefix := []byte("kept")
		data := transport.AppendFrame(prefix, &f)
		if !bytes.HasPrefix(data, prefix) {
			t.Fatalf("got %x, want the prefix kept", data)
		}
		got, err := transport.ParseFrame(data[len(prefix):])
		if err != nil {
			t.Fatalf("parse: got %v, want nil", err)
		}
		if len(f.Chain) == 0 {
			f.Chain = nil
		}
		if diff := cmp.Diff(f, got, sameSpan); diff != "" {
			t.Fatalf("frame differs, want -, got +:\n%s", diff)
		}
	})
}

func TestFrameKeepsEveryField(t *testing.T) {
	t.Parallel()
	f := fullFrame(t)
	v := reflect.ValueOf(*f)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Fatalf("field %s is not set in the test's frame", v.Type().Field(i).Name)
		}
	}
	got, err := transport.ParseFrame(transport.AppendFrame(nil, f))
	if err != nil {
		t.Fatalf("parse: got %v, want nil", err)
	}
	if diff := cmp.Diff(*f, got, sameSpan); diff != "" {
		t.Errorf("frame differs, want -, got +:\n%s", diff)
	}
}

// TestFrameFromTheFuture is the mixed-version test: a later build of the same
// major version adds fields, sends known ones in another order, and is read.
func TestFrameFromTheFuture(t *testing.T) {
	t.Parallel()
	future := []byte{0xC1, 1, byte(genserver.KindCast)}
	future = append(future, 200, 3, 'n', 'e', 'w') // unknown, short
	future = append(future, 5, 2, 'm', 'e')        // the sender
	future = append(future, 202, 0)                // unknown, empty
	future = append(future, 201, 0x80, 0x01)       // unknown, 128 bytes
	future = append(future, make([]byte, 128)...)
	future = append(future, 1, 2, 'o', 'p')        // the op
	future = append(future, 200, 3, 'a', 'g', 'a') // an unknown one may repeat
	future = append(future, 0, 0x80)               // the payload
	got, err := transport.ParseFrame(future)
	if err != nil {
		t.Fatalf("parse: got %v, want nil", err)
	}
	want := transport.Frame{Kind: genserver.KindCast, Op: "op", From: "me", Payload: []byte{0x80}}
	if diff := cmp.Diff(want, got, sameSpan); diff != "" {
		t.Errorf("frame differs, want -, got +:\n%s", diff)
	}

	reply := []byte{0xC1, 1, 0x11, 77, 1, 'x', 1, 5, 'm', 'o', 'v', 'e', 'd', 0}
	r, err := transport.ParseReply(reply)
	if err != nil || !errors.Is(r.Err, genserver.ErrMoved) {
		t.Errorf("got %+v, %v, want %v", r, err, genserver.ErrMoved)
	}
}

// TestFrameGolden holds the bytes themselves: nodes of this version are out
// there, and must be understood.
func TestFrameGolden(t *testing.T) {
	t.Parallel()
	f := &transport.Frame{Kind: genserver.KindCall, Op: "op", Remaining: 1, From: "a", FromNode: "n", Chain: []string{"n/a"}, Epoch: 7, Number: transport.Number{Stream: 1, N: 2, Withheld: 3}, Origin: transport.Origin{Incarnation: "I", Epoch: 300}, Payload: []byte{0x80}}
	want := "\xc1\x01\x01" + "\x01\x02op" + "\x02\x01\x02" + "\x05\x01a" + "\x06\x01n" + "\x07\x03n/a" + "\x08\x01\x07" + "\x09\x0a\x00\x00\x00\x00\x00\x00\x00\x01\x02\x03" + "\x0a\x03\xac\x02I" + "\x00\x80"
	if got := transport.AppendFrame(nil, f); string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
	e := &genserver.Error{Code: "exit", Server: "s", Text: "t", Undelivered: true, Reason: &genserver.Error{Code: "x"}}
	want = "\xc1\x01\x11" + "\x01\x04exit" + "\x02\x01s" + "\x03\x01t" + "\x04\x00" + "\x05\x03\x01\x01x" + "\x00"
	if got := transport.AppendReply(nil, &transport.Reply{Err: e}); string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFrameRefused(t *testing.T) {
	t.Parallel()
	head := "\xc1\x01\x01"
	for what, tc := range map[string]struct {
		data string
		want error
	}{
		"empty":            {"", transport.ErrFrame},
		"header only":      {head, transport.ErrFrame},
		"JSON":             {`{"type":"x"}`, transport.ErrFrame},
		"msgpack":          {"\x81\xa1n\x01", transport.ErrFrame},
		"newer":            {"\xc1\x02\x01\x00", transport.ErrFrameVersion},
		"older":            {"\xc1\x00\x01\x00", transport.ErrFrameVersion},
		"unknown kind":     {"\xc1\x01\x04\x00", transport.ErrFrame},
		"a reply":          {"\xc1\x01\x10\x00", transport.ErrFrame},
		"no payload":       {head + "\x01\x02op", transport.ErrFrame},
		"short number":     {head + "\x09\x08\x00\x00\x00\x00\x00\x00\x00\x01\x00", transport.ErrFrame},
		"number zero":      {head + "\x09\x09\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00", transport.ErrFrame},
		"long number":      {head + "\x09\x0b\x00\x00\x00\x00\x00\x00\x00\x01\x01\x01\x01\x00", transport.ErrFrame},
		"empty origin":     {head + "\x0a\x00\x00", transport.ErrFrame},
		"origin of none":   {head + "\x0a\x02\x00I\x00", transport.ErrFrame},
		"long origin":      {head + "\x0a\x82\x08\x01" + strings.Repeat("x", 1025) + "\x00", transport.ErrFrame},
		"cut off":          {head + "\x01\x09op", transport.ErrFrame},
		"long length":      {head + "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00", transport.ErrFrame},
		"longest length":   {head + "\x01\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x00", transport.ErrFrame},
		"twice":            {head + "\x01\x01a\x01\x01b\x00", transport.ErrFrame},
		"short span":       {head + "\x03\x01a\x00", transport.ErrFrame},
		"no number":        {head + "\x08\x02\x01\x01\x00", transport.ErrFrame},
		"zero remaining":   {head + "\x02\x01\x00\x00", transport.ErrFrame},
		"long op":          {head + "\x01\x81\x08" + strings.Repeat("x", 1025) + "\x00", transport.ErrFrame},
		"long chain":       {head + strings.Repeat("\x07\x00", 257) + "\x00", transport.ErrFrame},
		"too many unknown": {head + strings.Repeat("\x63\x00", 1025) + "\x00", transport.ErrFrame},
	} {
		if _, err := transport.ParseFrame([]byte(tc.data)); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", what, err, tc.want)
		}
	}
}

func TestDeadlineAcrossClocks(t *testing.T) {
	t.Parallel()
	here := time.Now()
	there := here.Add(-3 * time.Hour)
	for what, tc := range map[string]struct{ deadline, want time.Time }{
		"never":   {time.Time{}, time.Time{}},
		"later":   {here.Add(time.Second), there.Add(time.Second)},
		"now":     {here, there.Add(-1)},
		"expired": {here.Add(-time.Hour), there.Add(-1)},
	} {
		if got := transport.DeadlineIn(transport.RemainingUntil(tc.deadline, here), there); !got.Equal(tc.want) {
			t.Errorf("%s: got %v, want %v", what, got, tc.want)
		}
	}
}

func TestReplyLimits(t *testing.T) {
	t.Parallel()
	e := &genserver.Error{Code: "innermost"}
	for range 20 {
		e = &genserver.Error{Code: "exit", Text: strings.Repeat("ü", 20_000), Reason: e}
	}
	r, err := transport.ParseReply(transport.AppendReply(nil, &transport.Reply{Err: e}))
	if err != nil {
		t.Fatalf("parse: got %v, want nil", err)
	}
	depth := 0
	for at := r.Err; at != nil; at = at.Reason {
		depth++
		if len(at.Text) > 16<<10 || !strings.HasSuffix(at.Text, "ü") {
			t.Fatalf("got a text of %d bytes, want at most 16 KiB of whole runes", len(at.Text))
		}
	}
	if depth != 9 {
		t.Errorf("got %d errors, want the outermost and eight reasons", depth)
	}
	deep := []byte{1, 1, 'x'}
	for range 10 {
		deep = append([]byte{1, 1, 'x', 5, byte(len(deep))}, deep...)
	}
	for what, data := range map[string]string{
		"too deep":     "\xc1\x01\x11" + string(deep) + "\x00",
		"no code":      "\xc1\x01\x11\x02\x01s\x00",
		"a message":    "\xc1\x01\x01\x00",
		"inner end":    "\xc1\x01\x11\x01\x01x\x05\x04\x01\x01x\x00\x00",
		"inner cut":    "\xc1\x01\x11\x01\x01x\x05\x03\x01\x09x\x00",
		"unfinished":   "\xc1\x01\x11\x01\x01x",
		"future shape": "\xc1\x01\x12\x00",
	} {
		if r, err := transport.ParseReply([]byte(data)); !errors.Is(err, transport.ErrFrame) {
			t.Errorf("%s: got %+v, %v, want %v", what, r, err, transport.ErrFrame)
		}
	}
}

func FuzzParseFrame(f *testing.F) {
	f.Add(transport.AppendFrame(nil, fullFrame(f)))
	f.Add([]byte("\xc1\x01\x01\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := transport.ParseFrame(data)
		if err != nil {
			if !errors.Is(err, transport.ErrFrame) && !errors.Is(err, transport.ErrFrameVersion) {
				t.Fatalf("got %v, want %v or %v", err, transport.ErrFrame, transport.ErrFrameVersion)
			}
			return
		}
		again, err := transport.ParseFrame(transport.AppendFrame(nil, &frame))
		if err != nil {
			t.Fatalf("parse again: got %v, want nil", err)
		}
		if diff := cmp.Diff(frame, again, sameSpan); diff != "" {
			t.Fatalf("frame differs after another round:\n%s", diff)
		}
	})
}

func FuzzParseReply(f *testing.F) {
	f.Add(transport.AppendReply(nil, &transport.Reply{Payload: []byte{0x80}}))
	f.Add(transport.AppendReply(nil, &transport.Reply{Err: &genserver.Error{
		Code: "exit", Server: "s", Text: "t", Undelivered: true, Reason: &genserver.Error{Code: "panic"},
	}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		reply, err := transport.ParseReply(data)
		if err != nil {
			return
		}
		again, err := transport.ParseReply(transport.AppendReply(nil, &reply))
		if err != nil {
			t.Fatalf("parse again: got %v, want nil", err)
		}
		if diff := cmp.Diff(reply, again, cmpopts.IgnoreUnexported(genserver.Error{})); diff != "" {
			t.Fatalf("reply differs after another round:\n%s", diff)
		}
	})
}
