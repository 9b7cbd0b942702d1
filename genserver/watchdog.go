package genserver

import (
	"sync"
	"time"
)

// Watchdog looks after handlers that run too long, each of them, but for init
// and terminate, which have whoever starts and stops the server. One that has
// run for report is logged with its stack, once, and counted in [Stats].Overruns. One that
// has run for crash is its server's crash, with the reason ErrStuck: the server
// is killed, without terminate, since its handler can't be stopped and has the
// state; see [Process.Kill]. Zero is never.
func Watchdog[S any](report, crash time.Duration) Handler[S] {
	return Handler[S]{func(d *definition) {
		if report < 0 || crash < 0 || report+crash == 0 {
			d.refuse("a watchdog of %v and %v: at least one must be above 0, and none below", report, crash)
		}
		d.watchdog = &limits{report, crash}
	}}
}

type limits struct{ report, crash time.Duration }

// Watchdog is the Spec with a [Watchdog] of its own in place of its Type's, and
// with none where neither limit is above 0.
func (s Spec) Watchdog(report, crash time.Duration) Spec {
	if s.def != nil {
		s.def = s.def.watchedBy(limits{max(report, 0), max(crash, 0)})
	}
	return s
}

// variants are a Type's definitions with other watchdogs, one for each of the
// limits that were asked for, so that servers of like limits share one.
type variants struct {
	mu sync.Mutex
	by map[limits]*definition
}

func (d *definition) watchedBy(l limits) *definition {
	d.variants.mu.Lock()
	defer d.variants.mu.Unlock()
	if v := d.variants.by[l]; v != nil {
		return v
	}
	v := *d
	v.watchdog = &l
	if l == (limits{}) {
		v.watchdog = nil
	}
	d.variants.by[l] = &v
	return &v
}

// next is how long a handler that has run for that long may run until something
// is to be done about it, zero for ever; and whether it is to be reported now.
func (l *limits) next(ran time.Duration, reported bool) (left time.Duration, report bool) {
	report = l.report > 0 && ran >= l.report && !reported
	if l.report > 0 && ran < l.report {
		left = l.report - ran
	}
	if l.crash > 0 && (left == 0 || l.crash-ran < left) {
		left = l.crash - ran
	}
	return left, report
}

// dog watches one process. Its timer is set when a handler begins and left to
// run when it ends: when it rings, it's set anew for the handler that runs
// then. The process's lock guards it.
type dog struct {
	timer    *time.Timer
	set      bool
	turn     uint64
	began    time.Time
	reported uint64 // the turn that was last
}

// watchTurn begins to watch a turn; p.mu is held.
func (p *Process) watchTurn() {
	m := p.extra()
	m.dog.turn, m.dog.began = p.turns, time.Now()
	if m.dog.set {
		return
	}
	m.dog.set = true
	left, _ := p.host.def.watchdog.next(0, false)
	if m.dog.timer == nil {
		m.dog.timer = time.AfterFunc(left, p.checkTurn)
		return
	}
	m.dog.timer.Reset(left)
}

// checkTurn is called by the dog's timer.
func (p *Process) checkTurn() {
	p.mu.Lock()
	d, l := &p.more.dog, p.host.def.watchdog
	d.set = false
	if p.phase != busy || p.running == nil || d.turn != p.turns {
		p.mu.Unlock()
		return
	}
	ran := time.Since(d.began)
	if l.crash > 0 && ran >= l.crash {
		turn := d.turn
		p.mu.Unlock()
		p.killTurn(turn, &Error{Code: ErrStuck.Code, Text: "its handler ran for " + ran.String()})
		return
	}
	left, report := l.next(ran, d.reported == d.turn)
	if left > 0 {
		d.set = true
		d.timer.Reset(left)
	}
	handling := p.ctx.handling()
	if report {
		d.reported = d.turn
	}
	p.mu.Unlock()
	if report {
		p.sys.stats.overruns.Add(1)
		attrs := []any{"server", p.name, "generation", p.gen, "type", p.host.def.name, "handling", handling, "for", ran}
		if stack := p.sys.dumps.of(p); stack != nil {
			attrs = append(attrs, "stack", string(stack))
		}
		p.sys.log.Warn("handler runs long", attrs...)
	}
}
