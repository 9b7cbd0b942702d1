package genserver_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.opentelemetry.io/otel/trace"

	"github.com/civitas-go/civitas/genserver"
)

var remoteSpan = trace.NewSpanContext(trace.SpanContextConfig{
	TraceID: trace.TraceID{1, 2}, SpanID: trace.SpanID{3, 4}, TraceFlags: trace.FlagsSampled, Remote: true,
})

var envelopes = cmp.Options{
	cmp.Comparer(func(a, b trace.SpanContext) bool { return a.Equal(b) }),
	cmpopts.EquateEmpty(),
}

func TestRequestToAnotherNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got *genserver.Outgoing
		reply, fail := jsonBody(`{"n":7}`), error(nil)
		s := newSystem(t, genserver.Config{Node: "n1", Router: &fakeRouter{request: func(ctx context.Context, m *genserver.Outgoing) (genserver.Body, error) {
			got = m
			if _, ok := ctx.Deadline(); ok == m.Deadline.IsZero() {
				t.Errorf("got a deadline in the context: %v, want as in the envelope", ok)
			}
			return reply, fail
		}}})
		start(t, s, "caller", Puppet.With(hooks{}))
		now := time.Now()
		ctx := trace.ContextWithSpanContext(t.Context(), remoteSpan)
		check := func(t *testing.T, want genserver.Envelope, node string) {
			t.Helper()
			if diff := cmp.Diff(want, got.Envelope, envelopes); diff != "" {
				t.Errorf("envelope (-want +got):\n%s", diff)
			}
			if got.Node != node {
				t.Errorf("got node %q, want %q", got.Node, node)
			}
		}

		rep, err := genserver.Call(ctx, s.Ref("far"), Do{})
		if err != nil || rep.N != 7 {
			t.Errorf("got %v, %v, want 7, nil", rep, err)
		}
		check(t, genserver.Envelope{To: "far", Kind: genserver.KindCall, Op: "do", FromNode: "n1", Deadline: now.Add(5 * time.Second), Span: remoteSpan}, "")

		_, err = genserver.Call(t.Context(), s.Ref("far").On("n2"), Do{}, genserver.WithTimeout(0))
		noErr(t, "call", err)
		check(t, genserver.Envelope{To: "far", Kind: genserver.KindCall, Op: "do", FromNode: "n1"}, "n2")

		// The receiver knows its tag, the sender of a Map does not.
		m, err := genserver.Call(t.Context(), s.Ref("far"), genserver.Map{"op": "get", "type": "x"}, genserver.WithTimeout(time.Second))
		if err != nil || m["n"] != int64(7) {
			t.Errorf("got %v, %v, want n: 7", m, err)
		}
		check(t, genserver.Envelope{To: "far", Kind: genserver.KindCall, FromNode: "n1", Deadline: now.Add(time.Second)}, "")

		inside(t, s, "caller", func(c *genserver.Context) {
			_, err := genserver.Call(c, c.Ref("far"), Do{})
			noErr(t, "call from inside", err)
		})
		check(t, genserver.Envelope{
			To: "far", Kind: genserver.KindCall, Op: "do", From: "caller", FromNode: "n1",
			Deadline: now.Add(5 * time.Second), Chain: []string{"n1/caller"},
		}, "")

		reply = `{"n":"seven"}`
		_, err = genserver.Call(t.Context(), s.Ref("far"), Do{})
		wantErr(t, "reply that does not decode", err, genserver.ErrBadPayload, false)
		fail = &genserver.Error{Code: "node_down", Server: "far"}
		_, err = genserver.Call(t.Context(), s.Ref("far"), Do{})
		wantErr(t, "call to a dead node", err, genserver.ErrNodeDown, false)

		// This node's own servers are never asked for far away.
		got = nil
		_, err = genserver.Call(t.Context(), s.Ref("far").On("n1"), Do{})
		wantErr(t, "call on this node", err, genserver.ErrNoProcess, true)
		if got != nil {
			t.Errorf("got a request %v, want none", got)
		}
	})
}

