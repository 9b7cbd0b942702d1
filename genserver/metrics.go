package genserver

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// metrics are a System's instruments. Their names are in telemetry.go.
type metrics struct {
	epoch    time.Time // the clock's zero, so that a reading is one word
	node     []attribute.KeyValue
	duration metric.Float64Histogram
	wait     metric.Float64Histogram
	restarts metric.Int64Counter

	processes, depth, inFlight metric.Int64ObservableUpDownCounter
	deepest                    metric.Int64ObservableGauge
	registration               metric.Registration // of the observable ones; nil where the provider refused
}

// handlerBounds are in seconds: handlers of a microsecond and of half a minute
// are both usual.
var handlerBounds = []float64{1e-6, 1e-5, 1e-4, 5e-4, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}

// outcome is how a handler ended.
type outcome uint8

const (
	outcomeOK    outcome = iota
	outcomeError         // an answer to a call
	outcomeCrash

	outcomes
)

var outcomeWords = [outcomes]string{"ok", "error", "crash"}

// otherOp stands for every op that a Type has no handler of its own for: who
// sends must not decide how many time series there are.
const otherOp = "_OTHER"

// measure begins the System's metrics, where a provider takes them. With none,
// s.metrics stays nil, and a message costs no more than looking at that.
func (s *System) measure(mp metric.MeterProvider) {
	if mp == nil {
		mp = otel.GetMeterProvider()
	}
	meter := mp.Meter(scopeName)
	m := &metrics{epoch: time.Now()}
	if s.node != "" {
		m.node = []attribute.KeyValue{attrNode.String(s.node)}
	}
	var errs [7]error
	m.duration, errs[0] = meter.Float64Histogram(metricHandlerDuration, metric.WithUnit("s"),
		metric.WithDescription("Time a handler ran."), metric.WithExplicitBucketBoundaries(handlerBounds...))
	m.wait, errs[1] = meter.Float64Histogram(metricMailboxWait, metric.WithUnit("s"),
		metric.WithDescription("Time from a message's arrival, or a timer's due time, until its handler began."), metric.WithExplicitBucketBoundaries(handlerBounds...))
	m.restarts, errs[2] = meter.Int64Counter(metricRestarts, metric.WithUnit("{restart}"),
		metric.WithDescription("Restarts by supervisors."))
	if ctx := context.Background(); !m.duration.Enabled(ctx) && !m.wait.Enabled(ctx) && !m.restarts.Enabled(ctx) {
		return // nobody listens
	}
	m.processes, errs[3] = meter.Int64ObservableUpDownCounter(metricProcesses, metric.WithUnit("{process}"),
		metric.WithDescription("Servers that have not ended."))
	m.depth, errs[4] = meter.Int64ObservableUpDownCounter(metricMailboxDepth, metric.WithUnit("{message}"),
		metric.WithDescription("Messages that wait in the mailboxes of all servers of a type."))
	m.deepest, errs[5] = meter.Int64ObservableGauge(metricMailboxMax, metric.WithUnit("{message}"),
		metric.WithDescription("Messages that wait in the fullest mailbox of a type."))
	m.inFlight, errs[6] = meter.Int64ObservableUpDownCounter(metricInFlight, metric.WithUnit("{call}"),
		metric.WithDescription("Calls that servers have taken and not answered."))
	err := errors.Join(errs[:]...)
	err = errors.Join(err, s.stats.export(meter, metric.WithAttributes(m.node...)))
	s.metrics = m
	var registered error
	m.registration, registered = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s.observe(o)
		return nil
	}, m.processes, m.depth, m.deepest, m.inFlight)
	if err = errors.Join(err, registered); err != nil {
		s.log.Warn("some metrics are not as they should be", "error", err)
	}
}

// close ends the observation of a System that has ended.
func (m *metrics) close() error {
	if m == nil || m.registration == nil {
		return nil
	}
	return m.registration.Unregister()
}

// now reads the clock: nanoseconds, never zero.
func (m *metrics) now() int64 { return m.at(time.Now()) }

func (m *metrics) at(t time.Time) int64 {
	if ns := int64(t.Sub(m.epoch)); ns != 0 {
		return ns
	}
	return 1
}

// stamp notes when a message arrived, once.
func (s *System) stamp(it item) {
	if s.metrics != nil {
		s.metrics.stamp(it)
	}
}

func (m *metrics) stamp(it item) {
	if h := it.header(); h.arrived == 0 {
		h.arrived = m.now()
	}
}

// typeMetrics are the attributes of a Type's messages, made once, so that a
// measurement allocates none.
type typeMetrics struct {
	attrs metric.ObserveOption
	kinds [KindInfo + 1]kindMetrics
}

type kindMetrics struct {
	wait  []metric.RecordOption
	ops   map[string]*opMetrics
	other *opMetrics
}

// opMetrics are the options of a handler's duration, by outcome.
type opMetrics [outcomes][]metric.RecordOption

