package guide_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/node/embedded"
	"github.com/civitas-go/civitas/services/ratelimit"
	"github.com/civitas-go/civitas/supervisor"
)

var update = flag.Bool("update", false, "draw trace.svg from this run")

// A desk sells seats: it asks the limiter, books, and tells the ledger.

type (
	Sell struct {
		genserver.Returns[Booked]
		Guest string `json:"guest"`
	}
	Sold struct {
		genserver.OneWay
		Guest string `json:"guest"`
		Seat  int    `json:"seat"`
	}
	desk   struct{}
	ledger struct{ sold []Sold }
)

func (Sell) Op() string { return "sell" }
func (Sold) Op() string { return "sold" }

var ErrBusy = genserver.NewError("booking.busy", "too many guests at once")

func (*desk) sell(ctx *genserver.Context, s Sell) (Booked, error) {
	grant, err := genserver.Call(ctx, ctx.Ref("rate_limiter"), ratelimit.Acquire{})
	if err != nil {
		return Booked{}, err
	}
	if !grant.OK {
		return Booked{}, ErrBusy
	}
	booked, err := genserver.Call(ctx, ctx.Ref("seats"), Book(s))
	if err != nil {
		return Booked{}, err
	}
	return booked, ctx.Ref("ledger").Cast(ctx, Sold{Guest: s.Guest, Seat: booked.Seat})
}

var (
	Desk = genserver.Define("booking.Desk",
		func(*genserver.Context, struct{}) (*desk, error) { return &desk{}, nil },
		genserver.HandleCall((*desk).sell))
	Ledger = genserver.Define("booking.Ledger",
		func(*genserver.Context, struct{}) (*ledger, error) { return &ledger{}, nil },
		genserver.HandleCast(func(l *ledger, _ *genserver.Context, s Sold) error {
			l.sold = append(l.sold, s)
			return nil
		}))
)

