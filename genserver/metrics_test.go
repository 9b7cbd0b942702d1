package genserver_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/civitas-go/civitas/genserver"
)

// meter is a provider whose metrics can be read.
type meter struct {
	*sdk.MeterProvider
	reader *sdk.ManualReader
}

func newMeter() meter {
	reader := sdk.NewManualReader()
	return meter{sdk.NewMeterProvider(sdk.WithReader(reader)), reader}
}

// read is every series whose name begins with the prefix, and its value: of a
// histogram "how many, the sum in seconds".
func (m meter) read(t testing.TB, prefix string) map[string]string {
	t.Helper()
	var all metricdata.ResourceMetrics
	noErr(t, "collect", m.reader.Collect(context.Background(), &all))
	got := map[string]string{}
	for _, scope := range all.ScopeMetrics {
		for _, x := range scope.Metrics {
			if !strings.HasPrefix(x.Name, prefix) {
				continue
			}
			switch data := x.Data.(type) {
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					got[series(x.Name, p.Attributes)] = fmt.Sprintf("%d, %.3gs", p.Count, p.Sum)
				}
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					got[series(x.Name, p.Attributes)] = fmt.Sprint(p.Value)
				}
			case metricdata.Gauge[int64]:
				for _, p := range data.DataPoints {
					got[series(x.Name, p.Attributes)] = fmt.Sprint(p.Value)
				}
			default:
				t.Errorf("%s: got %T, want a sum, a gauge or a histogram", x.Name, data)
			}
		}
	}
	return got
}

// series is a metric's name without the common prefix and its attributes'
// values, in the order of their keys.
func series(name string, attrs attribute.Set) string {
	words := []string{strings.TrimPrefix(name, "civitas.genserver.")}
	for _, kv := range attrs.ToSlice() {
		words = append(words, kv.Value.AsString())
	}
	return strings.Join(words, " ")
}

func wantMetrics(t testing.TB, m meter, prefix string, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, m.read(t, prefix)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", prefix, diff)
	}
}

// slowly is a handler that takes a second and ends so.
func slowly(err error) func(*genserver.Context) error {
	return func(*genserver.Context) error {
		pass(time.Second)
		return err
	}
}

func TestHandlerDuration(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
		synctest.Test(t, func(t *testing.T) {
			m := newMeter()
			s := newSystem(t, genserver.Config{Node: "n1", MeterProvider: m})
			var exits []<-chan struct{}
			for _, name := range []string{"a", "b", "c"} {
				exits = append(exits, start(t, s, name, typ.With(hooks{})).Exited())
			}
			call := func(to string, err error) error {
				_, got := genserver.Call(t.Context(), s.Ref(to), Do{Fn: func(c *genserver.Context) (Done, error) {
					return Done{}, slowly(err)(c)
				}})
				return got
			}
			noErr(t, "call", call("a", nil))
			noErr(t, "call", call("a", nil))
			wantErr(t, "call", call("a", errors.New("no")), genserver.ErrHandler, false)
			wantErr(t, "call", call("a", genserver.Stop(errors.New("out of seats"))), genserver.ErrExit, false)
			noErr(t, "cast", s.Ref("b").Cast(t.Context(), Tell{Fn: slowly(nil)}))
			noErr(t, "cast", s.Ref("b").Cast(t.Context(), Tell{Fn: func(*genserver.Context) error { panic("ouch") }}))
			noErr(t, "info", s.Ref("c").Send(t.Context(), Note{Fn: slowly(nil)}))
			noErr(t, "info", s.Ref("c").Send(t.Context(), Note{Fn: slowly(genserver.Stop(nil))}))
			for _, exited := range exits {
				wait(t, "exit", exited)
			}
			on := " " + typ.Name() + " "
			wantMetrics(t, m, "civitas.genserver.handler.duration", map[string]string{
				"handler.duration" + on + "call do ok n1":      "2, 2s",
				"handler.duration" + on + "call do error n1":   "1, 1s",
				"handler.duration" + on + "call do crash n1":   "1, 1s",
				"handler.duration" + on + "cast tell ok n1":    "1, 1s",
				"handler.duration" + on + "cast tell crash n1": "1, 0s",
				"handler.duration" + on + "info note ok n1":    "2, 2s",
			})
		})
	})
}

