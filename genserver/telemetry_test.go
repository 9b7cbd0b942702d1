package genserver_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/civitas-go/civitas/genserver"
)

// newTraced makes a System whose spans are kept.
func newTraced(t testing.TB, cfg genserver.Config) (*genserver.System, *sdk.TracerProvider, func() tracetest.SpanStubs) {
	t.Helper()
	spans := tracetest.NewInMemoryExporter()
	tp := sdk.NewTracerProvider(sdk.WithSyncer(spans))
	cfg.TracerProvider = tp
	s := newSystem(t, cfg)
	return s, tp, func() tracetest.SpanStubs {
		noErr(t, "drain", s.Drain(context.Background()))
		return spans.GetSpans()
	}
}

// find is the one span of that kind and server.
func find(t testing.TB, spans tracetest.SpanStubs, name, server string) tracetest.SpanStub {
	t.Helper()
	var found []tracetest.SpanStub
	for _, span := range spans {
		if span.Name == name && attr(span, "civitas.agent.name") == server {
			found = append(found, span)
		}
	}
	if len(found) != 1 {
		t.Fatalf("got %d spans %s of %s, want 1", len(found), name, server)
	}
	return found[0]
}

func attr(span tracetest.SpanStub, key string) string {
	for _, kv := range span.Attributes {
		if string(kv.Key) == key {
			return kv.Value.String()
		}
	}
	return ""
}

func TestSpans(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
		s, tp, end := newTraced(t, genserver.Config{Node: "n1"})
		a := start(t, s, "a", typ.With(hooks{}))
		start(t, s, "b", typ.With(hooks{}))
		ctx, root := tp.Tracer("test").Start(t.Context(), "root")
		_, err := genserver.Call(ctx, s.Ref("a"), Do{Fn: func(c *genserver.Context) (Done, error) {
			if got := trace.SpanContextFromContext(c); !got.IsValid() {
				t.Error("got no span in the handler's context, want its own")
			}
			derived := context.WithValue(c, "k", "v") //nolint:staticcheck // any key will do
			_, err := genserver.Call(derived, c.Ref("b"), Do{Fn: func(c *genserver.Context) (Done, error) {
				if got := c.From().Name(); got != "a" {
					t.Errorf("got From %q, want a", got)
				}
				return Done{}, nil
			}})
			noErr(t, "nested cast", c.Ref("b").Cast(c, Tell{}))
			noErr(t, "nested info", c.Ref("b").Send(c, Note{}))
			return Done{}, err
		}})
		noErr(t, "call", err)
		root.End()
		spans := end()

		outer := find(t, spans, "civitas.genserver.call", "a")
		if got, want := outer.Parent.SpanID(), root.SpanContext().SpanID(); got != want {
			t.Errorf("got parent %v, want the caller's %v", got, want)
		}
		want := map[string]string{
			"civitas.agent.name": "a", "civitas.agent.type": typ.Name(), "civitas.genserver.op": "do",
			"civitas.genserver.generation": fmt.Sprint(a.Generation()), "civitas.node.name": "n1",
			"messaging.system": "civitas", "messaging.operation.type": "process", "messaging.destination.name": "a",
		}
		got := map[string]string{}
		for _, kv := range outer.Attributes {
			got[string(kv.Key)] = kv.Value.String()
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("attributes (-want +got):\n%s", diff)
		}
		for name, kind := range map[string]trace.SpanKind{
			"civitas.genserver.call": trace.SpanKindServer, "civitas.genserver.cast": trace.SpanKindConsumer, "civitas.genserver.info": trace.SpanKindInternal,
		} {
			span := find(t, spans, name, "b")
			if span.SpanKind != kind {
				t.Errorf("%s: got kind %v, want %v", name, span.SpanKind, kind)
			}
			if span.Parent.SpanID() != outer.SpanContext.SpanID() || span.SpanContext.TraceID() != root.SpanContext().TraceID() {
				t.Errorf("%s: got parent %v, want the calling server's span", name, span.Parent.SpanID())
			}
			if got := attr(span, "civitas.genserver.from"); got != "a" {
				t.Errorf("%s: got from %q, want a", name, got)
			}
			if span.Status.Code != codes.Unset {
				t.Errorf("%s: got status %v, want unset", name, span.Status)
			}
		}
		if len(spans) != 5 {
			t.Errorf("got %d spans, want 5", len(spans))
		}
	})
}