func (m *metrics) ofType(d *definition) *typeMetrics {
	with := func(attrs ...attribute.KeyValue) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(append(append(attrs, attrType.String(d.name)), m.node...)...))
	}
	ofOp := func(kind Kind, op string) *opMetrics {
		var o opMetrics
		for i, word := range outcomeWords {
			o[i] = []metric.RecordOption{with(attrKind.String(kind.String()), attrOp.String(op), attrOutcome.String(word))}
		}
		return &o
	}
	t := &typeMetrics{attrs: with()}
	add := func(kind Kind, op string) {
		if k := &t.kinds[kind]; op != "" {
			k.ops[op] = ofOp(kind, op)
		}
	}
	for kind := KindCall; kind <= KindInfo; kind++ {
		t.kinds[kind] = kindMetrics{
			wait:  []metric.RecordOption{with(attrKind.String(kind.String()))},
			ops:   map[string]*opMetrics{},
			other: ofOp(kind, otherOp),
		}
	}
	for op := range d.calls {
		add(KindCall, op)
	}
	for op := range d.casts {
		add(KindCast, op)
	}
	for op := range d.infos {
		add(KindInfo, op)
	}
	return t
}

// begin measures that the message's handler is about to run.
func (m *metrics) begin(c *Context) {
	c.began = m.now()
	if arrived := c.msg.arrived; arrived != 0 {
		wait := time.Duration(c.began - arrived)
		m.wait.Record(context.Background(), wait.Seconds(), c.p.host.metrics.kinds[c.msg.kind].wait...)
	}
}

// end measures that the handler has ended; err is a crash or a Stop. The
// handler's span goes with it, so that a slow bucket leads to a trace.
func (m *metrics) end(c *Context, err error) {
	how := outcomeOK
	switch {
	case err != nil && !ended(err):
		how = outcomeCrash
	case c.msg.failed:
		how = outcomeError
	}
	k := &c.p.host.metrics.kinds[c.msg.kind]
	op := k.ops[c.msg.op]
	if op == nil {
		op = k.other
	}
	ctx := context.Background()
	if c.span != nil {
		ctx = trace.ContextWithSpan(ctx, c.span)
	}
	took := time.Duration(m.now() - c.began)
	c.began = 0
	m.duration.Record(ctx, took.Seconds(), op[how]...)
}

// load is what the servers of a Type have to do.
type load struct {
	attrs                                 metric.ObserveOption
	processes, waiting, deepest, inFlight int64
}

// observe tells of every Type there has been, also of those with no server
// left, so that no series ends at an old value.
func (s *System) observe(o metric.Observer) {
	loads := map[string]*load{} // by the Type's name, which is all that a series shows of it
	s.hosts.Range(func(_, h any) bool {
		loads[h.(*host).def.name] = &load{attrs: h.(*host).metrics.attrs}
		return true
	})
	for _, p := range s.procs.all() {
		if l := loads[p.host.def.name]; l != nil { // else the Type is newer than this round
			p.observe(l)
		}
	}
	for _, l := range loads {
		o.ObserveInt64(s.metrics.processes, l.processes, l.attrs)
		o.ObserveInt64(s.metrics.depth, l.waiting, l.attrs)
		o.ObserveInt64(s.metrics.deepest, l.deepest, l.attrs)
		o.ObserveInt64(s.metrics.inFlight, l.inFlight, l.attrs)
	}
}

func (p *Process) observe(l *load) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.phase == exited {
		return
	}
	waiting := int64(p.box.waiting()) + int64(len(p.signals))
	l.processes++
	l.waiting += waiting
	l.deepest = max(l.deepest, waiting)
	l.inFlight += int64(p.inFlight())
}

// isCall is for what is in a mailbox.
func isCall(s *slot) bool {
	if s.handler != nil {
		return false
	}
	if _, ok := s.what.(*Timer); ok {
		return false // whose header is made anew each time
	}
	return s.item().header().kind == KindCall
}

// countRestart has a restart in the metrics, with the code of the reason the
// child's last life ended for.
func (s *System) countRestart(child Runnable, reason error) {
	if s.metrics == nil || child == nil || reason == nil {
		return
	}
	attrs := append([]attribute.KeyValue{
		attrType.String(child.GenServer().TypeName()),
		attrReason.String(reasonError(reason).Code),
	}, s.metrics.node...)
	s.metrics.restarts.Add(context.Background(), 1, metric.WithAttributes(attrs...))
}

// tally is a counter that Stats shows, and the metrics, where there are any.
type tally struct {
	n     atomic.Uint64
	meter metric.Int64Counter
	attrs []metric.AddOption
}

func (t *tally) Load() uint64 { return t.n.Load() }

func (t *tally) Add(n uint64) {
	t.n.Add(n)
	if t.meter != nil {
		t.meter.Add(context.Background(), int64(n), t.attrs...)
	}
}

// export has the counters in the metrics from now on, beginning with zero.
func (c *counters) export(meter metric.Meter, attrs metric.AddOption) error {
	var errs []error
	for _, x := range []struct {
		t                 *tally
		name, unit, about string
	}{
		{&c.dropped, metricDropped, "{message}", "Casts and infos that reached no handler."},
		{&c.expired, metricExpired, "{call}", "Calls whose caller had given up before their turn."},
		{&c.lateReplies, metricLateReplies, "{reply}", "Answers to callers that had given up."},
		{&c.unknownOps, metricUnknownOps, "{message}", "Messages that no handler was there for."},
	} {
		counter, err := meter.Int64Counter(x.name, metric.WithUnit(x.unit), metric.WithDescription(x.about))
		errs = append(errs, err)
		x.t.meter, x.t.attrs = counter, []metric.AddOption{attrs}
		x.t.Add(0)
	}
	return errors.Join(errs...)
}
