package clustertest

import (
	"time"

	"github.com/civitas-go/civitas/internal/membership"
	"github.com/civitas-go/civitas/internal/placement"
)

// simTerm is the time for which a process leads. It does with a placement.Core what
// cluster's term does with it.
type simTerm struct {
	p    *simProc
	core *placement.Core
	at   time.Duration // when it began, in true time
	over bool

	begun   bool
	box     []func()                  // what is told before
	specs   map[string]placement.Spec // as the core knows them
	learned map[string]time.Duration  // when it was told of those that its first reading lacked, in true time
	seqs    map[simKey]uint64         // of what the core was told of specs and nodes
	follows map[string]func()
	reading map[simKey]bool
	tick    membership.Time // when one comes; 0 for never
}

func newSimTerm(p *simProc) *simTerm {
	return &simTerm{
		p: p, at: p.s.now, core: placement.New(p.incarnation),
		specs: map[string]placement.Spec{}, learned: map[string]time.Duration{}, seqs: map[simKey]uint64{},
		follows: map[string]func(){}, reading: map[simKey]bool{},
	}
}

// end is the end of the term. Orders that were given go on.
func (t *simTerm) end() {
	t.over = true
	t.p.s.trace("%s leads no more", t.p.label)
	for _, name := range sortedKeys(t.follows) {
		t.follows[name]()
	}
}

// post does something as soon as all that was on record has been told.
func (t *simTerm) post(do func()) {
	switch {
	case t.over:
	case !t.begun:
		t.box = append(t.box, do)
	default:
		do()
	}
}

// load tells the core all that is on record.
func (t *simTerm) load() {
	kinds := []byte{'c', 'n', 'o'}
	t.p.s.rng.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	t.list(kinds, func() {
		if t.over {
			return
		}
		t.begun = true
		t.step(placement.Begun{})
		for _, do := range t.box {
			t.post(do)
		}
		t.box = nil
		t.repairLater()
	})
}

// list tells the core of all records of some kinds, until it has.
func (t *simTerm) list(kinds []byte, done func()) {
	if len(kinds) == 0 {
		done()
		return
	}
	t.p.op(simKey{kinds[0], ""}, membership.Step{Do: membership.Get}, simRecord{}, func(r membership.Result) {
		switch {
		case t.over:
		case r.Outcome != membership.OK:
			t.p.later(t.p.clock()+500*time.Millisecond, func() { t.list(kinds, done) })
		default:
			if kinds[0] != 'o' || !t.p.s.faults.NoAdoption {
				t.tellAll(kinds[0], r.Seq)
			}
			t.list(kinds[1:], done)
		}
	})
}

// tellAll tells the core of all records of a kind as they were at a sequence.
func (t *simTerm) tellAll(kind byte, seq uint64) {
	s := t.p.s
	names := s.names
	if kind == 'n' {
		names = s.nodes
	}
	for _, name := range names {
		k := simKey{kind, name}
		if r := s.store.upTo(k, seq); !r.deleted {
			t.changed(k, r)
		}
	}
}

// changed takes a state of a record.
func (t *simTerm) changed(k simKey, r simRecord) {
	if t.over {
		return
	}
	if k.kind == 'c' || k.kind == 'n' {
		if r.seq <= t.seqs[k] {
			return
		}
		t.seqs[k] = r.seq
	}
	switch {
	case k.kind == 'o' && r.deleted:
		t.step(placement.Freed{Name: k.name, Seq: r.seq})
	case k.kind == 'o':
		t.step(placement.Owned{Name: k.name, Incarnation: r.holder, Seq: r.seq, Child: k.name, Revision: r.revision})
	case r.deleted:
	case k.kind == 'c':
		if _, known := t.specs[k.name]; !known && t.begun {
			t.learned[k.name] = t.p.s.now
		}
		t.specs[k.name] = *r.spec
		spec := *r.spec
		if t.p.s.faults.OldSpecs {
			spec.Revision = 0
		}
		t.step(placement.SpecSet{Spec: spec})
	case k.kind == 'n':
		m := *r.offer
		if t.p.s.faults.AnyNode {
			m.Labels, m.Types = map[string]string{"zone": "red"}, map[string]bool{"T": true, "U": true}
		}
		t.step(placement.MemberSet{Member: m})
	}
}

// step tells the core, and does what it wants.
func (t *simTerm) step(e placement.Event) {
	if t.over {
		return
	}
	for _, a := range t.core.Step(t.p.clock(), e) {
		switch a := a.(type) {
		case placement.Start:
			t.start(a)
		case placement.Stop:
			if !t.p.s.faults.NoStops {
				t.stop(a)
			}
		case placement.Read:
			t.read(simKey{'o', a.Owned})
		case placement.Follow:
			t.follow(a.Incarnation)
		case placement.Unfollow:
			t.unfollow(a.Incarnation)
		case placement.Changed:
		}
	}
	if at, ok := t.core.Next(); ok && at != t.tick {
		t.tick = at
		t.p.later(at, func() {
			if t.tick == at {
				t.tick = 0
				t.step(placement.Tick{})
			}
		})
	}
}

