package transporttest

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/transport"
)

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