// Whatever a client makes up as an op, it makes no new series.
func TestOpsAreBounded(t *testing.T) {
	t.Parallel()
	m := newMeter()
	s := newSystem(t, genserver.Config{MeterProvider: m})
	fallback := genserver.Define("test.Fallback",
		func(*genserver.Context, struct{}) (*struct{}, error) { return &struct{}{}, nil },
		genserver.HandleCall(func(*struct{}, *genserver.Context, Get) (Value, error) { return Value{}, nil }),
		genserver.HandleCall(func(*struct{}, *genserver.Context, genserver.Map) (genserver.Map, error) { return genserver.Map{}, nil }))
	start(t, s, "f", fallback.With(struct{}{}))
	_, err := genserver.Call(t.Context(), s.Ref("f"), Get{})
	noErr(t, "call", err)
	for i := range 50 {
		_, err := genserver.Call(t.Context(), s.Ref("f"), genserver.Map{"type": fmt.Sprint("made up ", i)})
		noErr(t, "call", err)
	}
	noErr(t, "drain", s.Drain(t.Context())) // the reply comes before the measurement
	var got []string
	for k, v := range m.read(t, "civitas.genserver.handler.duration") {
		got = append(got, k+" "+v[:strings.Index(v, ",")])
	}
	slices.Sort(got)
	want := []string{"handler.duration test.Fallback call _OTHER ok 50", "handler.duration test.Fallback call get ok 1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
}

func TestMailboxWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMeter()
		s := newSystem(t, genserver.Config{MeterProvider: m})
		start(t, s, "p", Puppet.With(hooks{}))
		noErr(t, "cast", s.Ref("p").Cast(t.Context(), Tell{Fn: func(c *genserver.Context) error {
			c.SendAfter(time.Second, Note{}) // due while the server is busy, and handled 2s later
			pass(3 * time.Second)
			return nil
		}}))
		synctest.Wait()
		done := callAsync(t.Context(), s.Ref("p"), Do{})
		pass(time.Second)
		noErr(t, "cast", s.Ref("p").Cast(t.Context(), Tell{}))
		noErr(t, "call", <-done)
		flush(t, s, "p")
		wantMetrics(t, m, "civitas.genserver.mailbox.wait", map[string]string{
			"mailbox.wait test.Puppet cast": "2, 2s",
			"mailbox.wait test.Puppet call": "2, 3s",
			"mailbox.wait test.Puppet info": "1, 2s",
		})
	})
}

// A message for a cluster-wide name between two lives waits from its arrival.
func TestMailboxWaitBetweenLives(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMeter()
		s := newSystem(t, genserver.Config{MeterProvider: m})
		life := func() *genserver.Process {
			p, err := s.Start(t.Context(), "p", Puppet.With(hooks{}), genserver.SpawnOptions{Scope: genserver.Cluster})
			noErr(t, "start", err)
			return p
		}
		life().Kill()
		noErr(t, "cast", s.Ref("p").Cast(t.Context(), Tell{}))
		pass(4 * time.Second)
		life()
		synctest.Wait()
		wantMetrics(t, m, "civitas.genserver.mailbox.wait", map[string]string{"mailbox.wait test.Puppet cast": "1, 4s"})
	})
}

