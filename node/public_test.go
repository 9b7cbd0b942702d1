package node_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/civitas-go/civitas/node"
)

func jsonOf(t testing.TB, data []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		t.Errorf("decode %q: got %v, want nil", data, err)
	}
	return m
}

// What a plain NATS client sees of a server.
func TestPublicSubject(t *testing.T) {
	t.Parallel()
	url := startNATS(t)
	h := held()
	start(t, config("n1", node.URL(url), public("my.box", h), local("own", hooks{})))
	nc, err := nats.Connect(url)
	noErr(t, "connect", err)
	defer nc.Close()
	ask := func(t *testing.T, data string, header nats.Header) *nats.Msg {
		t.Helper()
		m, err := nc.RequestMsgWithContext(soon(t), &nats.Msg{Subject: "civitas.dev.s.my.box", Data: []byte(data), Header: header})
		if err != nil {
			t.Fatalf("request %s: got %v, want an answer", data, err)
		}
		return m
	}
	noErr(t, "publish", nc.Publish("civitas.dev.s.my.box", []byte(`{"type":"put","x":41}`)))

	t.Run("json", func(t *testing.T) {
		m := ask(t, `{"type":"get"}`, nil)
		if got := jsonOf(t, m.Data); got["x"] != 41.0 || got["node"] != "n1" || m.Header.Get("Nats-Service-Error") != "" {
			t.Errorf("got %s with headers %v, want x 41 of n1 without an error", m.Data, m.Header)
		}
	})
	t.Run("msgpack", func(t *testing.T) {
		request, err := msgpack.Marshal(map[string]any{"type": "get"})
		noErr(t, "encode", err)
		m := ask(t, string(request), nil)
		var got map[string]any
		noErr(t, "decode", msgpack.Unmarshal(m.Data, &got))
		if got["node"] != "n1" {
			t.Errorf("got %v, want a msgpack map of n1", got)
		}
	})
	for _, c := range []struct {
		name, data, code, status string
		header                   nats.Header
		undelivered              bool
	}{
		{"handler's error", `{"type":"fail"}`, "booking.no_seat", "422", nil, false},
		{"unknown op", `{"type":"dance"}`, "unknown_op", "404", nil, true},
		{"no op", `{}`, "unknown_op", "404", nil, true},
		{"a cast's op", `{"type":"put","x":1}`, "unknown_op", "404", nil, true},
		{"not JSON", `{"type":`, "bad_payload", "400", nil, true},
		{"no object", `[1]`, "bad_payload", "400", nil, true},
		{"empty", ``, "unknown_op", "404", nil, true},
		{"wrong field type", `{"type":"pass","x":"text"}`, "bad_payload", "400", nil, true},
		{"bad timeout", `{"type":"get"}`, "bad_payload", "400", nats.Header{"Civitas-Timeout": {"soon"}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := ask(t, c.data, c.header)
			body := jsonOf(t, m.Data)
			if body["code"] != c.code || body["undelivered"] != c.undelivered || body["error"] == "" {
				t.Errorf("got body %s, want code %s, undelivered %v, and a text", m.Data, c.code, c.undelivered)
			}
			if got := m.Header.Get("Nats-Service-Error-Code"); got != c.status {
				t.Errorf("got Nats-Service-Error-Code %q, want %s", got, c.status)
			}
			if m.Header.Get("Nats-Service-Error") == "" {
				t.Errorf("got headers %v, want Nats-Service-Error", m.Header)
			}
		})
	}
	t.Run("timeout in the mailbox", func(t *testing.T) {
		// The client's time passes while the server is busy: the call never runs.
		inbox := nc.NewInbox()
		sub, err := nc.SubscribeSync(inbox)
		noErr(t, "subscribe", err)
		noErr(t, "hold", nc.PublishRequest("civitas.dev.s.my.box", inbox+".x", []byte(`{"type":"hold"}`)))
		receive(t, "the handler", h.entered)
		noErr(t, "request", nc.PublishMsg(&nats.Msg{
			Subject: "civitas.dev.s.my.box", Reply: inbox, Data: []byte(`{"type":"get"}`),
			Header: nats.Header{"Civitas-Timeout": {"1ms"}},
		}))
		ask(t, `[]`, nil) // is refused before the mailbox, and after the call got there
		<-time.After(5 * time.Millisecond)
		close(h.gate)
		m, err := sub.NextMsgWithContext(soon(t))
		noErr(t, "answer", err)
		if m != nil && jsonOf(t, m.Data)["code"] != "timeout" {
			t.Errorf("got %s, want code timeout", m.Data)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		for _, subject := range []string{"civitas.dev.s.nobody", "civitas.dev.s.own", "civitas.other.s.my.box"} {
			_, err := nc.RequestMsgWithContext(soon(t), &nats.Msg{Subject: subject, Data: []byte(`{"type":"get"}`)})
			if !errors.Is(err, nats.ErrNoResponders) {
				t.Errorf("request to %s: got %v, want ErrNoResponders", subject, err)
			}
		}
	})
}

// After a crash the public subject is served on, by the next life.
func TestPublicSubjectOutlivesACrash(t *testing.T) {
	t.Parallel()
	url := startNATS(t)
	h := held()
	close(h.gate)
	start(t, config("n1", node.URL(url), public("box", h)))
	nc, err := nats.Connect(url)
	noErr(t, "connect", err)
	defer nc.Close()
	request := func(data string) map[string]any {
		t.Helper()
		m, err := nc.RequestMsgWithContext(soon(t), &nats.Msg{Subject: "civitas.dev.s.box", Data: []byte(data)})
		if err != nil {
			t.Fatalf("request %s: got %v, want an answer", data, err)
		}
		return jsonOf(t, m.Data)
	}
	first := request(`{"type":"get"}`)["life"].(float64)
	if got := request(`{"type":"hold","panic":true}`); got["code"] != "exit" {
		t.Errorf("crash: got %v, want code exit", got)
	}
	if second := request(`{"type":"get"}`)["life"].(float64); second <= first {
		t.Errorf("after the crash: got life %v, want a later one than %v", second, first)
	}
}
