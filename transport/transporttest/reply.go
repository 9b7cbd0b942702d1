package transporttest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/transport"
)

func reply(t *testing.T, d Dial) {
	server, client := dial(t, d, "server"), dial(t, d, "client")
	serveNode(t, server, func(in *genserver.Incoming, _ uint64, _ transport.Origin) {
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
	serveNode(t, server, func(in *genserver.Incoming, _ uint64, _ transport.Origin) { in.Reply.Reply(genserver.Map(nil), nil) })
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
	serveNode(t, server, func(in *genserver.Incoming, _ uint64, _ transport.Origin) { in.Reply.Reply(nil, <-send) })
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
	serveNode(t, server, func(in *genserver.Incoming, _ uint64, _ transport.Origin) { in.Reply.Reply(<-send, nil) })
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
	s := serveNode(t, server, func(in *genserver.Incoming, _ uint64, _ transport.Origin) {
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

// endsWith is a context whose deadline passes with an event: a request that has
// arrived for sure.
type endsWith struct {
	context.Context
	event <-chan struct{}
}

func (c *endsWith) Done() <-chan struct{} { return c.event }

func (c *endsWith) Err() error {
	select {
	case <-c.event:
		return context.DeadlineExceeded
	default:
		return c.Context.Err()
	}
}

func requestFails(t *testing.T, d Dial) {
	server, client := dial(t, d, "server"), dial(t, d, "client")
	arrived := make(chan struct{})
	serveNode(t, server, func(in *genserver.Incoming, _ uint64, _ transport.Origin) {
		if in.To == "silent" { // and nobody else is answered either
			close(arrived)
		}
	})
	nobody := transport.Route{Subject: subjects(t).Node("Other", "x")}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	expired, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for _, tc := range []struct {
		what        string
		ctx         context.Context
		to          transport.Route
		m           genserver.Message
		want        []error
		undelivered bool
	}{
		{"nobody", wait(t), nobody, ask{}, []error{genserver.ErrNoProcess, transport.ErrNoResponders}, true},
		{"canceled", canceled, route(t, "x"), ask{}, []error{context.Canceled}, false},
		{"expired", expired, route(t, "x"), ask{}, []error{genserver.ErrTimeout, context.DeadlineExceeded}, true},
		{"no answer", &endsWith{wait(t), arrived}, route(t, "silent"), ask{}, []error{genserver.ErrTimeout, context.DeadlineExceeded}, false},
		{"a channel", wait(t), route(t, "x"), genserver.Map{"c": make(chan int)}, []error{genserver.ErrBadPayload}, true},
		{"too large", wait(t), route(t, "x"), genserver.Map{"b": make([]byte, transport.DefaultMaxPayload)}, []error{genserver.ErrBadPayload, transport.ErrTooLarge}, true},
	} {
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