func TestTimerSpan(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, tp, end := newTraced(t, genserver.Config{})
		start(t, s, "p", Puppet.With(hooks{}))
		start(t, s, "q", Puppet.With(hooks{}))
		ctx, root := tp.Tracer("test").Start(t.Context(), "root")
		_, err := genserver.Call(ctx, s.Ref("p"), Do{Fn: func(c *genserver.Context) (Done, error) {
			c.SendAfter(time.Second, Note{Fn: func(c *genserver.Context) error { return c.Ref("q").Cast(c, Tell{}) }})
			return Done{}, nil
		}})
		noErr(t, "call", err)
		root.End()
		pass(2 * time.Second)
		synctest.Wait()
		spans := end()
		setter, timer, sent := find(t, spans, "civitas.genserver.call", "p"), find(t, spans, "civitas.genserver.info", "p"), find(t, spans, "civitas.genserver.cast", "q")
		if timer.Parent.IsValid() || timer.SpanContext.TraceID() == root.SpanContext().TraceID() {
			t.Errorf("got a timer with parent %v, want a trace of its own", timer.Parent.SpanID())
		}
		if len(timer.Links) != 1 || timer.Links[0].SpanContext.SpanID() != setter.SpanContext.SpanID() {
			t.Errorf("got links %v, want one to the span that set it", timer.Links)
		}
		if sent.Parent.SpanID() != timer.SpanContext.SpanID() {
			t.Errorf("got parent %v of what the timer sent, want the timer's span", sent.Parent.SpanID())
		}
	})
}

func TestSpanStatus(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		fn   func(*genserver.Context) error
		want codes.Code
	}{
		{"fine", func(*genserver.Context) error { return nil }, codes.Unset},
		{"error", func(*genserver.Context) error { return errBroken }, codes.Error},
		{"panic", func(*genserver.Context) error { panic("boom") }, codes.Error},
		{"stop", func(*genserver.Context) error { return genserver.Stop(nil) }, codes.Unset},
		{"shutdown", func(*genserver.Context) error { return genserver.Stop(genserver.Shutdown) }, codes.Unset},
		{"crash", func(*genserver.Context) error { return genserver.Stop(errBroken) }, codes.Error},
	} {
		for _, kind := range []string{"call", "untyped call", "cast", "info"} {
			t.Run(tc.name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				s, _, end := newTraced(t, genserver.Config{})
				typ := genserver.Define("test.Status", func(*genserver.Context, struct{}) (*struct{}, error) { return &struct{}{}, nil },
					genserver.HandleCall(func(_ *struct{}, c *genserver.Context, _ OpCall) (Echo, error) { return Echo{}, tc.fn(c) }),
					genserver.HandleCast(func(_ *struct{}, c *genserver.Context, _ OpCast) error { return tc.fn(c) }),
					genserver.HandleInfo(func(_ *struct{}, c *genserver.Context, _ OpInfo) error { return tc.fn(c) }))
				start(t, s, "p", typ.With(struct{}{}))
				name := "civitas.genserver." + kind
				switch kind {
				case "call":
					_, _ = genserver.Call(t.Context(), s.Ref("p"), OpCall{})
				case "untyped call":
					name = "civitas.genserver.call"
					_, _ = genserver.Call(t.Context(), s.Ref("p"), genserver.Map{"type": "op"})
				case "cast":
					noErr(t, "cast", s.Ref("p").Cast(t.Context(), OpCast{}))
				case "info":
					noErr(t, "send", s.Ref("p").Send(t.Context(), OpInfo{}))
				}
				span := find(t, end(), name, "p")
				if got := span.Status.Code; got != tc.want {
					t.Errorf("got status %v, want %v", got, tc.want)
				}
				if got := attr(span, "civitas.genserver.op"); got != "op" {
					t.Errorf("got op %q, want op", got)
				}
			})
		}
	}
}