// traceOfASale runs the desk on one node and what it needs on another, and
// returns the spans of one sale.
func traceOfASale(t *testing.T) tracetest.SpanStubs {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	broker, err := embedded.Server{}.Connect(ctx, node.LinkOptions{Node: "nats", Cluster: "guide"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = broker.Close(context.WithoutCancel(ctx)) }()
	wide := func(name string, run genserver.Runnable) supervisor.Child {
		return supervisor.Child{Name: name, Run: run, Scope: supervisor.Cluster}
	}
	start := func(name string, children ...supervisor.Child) *node.Node {
		n, err := node.Start(ctx, node.Config{
			Name: name, Cluster: "guide", NATS: node.URL(broker.URL), TracerProvider: provider,
			Tree: supervisor.Spec{Children: children},
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	back := start("back", wide("rate_limiter", ratelimit.Limiter.With(ratelimit.Config{})),
		wide("seats", Seats.With(Hall{Seats: 100, Hold: time.Hour})), wide("ledger", Ledger.With(struct{}{})))
	front := start("front", wide("desk", Desk.With(struct{}{})))
	sale := func() trace.TraceID {
		ctx, span := provider.Tracer("shop").Start(ctx, "POST /tickets")
		defer span.End()
		if _, err := genserver.Call(ctx, front.Ref("desk"), Sell{Guest: "ada"}); err != nil {
			t.Errorf("sell: got %v, want nil", err)
		}
		return span.SpanContext().TraceID()
	}
	sale() // the first one looks the names up
	second := sale()
	noErr(t, front.Stop(ctx)) // the spans have ended then
	noErr(t, back.Stop(ctx))
	spans := slices.DeleteFunc(exporter.GetSpans(), func(s tracetest.SpanStub) bool { return s.SpanContext.TraceID() != second })
	slices.SortFunc(spans, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	return spans
}

func noErr(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestTheTraceOfASale is the chapter on telemetry's picture: it holds the
// spans to what the chapter says, and with -update draws them.
func TestTheTraceOfASale(t *testing.T) {
	spans := traceOfASale(t)
	byID := map[string]string{}
	for _, s := range spans {
		byID[s.SpanContext.SpanID().String()] = label(s)
	}
	got := make([]string, 0, len(spans))
	for _, s := range spans {
		got = append(got, label(s)+" < "+byID[s.Parent.SpanID().String()])
	}
	want := []string{
		"POST /tickets < ",
		"desk sell on front < POST /tickets",
		"rate_limiter acquire on back < desk sell on front",
		"seats book on back < desk sell on front",
		"ledger sold on back < desk sell on front",
	}
	if !slices.Equal(got, want) {
		t.Fatalf("spans: got %q, want %q", got, want)
	}
	if *update {
		noErr(t, os.WriteFile("trace.svg", []byte(draw(spans)), 0o644))
	}
	if picture := read(t, "trace.svg"); strings.Count(picture, "<rect class=\"span") != len(want) {
		t.Error("trace.svg has other spans than the test: draw it again with -update")
	}
}

func attribute(s tracetest.SpanStub, key string) string {
	for _, a := range s.Attributes {
		if string(a.Key) == key {
			return a.Value.AsString()
		}
	}
	return ""
}

// label says what a span is: the server, its op and where.
func label(s tracetest.SpanStub) string {
	server := attribute(s, "civitas.agent.name")
	if server == "" {
		return s.Name
	}
	return server + " " + attribute(s, "civitas.genserver.op") + " on " + attribute(s, "civitas.node.name")
}

// draw is the spans as a picture, each a bar below its parent.
func draw(spans tracetest.SpanStubs) string {
	const (
		width, row, left, top = 860, 34, 330, 46
		room                  = width - left - 110
	)
	begin, end := spans[0].StartTime, spans[0].EndTime
	for _, s := range spans {
		if s.EndTime.After(end) {
			end = s.EndTime
		}
	}
	x := func(at time.Time) float64 { return left + float64(at.Sub(begin))/float64(end.Sub(begin))*room }
	depth := map[string]int{}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="ui-sans-serif, system-ui, sans-serif" font-size="13">
<style>
  text { fill: #24292f } .dim { fill: #6e7781; font-size: 11px } .line { stroke: #d0d7de }
  .span { fill: #8c959f } .call { fill: #0969da } .cast { fill: #bf8700 }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .dim { fill: #8b949e } .line { stroke: #30363d } }
</style>
<text x="14" y="24" font-weight="600">trace %s…</text>
<text x="%d" y="24" class="dim">0 µs</text>
<text x="%d" y="24" class="dim" text-anchor="end">%d µs</text>
<line x1="%d" y1="34" x2="%d" y2="34" class="line"/>
`, width, top+row*len(spans)+8, spans[0].SpanContext.TraceID().String()[:8], left, left+room, end.Sub(begin).Microseconds(), left, left+room)
	for i, s := range spans {
		d := 0
		if parent, ok := depth[s.Parent.SpanID().String()]; ok {
			d = parent + 1
		}
		depth[s.SpanContext.SpanID().String()] = d
		y := top + row*i
		kind := s.Name[strings.LastIndex(s.Name, ".")+1:]
		class := "span"
		if strings.HasPrefix(s.Name, "civitas.") {
			class = "span " + kind
		}
		sub := "the caller's own span"
		if class != "span" {
			sub = s.Name
		}
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\">%s</text>\n<text x=\"%d\" y=\"%d\" class=\"dim\">%s</text>\n", 14+18*d, y+12, label(s), 14+18*d, y+26, sub)
		fmt.Fprintf(&b, "<rect class=\"%s\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"16\" rx=\"3\"/>\n", class, x(s.StartTime), y+4, max(2, x(s.EndTime)-x(s.StartTime)))
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" class=\"dim\">%d µs</text>\n", left+room+12, y+16, s.EndTime.Sub(s.StartTime).Microseconds())
	}
	b.WriteString("</svg>\n")
	return b.String()
}