func TestPublishToAnotherNode(t *testing.T) {
	t.Parallel()
	var got *genserver.Outgoing
	var fail error
	s := newSystem(t, genserver.Config{Node: "n1", Router: &fakeRouter{publish: func(_ context.Context, m *genserver.Outgoing) error {
		got = m
		return fail
	}}})
	ctx := trace.ContextWithSpanContext(t.Context(), remoteSpan)
	noErr(t, "cast", s.Ref("far").Cast(ctx, Tell{}))
	if diff := cmp.Diff(genserver.Envelope{To: "far", Kind: genserver.KindCast, Op: "tell", FromNode: "n1", Span: remoteSpan}, got.Envelope, envelopes); diff != "" {
		t.Errorf("envelope (-want +got):\n%s", diff)
	}
	noErr(t, "send", s.Ref("far").On("n2").Send(ctx, Note{}))
	if got.Kind != genserver.KindInfo || got.Node != "n2" {
		t.Errorf("got %v to node %q, want an info to n2", got.Kind, got.Node)
	}
	fail = &genserver.Error{Code: "no_process", Server: "far", Undelivered: true}
	noErr(t, "cast to nobody", s.Ref("far").Cast(ctx, Tell{}))
	wantErr(t, "strict cast to nobody", s.Ref("far").Cast(ctx, Tell{}, genserver.Strict()), genserver.ErrNoProcess, true)
	if got := s.Stats().Dropped; got != 2 {
		t.Errorf("got %d dropped, want 2", got)
	}
	fail = genserver.ErrUnavailable
	wantErr(t, "cast without a connection", s.Ref("far").Cast(ctx, Tell{}), genserver.ErrUnavailable, false)
}

func deliver(s *genserver.System, to string, kind genserver.Kind, op, body string) *answer {
	a := newAnswer()
	in := &genserver.Incoming{Envelope: &genserver.Envelope{To: to, Kind: kind, Op: op}, Body: jsonBody(body)}
	if kind == genserver.KindCall {
		in.Reply = a
	}
	s.Deliver(in)
	return a
}

func TestDeliver(t *testing.T) {
	t.Parallel()
	for name, typ := range orderTypes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, genserver.Config{})
			p := start(t, s, "p", typ.With(struct{}{}))
			deliver(s, "p", genserver.KindCast, "say", `{"from":1,"n":1}`)
			deliver(s, "p", genserver.KindInfo, "", `{"type":"hint","from":1,"n":2}`)
			a := deliver(s, "p", genserver.KindCall, "", `{"type":"ask","from":1,"n":3}`)
			b := deliver(s, "p", genserver.KindCall, "ask", `{"from":1,"n":4}`)
			for _, a := range []*answer{a, b} {
				if _, err, n := a.once(); err != nil || n != 1 {
					t.Errorf("got %v, %d times, want nil, once", err, n)
				}
			}
			if p.Reason() != nil {
				t.Errorf("got the end %v, want a living server", p.Reason())
			}
		})
	}
}