// follow has the core told that an incarnation lives, and of its end.
func (t *simTerm) follow(incarnation string) {
	lives := func() { t.post(func() { t.step(placement.Lives{Incarnation: incarnation}) }) }
	if t.p.s.faults.DeathsUnheard {
		t.p.inquire(incarnation, func(membership.Status) { lives() })
		return
	}
	t.follows[incarnation] = t.p.follow(incarnation, func() {
		t.post(func() {
			t.unfollow(incarnation)
			t.step(placement.MemberGone{Incarnation: incarnation})
		})
	})
	t.p.inquire(incarnation, func(status membership.Status) {
		if !status.Ended() && t.follows[incarnation] != nil {
			lives()
		}
	})
}

func (t *simTerm) unfollow(incarnation string) {
	if stop := t.follows[incarnation]; stop != nil {
		delete(t.follows, incarnation)
		stop()
	}
}

// start gives the order to start a child.
func (t *simTerm) start(a placement.Start) {
	p, s := t.p, t.p.s
	answered := false
	answer := func(ok, crash bool) {
		if answered || t.over {
			return
		}
		answered = true
		if ok {
			t.step(placement.Started{Name: a.Name, Attempt: a.Attempt})
		} else {
			t.step(placement.StartFailed{Name: a.Name, Attempt: a.Attempt, Reason: "not started", Crash: crash})
		}
	}
	fail := func() { answer(false, false) }
	if !p.session.Open(p.clock()) && !s.faults.EveryoneLeads {
		p.later(p.clock(), fail)
		return
	}
	spec := t.specs[a.Name]
	s.trace("%s orders %s on %s", p.label, a.Name, a.On)
	s.stats.Orders++
	s.checkStart(t, spec, a.On)
	to := s.process(a.On)
	if to == nil {
		p.later(p.clock()+s.wire(), fail) // nobody responds
		return
	}
	p.later(p.clock()+placement.StartWait, fail)
	order := func() {
		p.send(to, func() {
			to.obey(t, spec, func(ok, crash bool) { to.send(p, func() { answer(ok, crash) }) })
		})
	}
	switch {
	case to == p:
		s.after(0, func() { p.when(func() { p.obey(t, spec, answer) }) })
	case s.chance(s.store.flaky * 4): // it is lost
	case s.chance(8): // it is late
		s.after(s.upTo(s.upTo(20*time.Second)), order)
	default:
		order()
	}
}

// stop gives the order to stop a child.
func (t *simTerm) stop(a placement.Stop) {
	p, s := t.p, t.p.s
	if to := s.process(a.On); to != nil && (p.session.Open(p.clock()) || s.faults.EveryoneLeads) {
		s.trace("%s orders %s stopped on %s", p.label, a.Name, a.On)
		order := func() { p.send(to, func() { to.stopAsOrdered(a.Name) }) }
		if s.hands != nil && s.hands.IntN(4) == 0 && s.trouble("the order is late") {
			s.after(s.handsUpTo(20*time.Second), order)
			return
		}
		order()
	}
}

// read tells the core of a record as it is, once the store answers.
func (t *simTerm) read(k simKey) {
	if t.reading[k] || t.over {
		return
	}
	t.reading[k] = true
	t.get(k, func(seq uint64) {
		delete(t.reading, k)
		t.changed(k, t.p.s.store.upTo(k, seq))
	})
}

func (t *simTerm) get(k simKey, then func(seq uint64)) {
	t.p.op(k, membership.Step{Do: membership.Get}, simRecord{}, func(r membership.Result) {
		switch {
		case t.over:
		case r.Outcome == membership.OK || r.Outcome == membership.NotFound:
			t.post(func() { then(r.Seq) })
		default:
			t.p.later(t.p.clock()+100*time.Millisecond, func() { t.get(k, then) })
		}
	})
}

// meet reads what a node that is known to live can run, and the children's records
// that it has brought.
func (t *simTerm) meet(node, incarnation string, seqs map[string]uint64, then func()) {
	t.get(simKey{'n', node}, func(seq uint64) {
		k := simKey{'n', node}
		t.changed(k, t.p.s.store.upTo(k, seq))
		t.step(placement.Lives{Incarnation: incarnation})
		for _, name := range t.p.s.names {
			if k := (simKey{'c', name}); t.seqs[k] < seqs[name] {
				t.read(k)
			}
		}
		then()
	})
}

// repairLater reads the records again now and then, should copies have been lost.
func (t *simTerm) repairLater() {
	t.p.later(t.p.clock()+placement.RepairEvery, func() {
		if t.over {
			return
		}
		t.p.op(simKey{'n', ""}, membership.Step{Do: membership.Get}, simRecord{}, func(r membership.Result) {
			if r.Outcome == membership.OK {
				t.post(func() { t.tellAll('n', r.Seq) })
			}
		})
		for _, name := range t.p.s.names {
			if _, known := t.specs[name]; known {
				t.read(simKey{'c', name})
				t.read(simKey{'o', name})
			}
		}
		t.repairLater()
	})
}