func TestGauges(t *testing.T) {
	t.Parallel()
	m := newMeter()
	s := newSystem(t, genserver.Config{Node: "n1", MeterProvider: m})
	gauges := func() map[string]string {
		got := m.read(t, "civitas.genserver.")
		maps.DeleteFunc(got, func(k, _ string) bool {
			return !strings.Contains(k, "depth") && !strings.HasPrefix(k, "processes") && !strings.Contains(k, "in_flight")
		})
		return got
	}
	want := func(what, processes, depth, deepest, inFlight string) {
		t.Helper()
		if diff := cmp.Diff(map[string]string{
			"processes test.Puppet n1": processes, "mailbox.depth test.Puppet n1": depth,
			"mailbox.depth_max test.Puppet n1": deepest, "calls.in_flight test.Puppet n1": inFlight,
		}, gauges()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	a, b := start(t, s, "a", Puppet.With(hooks{})), start(t, s, "b", Puppet.With(hooks{}))
	want("idle", "2", "0", "0", "0")

	entered, leave := make(chan struct{}), make(chan struct{})
	done := callAsync(t.Context(), s.Ref("a"), Do{Fn: func(*genserver.Context) (Done, error) {
		close(entered)
		<-leave
		return Done{}, nil
	}})
	wait(t, "the handler", entered)
	for range 3 {
		noErr(t, "cast", a.Ref().Cast(t.Context(), Tell{}))
	}
	queued := callAsync(t.Context(), s.Ref("a"), Do{})
	release := hold(t, s, "b")
	noErr(t, "cast", b.Ref().Cast(t.Context(), Tell{}))
	for a.Waiting() < 4 {
		<-time.After(time.Millisecond)
	}
	want("busy", "2", "5", "4", "2")

	close(leave)
	release()
	noErr(t, "call", <-done)
	noErr(t, "call", <-queued)
	noErr(t, "drain", s.Drain(t.Context()))
	want("idle again", "2", "0", "0", "0")
	a.Kill()
	b.Kill()
	want("none left", "0", "0", "0", "0")
	noErr(t, "stop", s.Stop(t.Context()))
	if got := gauges(); len(got) > 0 {
		t.Errorf("after the System's end: got %v, want nothing", got)
	}
}

// A call that is to be answered later is in flight until it is.
func TestInFlightLater(t *testing.T) {
	t.Parallel()
	m := newMeter()
	s := newSystem(t, genserver.Config{MeterProvider: m})
	inFlight := func(want string) {
		t.Helper()
		wantMetrics(t, m, "civitas.genserver.calls.in_flight", map[string]string{"calls.in_flight test.Later": want})
	}
	replies := make(chan genserver.Reply[Value], 1)
	later := genserver.Define("test.Later",
		func(*genserver.Context, struct{}) (*struct{}, error) { return &struct{}{}, nil },
		genserver.HandleCallLater(func(_ *struct{}, _ *genserver.Context, _ Get, r genserver.Reply[Value]) error {
			inFlight("1") // not twice
			replies <- r
			return nil
		}))
	start(t, s, "l", later.With(struct{}{}))
	done := make(chan error, 1)
	go func() {
		_, err := genserver.Call(context.Background(), s.Ref("l"), Get{})
		done <- err
	}()
	r := <-replies
	noErr(t, "drain", s.Drain(t.Context()))
	inFlight("1")
	r.Send(Value{})
	noErr(t, "call", <-done)
	inFlight("0")
}

func TestCounters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMeter()
		s := newSystem(t, genserver.Config{Node: "n1", MeterProvider: m})
		counts := func() map[string]string {
			got := m.read(t, "civitas.genserver.")
			maps.DeleteFunc(got, func(k, _ string) bool {
				return !slices.Contains([]string{"messages.dropped", "messages.unknown_op", "calls.expired", "replies.late"}, strings.Fields(k)[0])
			})
			return got
		}
		check := func(dropped, unknown, expired, late string) {
			t.Helper()
			if diff := cmp.Diff(map[string]string{
				"messages.dropped n1": dropped, "messages.unknown_op n1": unknown, "calls.expired n1": expired, "replies.late n1": late,
			}, counts()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
		check("0", "0", "0", "0")
		start(t, s, "p", Puppet.With(hooks{}))
		noErr(t, "cast to nobody", s.Ref("nobody").Cast(t.Context(), Tell{}))
		noErr(t, "cast of no op", s.Ref("p").Cast(t.Context(), genserver.Map{"type": "dance"}))
		running := callAsync(t.Context(), s.Ref("p"), Do{Fn: func(*genserver.Context) (Done, error) {
			pass(10 * time.Second)
			return Done{}, nil
		}})
		synctest.Wait()
		queued := callAsync(t.Context(), s.Ref("p"), Do{})
		wantErr(t, "running", <-running, genserver.ErrTimeout, false)
		wantErr(t, "queued", <-queued, genserver.ErrTimeout, true)
		noErr(t, "drain", s.Drain(t.Context()))
		check("2", "1", "1", "1")
		noErr(t, "stop", s.Stop(t.Context()))
		check("2", "1", "1", "1") // for the last export, which follows the System's end
		if got, want := s.Stats(), (genserver.Stats{Dropped: 2, UnknownOps: 1, Expired: 1, LateReplies: 1}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

// Reading the metrics disturbs nobody, and is disturbed by nobody.
func TestCollectUnderLoad(t *testing.T) {
	t.Parallel()
	m := newMeter()
	s := newSystem(t, genserver.Config{MeterProvider: m})
	start(t, s, "slow", Cell.With(struct{}{}))
	start(t, s, "fast", FastCell.With(struct{}{}))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := range 2000 {
			_, _ = genserver.Call(context.Background(), s.Ref("slow"), Get{})
			_, _ = genserver.Call(context.Background(), s.Ref("fast"), Get{})
			_ = s.Ref("slow").Cast(context.Background(), Put{N: i})
		}
	}()
	for {
		m.read(t, "civitas.")
		select {
		case <-ended:
			noErr(t, "drain", s.Drain(t.Context()))
			got := m.read(t, "civitas.genserver.handler.duration")
			for k, want := range map[string]string{"bench.Cell call get ok": "2000,", "bench.FastCell call get ok": "2000,", "bench.Cell cast put ok": "2000,"} {
				if !strings.HasPrefix(got["handler.duration "+k], want) {
					t.Errorf("%s: got %s, want %s", k, got["handler.duration "+k], want)
				}
			}
			return
		default:
		}
	}
}

// providers are what may be there: none, one that does nothing, one that keeps
// everything.
func providers() map[string]metric.MeterProvider {
	return map[string]metric.MeterProvider{"none": nil, "noop": noop.NewMeterProvider(), "sdk": newMeter()}
}

// Metrics cost no allocation, neither off nor on.
func TestMetricsAllocations(t *testing.T) {
	for name, mp := range providers() {
		t.Run(name, func(t *testing.T) {
			s := newSystem(t, genserver.Config{MeterProvider: mp})
			start(t, s, "slow", Cell.With(struct{}{}))
			start(t, s, "fast", FastCell.With(struct{}{}))
			ctx := context.Background()
			for what, tc := range map[string]struct {
				most float64
				do   func()
			}{
				"inline call": {0, func() { _, _ = genserver.Call(ctx, s.Ref("fast"), Get{}) }},
				"call":        {0, func() { _, _ = genserver.Call(ctx, s.Ref("slow"), Get{}) }},
				"cast":        {1, func() { _ = s.Ref("slow").Cast(ctx, Put{N: 1234}) }},
			} {
				if got := allocations(tc.do); !raceEnabled && got > tc.most {
					t.Errorf("%s: got %v allocations, want at most %v", what, got, tc.most)
				}
			}
		})
	}
}

// BenchmarkMetrics is what metrics cost a message; off is what everybody pays.
func BenchmarkMetrics(b *testing.B) {
	for _, name := range []string{"none", "noop", "sdk"} {
		for _, typ := range []*genserver.TypeOf[struct{}]{FastCell, Cell} {
			b.Run(name+"/"+typ.Name(), func(b *testing.B) {
				s := newSystem(b, genserver.Config{MeterProvider: providers()[name]})
				ref := start(b, s, "cell", typ.With(struct{}{})).Ref()
				b.ReportAllocs()
				for b.Loop() {
					if _, err := genserver.Call(context.Background(), ref, Get{}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