func TestDeliverRefusals(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{Node: "n1"})
	start(t, s, "p", orderTypes["typed"].With(struct{}{}))
	start(t, s, "tiny", TinyPuppet.With(hooks{}))
	release := hold(t, s, "tiny")
	defer release()
	for range 3 {
		noErr(t, "cast", s.Ref("tiny").Cast(t.Context(), Tell{}, genserver.Strict()))
	}
	for _, tc := range []struct {
		name, to, op, body string
		is                 error
	}{
		{"no such server", "nobody", "ask", `{}`, genserver.ErrNoProcess},
		{"not JSON", "p", "ask", `{"n":`, genserver.ErrBadPayload},
		{"not JSON, and no op", "p", "", `ask`, genserver.ErrBadPayload},
		{"wrong field", "p", "ask", `{"n":"one"}`, genserver.ErrBadPayload},
		{"not a map", "p", "", `[1]`, genserver.ErrBadPayload},
		{"unknown op", "p", "", `{"type":"sing"}`, genserver.ErrUnknownOp},
		{"no op", "p", "", `{}`, genserver.ErrUnknownOp},
		{"op of another kind", "p", "say", `{}`, genserver.ErrUnknownOp},
		{"full mailbox", "tiny", "do", `{}`, genserver.ErrOverloaded},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err, n := deliver(s, tc.to, genserver.KindCall, tc.op, tc.body).once()
			wantErr(t, "call", err, tc.is, true)
			if n != 1 {
				t.Errorf("got %d answers, want 1", n)
			}
			before := s.Stats().Dropped
			op := tc.op
			if op == "say" {
				op = "ask"
			}
			deliver(s, tc.to, genserver.KindCast, op, tc.body)
			if tc.to == "p" {
				_, err := genserver.Call(t.Context(), s.Ref("p"), Unknown{}) // refused at once; it does not wait for the cast
				wantErr(t, "call", err, genserver.ErrUnknownOp, true)
				_, _, _ = deliver(s, "p", genserver.KindCall, "", `{}`).once() // but this does
			}
			if got := s.Stats().Dropped - before; got != 1 {
				t.Errorf("cast: got %d dropped, want 1", got)
			}
		})
	}
}

func TestDeliverOfExpiredWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		start(t, s, "p", Puppet.With(hooks{}))
		ran := 0
		typ := genserver.Define("test.Counts", func(*genserver.Context, struct{}) (*struct{}, error) { return &struct{}{}, nil },
			genserver.HandleCall(func(_ *struct{}, c *genserver.Context, _ Ask) (Done, error) {
				ran++
				if d, ok := c.Deadline(); !ok || time.Until(d) != time.Second {
					t.Errorf("got deadline %v, %v, want in 1s", d, ok)
				}
				<-c.Done()
				return Done{}, c.Err()
			}))
		start(t, s, "q", typ.With(struct{}{}))
		a, b := newAnswer(), newAnswer()
		for i, a := range []*answer{a, b} {
			s.Deliver(&genserver.Incoming{
				Envelope: &genserver.Envelope{To: "q", Kind: genserver.KindCall, Op: "ask", Deadline: time.Now().Add(time.Second), From: "x", FromNode: "n2"},
				Body:     jsonBody(`{}`), Reply: a,
			})
			_ = i
		}
		_, err, _ := a.once()
		wantErr(t, "call that runs", err, genserver.ErrTimeout, false)
		_, err, n := b.once()
		wantErr(t, "call that waits", err, genserver.ErrTimeout, true)
		if ran != 1 || n != 1 || s.Stats().Expired != 1 {
			t.Errorf("got %d handled, %d answers, %d expired, want 1, 1, 1", ran, n, s.Stats().Expired)
		}
	})
}

func TestDeliverWhileDraining(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{Node: "n1"})
	p := start(t, s, "p", orderTypes["typed"].With(struct{}{}))
	noErr(t, "drain", s.Drain(t.Context()))
	_, err, _ := deliver(s, "p", genserver.KindCall, "ask", `{}`).once()
	wantErr(t, "call of a client", err, genserver.ErrDraining, true)
	call := func(chain ...string) error {
		a := newAnswer()
		s.Deliver(&genserver.Incoming{
			Envelope: &genserver.Envelope{To: "p", Kind: genserver.KindCall, Op: "ask", From: "other", FromNode: "n2", Chain: chain},
			Body:     jsonBody(`{"n":1}`), Reply: a,
		})
		_, err, _ := a.once()
		return err
	}
	wantErr(t, "call of another node's server", call("n2/other"), genserver.ErrDraining, true)
	noErr(t, "call on behalf of a server here", call("n1/q", "n2/other"))
	// A cast has left its sender; nobody could be told.
	deliver(s, "p", genserver.KindCast, "say", `{"from":2,"n":1}`)
	noErr(t, "drain", s.Drain(t.Context()))
	noErr(t, "stop", p.Stop(t.Context(), nil))
	if got := s.Stats().Dropped; got != 0 {
		t.Errorf("got %d dropped, want 0", got)
	}
}

func TestDeliverToAServerThatEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		entered, leave := make(chan struct{}), make(chan struct{})
		typ := genserver.Define("test.Stuck", func(*genserver.Context, struct{}) (*struct{}, error) { return &struct{}{}, nil },
			genserver.HandleCall(func(_ *struct{}, c *genserver.Context, _ Ask) (Done, error) {
				close(entered)
				<-leave
				return Done{}, nil
			}))
		p := start(t, s, "p", typ.With(struct{}{}))
		running := deliver(s, "p", genserver.KindCall, "ask", `{}`)
		queued := deliver(s, "p", genserver.KindCall, "ask", `{}`)
		<-entered
		p.Kill()
		_, err, _ := running.once()
		wantErr(t, "running call", err, genserver.ErrExit, false)
		_, err, _ = queued.once()
		wantErr(t, "queued call", err, genserver.ErrExit, true)
		close(leave)
		synctest.Wait()
		for _, a := range []*answer{running, queued} {
			if n := len(a.got); n != 1 {
				t.Errorf("got %d answers, want 1", n)
			}
		}
		if got := s.Stats().LateReplies; got != 1 {
			t.Errorf("got %d late replies, want 1", got)
		}
	})
}

func TestDeliverTellsWhoSends(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{Node: "n1"})
	var from genserver.Ref
	typ := genserver.Define("test.From", func(*genserver.Context, struct{}) (*struct{}, error) { return &struct{}{}, nil },
		genserver.HandleCall(func(_ *struct{}, c *genserver.Context, _ Ask) (Done, error) { from = c.From(); return Done{3}, nil }))
	start(t, s, "p", typ.With(struct{}{}))
	a := newAnswer()
	s.Deliver(&genserver.Incoming{Envelope: &genserver.Envelope{To: "p", Kind: genserver.KindCall, Op: "ask", From: "asker", FromNode: "n2"}, Body: jsonBody(`{}`), Reply: a})
	v, err, _ := a.once()
	if v != any(Done{3}) || err != nil {
		t.Errorf("got %v, %v, want a Done of 3", v, err)
	}
	if got, want := from.String(), "n2/asker"; got != want {
		t.Errorf("got From %q, want %q", got, want)
	}
	_, err, _ = deliver(s, "p", genserver.KindCall, "ask", `{}`).once()
	if got := from.Name(); err != nil || got != "" {
		t.Errorf("got From %q of a client, %v, want none", got, err)
	}
}

func TestUnknownOpSaysWhatThereIs(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{})
	start(t, s, "p", genserver.Define("test.Ops", func(*genserver.Context, struct{}) (*struct{}, error) { return &struct{}{}, nil },
		genserver.HandleCall(func(*struct{}, *genserver.Context, Ask) (Done, error) { return Done{}, nil }),
		genserver.HandleCast(func(*struct{}, *genserver.Context, OpCast) error { return nil })).With(struct{}{}))
	for _, tc := range []struct {
		payload genserver.Map
		want    string
	}{
		{genserver.Map{"type": "sing"}, `test.Ops has no handler for call "sing"; it has ask`},
		{genserver.Map{"type": "op"}, `test.Ops has no handler for call "op", it is a cast`},
		{genserver.Map{"text": "x"}, `test.Ops has no handler for call "", which a payload says under "type"; it has ask`},
	} {
		var e *genserver.Error
		if _, err := genserver.Call(t.Context(), s.Ref("p"), tc.payload); !errors.As(err, &e) || e.Text != tc.want {
			t.Errorf("%v: got %v, want %s", tc.payload, err, tc.want)
		}
	}
}
