package genserver_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"go.opentelemetry.io/otel/trace"

	"github.com/civitas-go/civitas/genserver"
)

type line struct {
	genserver.OneWay
	N int `json:"n"`
}

func (line) Op() string { return "line" }

// Casts from this node and from others lie in one mailbox, and are taken out of it
// together; each is handled in its turn, with its own sender and span.
func TestLettersFromOtherNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var spans []trace.SpanID
		s := newSystem(t, genserver.Config{Node: "n1", Router: &fakeRouter{publish: func(_ context.Context, m *genserver.Outgoing) error {
			spans = append(spans, m.Span.SpanID())
			return nil
		}}})
		var got []string
		release := make(chan struct{})
		typ := genserver.Define("test.Lines", func(*genserver.Context, struct{}) (*struct{}, error) { return &struct{}{}, nil },
			genserver.HandleCast(func(_ *struct{}, c *genserver.Context, l line) error {
				if l.N < 0 {
					<-release
					return nil
				}
				got = append(got, fmt.Sprintf("%d %s", l.N, c.From()))
				return c.Ref("elsewhere").Cast(c, Tell{})
			}))
		start(t, s, "p", typ.With(struct{}{}))
		start(t, s, "near", Puppet.With(hooks{}))
		noErr(t, "cast", s.Ref("p").Cast(t.Context(), line{N: -1}))
		synctest.Wait()
		shared := &genserver.Envelope{To: "p", Kind: genserver.KindCast, Op: "line", From: "far", FromNode: "n2"}
		var want []string
		var wantSpans []trace.SpanID
		for n := range 100 {
			from, span := "", trace.SpanID{}
			switch n % 4 {
			case 0:
				noErr(t, "cast", s.Ref("p").Cast(t.Context(), line{N: n}))
			case 1:
				from = "near"
				_, err := genserver.Call(t.Context(), s.Ref("near"), Do{Fn: func(c *genserver.Context) (Done, error) {
					return Done{}, c.Ref("p").Cast(c, line{N: n})
				}})
				noErr(t, "call", err)
			case 2:
				from = "n2/far"
				s.Deliver(&genserver.Incoming{Envelope: shared, Body: jsonBody(fmt.Sprintf(`{"n":%d}`, n))})
			case 3:
				span = remoteSpan.SpanID()
				s.Deliver(&genserver.Incoming{
					Envelope: &genserver.Envelope{To: "p", Kind: genserver.KindCast, Op: "line", Span: remoteSpan},
					Body:     jsonBody(fmt.Sprintf(`{"n":%d}`, n)),
				})
			}
			want, wantSpans = append(want, fmt.Sprintf("%d %s", n, from)), append(wantSpans, span)
		}
		s.Deliver(&genserver.Incoming{Envelope: shared, Body: jsonBody(`no JSON`)})
		s.Deliver(&genserver.Incoming{Envelope: &genserver.Envelope{To: "p", Kind: genserver.KindCast, Op: "unknown"}, Body: jsonBody(`{}`)})
		close(release)
		synctest.Wait()
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if !slices.Equal(spans, wantSpans) {
			t.Errorf("got spans %v, want %v", spans, wantSpans)
		}
		if got := s.Stats(); got.Dropped != 2 || got.UnknownOps != 1 {
			t.Errorf("got %d dropped, %d unknown, want 2 and 1", got.Dropped, got.UnknownOps)
		}
	})
}