// What no handler was called for has no span.
func TestNoSpanForWhatIsNotHandled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _, end := newTraced(t, genserver.Config{})
		start(t, s, "p", Puppet.With(hooks{}))
		var timer *genserver.Timer
		inside(t, s, "p", func(c *genserver.Context) { timer = c.SendAfter(time.Second, Note{}) })
		release := hold(t, s, "p")
		_, err := genserver.Call(t.Context(), s.Ref("p"), Do{}, genserver.WithTimeout(2*time.Second))
		wantErr(t, "call", err, genserver.ErrTimeout, true)
		if !timer.Cancel() {
			t.Error("got Cancel = false, want true")
		}
		release()
		var names []string
		for _, span := range end() {
			names = append(names, span.Name)
		}
		if want := []string{"civitas.genserver.call", "civitas.genserver.cast"}; !slices.Equal(names, want) {
			t.Errorf("got spans %v, want %v", names, want)
		}
	})
}

// A message's span comes along from other nodes; without a provider here it
// passes through.
func TestSpanOfARemoteCaller(t *testing.T) {
	t.Parallel()
	s, _, end := newTraced(t, genserver.Config{})
	start(t, s, "p", orderTypes["typed"].With(struct{}{}))
	a := newAnswer()
	s.Deliver(&genserver.Incoming{
		Envelope: &genserver.Envelope{To: "p", Kind: genserver.KindCall, Span: remoteSpan, From: "far", FromNode: "n2"},
		Body:     jsonBody(`{"type":"ask","n":1}`), Reply: a,
	})
	_, err, _ := a.once()
	noErr(t, "call", err)
	span := find(t, end(), "civitas.genserver.call", "p")
	if span.Parent.SpanID() != remoteSpan.SpanID() || span.SpanContext.TraceID() != remoteSpan.TraceID() {
		t.Errorf("got parent %v, want %v", span.Parent.SpanID(), remoteSpan.SpanID())
	}
	if got := attr(span, "civitas.genserver.op") + " from " + attr(span, "civitas.genserver.from"); got != "ask from far" {
		t.Errorf("got %q, want %q", got, "ask from far")
	}
}

func TestSpanPassesThroughWithoutAProvider(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		start(t, s, "p", Puppet.With(hooks{}))
		ctx := trace.ContextWithSpanContext(t.Context(), remoteSpan)
		timed := trace.SpanContext{}
		_, err := genserver.Call(ctx, s.Ref("p"), Do{Fn: func(c *genserver.Context) (Done, error) {
			if got := trace.SpanContextFromContext(c); !got.Equal(remoteSpan) {
				t.Errorf("got span %v, want the caller's", got)
			}
			c.SendAfter(time.Second, Note{Fn: func(c *genserver.Context) error { timed = trace.SpanContextFromContext(c); return nil }})
			return Done{}, nil
		}})
		noErr(t, "call", err)
		pass(2 * time.Second)
		flush(t, s, "p")
		if timed.IsValid() {
			t.Errorf("got span %v in a timer's handler, want none: its setter's is no parent", timed.SpanID())
		}
	})
}

// With no provider a message costs no allocation but its own.
func TestAllocations(t *testing.T) {
	for _, tc := range []struct {
		name string
		most float64
		do   func(context.Context, *genserver.System)
	}{
		{"inline call", 0, func(ctx context.Context, s *genserver.System) { _, _ = genserver.Call(ctx, s.Ref("fast"), Get{}) }},
		{"call", 1, func(ctx context.Context, s *genserver.System) { _, _ = genserver.Call(ctx, s.Ref("slow"), Get{}) }},
		{"cast", 1, func(ctx context.Context, s *genserver.System) { _ = s.Ref("slow").Cast(ctx, Put{N: 1234}) }},
		{"info", 1, func(ctx context.Context, s *genserver.System) { _ = s.Ref("slow").Send(ctx, Tick{N: 1234}) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSystem(t, genserver.Config{})
			start(t, s, "slow", Cell.With(struct{}{}))
			start(t, s, "fast", FastCell.With(struct{}{}))
			ctx := context.Background()
			got := allocations(func() { tc.do(ctx, s) })
			if !raceEnabled && got > tc.most {
				t.Errorf("got %v allocations, want at most %v", got, tc.most)
			}
		})
	}
}
