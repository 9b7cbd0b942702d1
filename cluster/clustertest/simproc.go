package clustertest

import (
	"fmt"
	"time"

	"github.com/civitas-go/civitas/internal/membership"
)

// simProc is one process, one life of a node. It does with the machines of
// membership what cluster.Registry does with them.
type simProc struct {
	s           *sim
	node        string
	incarnation string
	label       string // tells processes apart that share an incarnation

	offset, frozenUntil time.Duration
	rate                float64
	gone                bool // it has crashed, or come to its end
	leaving             bool
	deaf                bool // no copies reach it
	nonces              int
	freeze              time.Duration              // for so long, when it next renews
	wants               map[string]bool            // the names it claims by itself
	lead                *simLead                   // where there is a coordinator, once it bears its node's name
	sightings           map[string]membership.Time // when others' sessions were seen last

	session  *membership.Session
	inquests map[string]*simInquest
	bearing  bool // the node's name is taken
	claiming map[string]bool
	cancels  []func()                     // of the claims begun so far
	owned    map[string]uint64            // epochs
	runs     map[string]uint64            // the revisions by which children were started
	doubtful map[string]*membership.Doubt // names that may be recorded as ours though we do not own them
	open     bool                         // at the last look

	renewal      *simDriver // of the session
	inquestOrder []string
	counters     map[string]*simCounter // of the names owned

	data       *simServer // that the data connection is to
	dataBad    time.Duration
	conns      []*simConn // its witnesses
	testifies  bool       // it has witnesses
	uninformed bool       // it is told of no ends
	ends       *membership.Ends
}

// startNode starts a process of a node after a while.
func (s *sim) startNode(node string, wait time.Duration) {
	s.after(wait, func() {
		s.lives++
		p := &simProc{
			s: s, node: node, incarnation: fmt.Sprintf("%s#%d", node, s.lives), label: fmt.Sprintf("%s#%d", node, s.lives),
			offset: s.upTo(time.Hour), rate: 1 + (s.rng.Float64()*2-1)*membership.Skew,
			deaf: s.rng.IntN(4) == 0, wants: map[string]bool{},
			inquests: map[string]*simInquest{}, claiming: map[string]bool{}, owned: map[string]uint64{}, runs: map[string]uint64{}, doubtful: map[string]*membership.Doubt{},
			counters: map[string]*simCounter{}, ends: new(membership.Ends), data: s.servers[s.rng.IntN(len(s.servers))],
			testifies: s.events && s.rng.IntN(6) > 0, uninformed: !s.events || s.rng.IntN(6) == 0,
			sightings: map[string]membership.Time{},
		}
		if s.faults.SharedSession {
			p.incarnation = node
		}
		for _, name := range s.names {
			p.wants[name] = s.tree == nil && s.rng.IntN(4) > 0
		}
		p.session = membership.NewSession(s.timing, p.nonce)
		s.procs = append(s.procs, p)
		s.trace("%s starts, its clock at rate %.3f", p.label, p.rate)
		p.keepSession()
		p.keepWitnesses()
		p.keepCalling()
		p.fate()
		p.live()
	})
}

func (p *simProc) nonce() string {
	if p.s.faults.SharedSession {
		return "x"
	}
	p.nonces++
	return fmt.Sprintf("%s/%d", p.label, p.nonces)
}

// clock is the process's own.
func (p *simProc) clock() membership.Time {
	return p.offset + membership.Time(float64(p.s.now)*p.rate)
}

// when has do called as soon as the process runs: now, or when it wakes.
func (p *simProc) when(do func()) {
	switch {
	case p.gone:
	case p.frozenUntil > p.s.now:
		p.s.at(p.frozenUntil, func() { p.when(do) })
	default:
		do()
	}
}

// later has do called when the process's clock has reached at.
func (p *simProc) later(at membership.Time, do func()) {
	p.s.after(time.Duration(float64(at-p.clock())/p.rate)+1, func() { p.when(do) })
}

// mayAct is what an owner asks before each handler.
func (p *simProc) mayAct() bool {
	f := p.s.faults
	open := p.session.Open(p.clock()) || f.GateOff && p.session.Joined() ||
		f.WitnessesOff && p.session.Lost() == membership.NotLost && p.clock() < p.session.Lease()
	return open && !p.gone && !p.leaving
}

// fate is what happens to the process from outside.
func (p *simProc) fate() {
	s := p.s
	s.after(s.upTo(40*time.Second), func() {
		if p.gone || s.calm {
			return
		}
		switch s.rng.IntN(6) {
		case 0:
			if s.trouble("%s crashes", p.label) {
				p.end()
				s.startNode(p.node, s.upTo(20*time.Second))
				return
			}
		case 1:
			if s.trouble("%s is started twice", p.node) {
				s.startNode(p.node, 0)
			}
		case 2:
			if s.trouble("%s is to leave", p.label) {
				p.when(p.leave)
			}
		default:
			p.freezeFor(s.frost())
		}
		p.fate()
	})
}

// frost is how long a process freezes: often about as long as it takes to be
// declared dead.
func (s *sim) frost() time.Duration {
	switch s.rng.IntN(3) {
	case 0:
		return s.upTo(30 * time.Second)
	case 1:
		return 10*time.Second + s.upTo(8*time.Second)
	default:
		return s.upTo(4 * time.Second)
	}
}

// freezeFor has the process freeze now, or between its next renewal and the
// acknowledgement.
func (p *simProc) freezeFor(d time.Duration) {
	if p.s.rng.IntN(2) == 0 {
		p.freeze = d
	} else if p.s.trouble("%s freezes for %v", p.label, d) {
		p.frozenUntil = p.s.now + d
	}
}

// end is the end of the process, however it comes.
func (p *simProc) end() {
	p.gone = true
	p.hangUp()
}

// die ends a process that has learned that it may act no more.
func (p *simProc) die(why string) {
	if p.gone {
		return
	}
	p.s.trace("%s ends: %s", p.label, why)
	p.end()
	for _, other := range p.s.procs {
		if other != p && other.node == p.node && !other.gone {
			return // there is another process of the node
		}
	}
	p.s.startNode(p.node, 100*time.Millisecond+p.s.upTo(3*time.Second))
}

// live is what the process does by itself now and then.
func (p *simProc) live() {
	wait := 50*time.Millisecond + p.s.upTo(3*time.Second)
	p.s.after(wait, func() {
		p.when(p.act)
		if !p.gone {
			p.live()
		}
	})
}

func (p *simProc) act() {
	if p.leaving || !p.session.Open(p.clock()) {
		return
	}
	if !p.bearing {
		p.claim(simKey{'n', p.node}, nil)
		return
	}
	if p.lead != nil {
		p.mind()
		return
	}
	for _, name := range p.s.names {
		if p.s.chance(15) {
			p.wants[name] = !p.wants[name]
		}
		switch _, mine := p.owned[name]; {
		case mine && p.s.chance(30):
			p.release(name)
		case p.doubtful[name] != nil && !p.claiming[name] && (!p.wants[name] || p.s.rng.IntN(2) == 0):
			p.settle(name)
		case !mine && p.wants[name]:
			p.claim(simKey{'o', name}, nil)
		}
	}
}

func (p *simProc) keepSession() {
	m := p.session
	d := &simDriver{p: p, key: simKey{'s', p.incarnation}}
	p.renewal = d
	d.next = func(now membership.Time) membership.Step { return m.Next(now) }
	d.value = func(step membership.Step) simRecord {
		return simRecord{session: membership.Content{Nonce: step.Nonce, Witnesses: step.Witnesses}}
	}
	d.result = func(now membership.Time, step membership.Step, r membership.Result) {
		if p.s.faults.LeaseFromReceipt && step.Do != membership.Get {
			m.Next(now) // as if it had been sent now
		}
		m.Result(now, step, r)
		p.look()
	}
	d.step()
}

// look notes what has become of the session.
func (p *simProc) look() {
	if reason := p.session.Lost(); reason != membership.NotLost && !p.leaving {
		p.s.stats.Lost++
		p.die(reason.String())
	}
}

// claim tries to make a record this process's, for some seconds. then, if not nil,
// is told what came of it, unless the process leaves.
func (p *simProc) claim(k simKey, then func(seq uint64, ok bool)) {
	if p.claiming[k.name] {
		return
	}
	limit := p.patience(k)
	p.claiming[k.name] = true
	m := membership.NewClaim(p.incarnation)
	d := &simDriver{p: p, key: k}
	end := func() {
		d.ended = true
		delete(p.claiming, k.name)
		if (m.Unknown() || d.busy) && k.kind == 'o' {
			p.doubtful[k.name] = p.doubtful[k.name].With(m.Expect())
		}
	}
	tell := func(seq uint64, ok bool) {
		if then != nil {
			then(seq, ok)
		}
	}
	p.cancels = append(p.cancels, func() {
		if !d.ended {
			end()
			tell(0, false)
		}
	})
	serve := func(epoch uint64) {
		end()
		switch k.kind {
		case 'n':
			p.bears()
		case 'o':
			delete(p.doubtful, k.name)
			p.serve(k.name, epoch)
		}
		tell(epoch, true)
	}
	d.next = m.Next
	d.value = func(membership.Step) simRecord {
		write := simRecord{holder: p.incarnation}
		switch k.kind {
		case 'n':
			write.offer = p.offer()
		case 'o':
			write.revision = p.runs[k.name]
		}
		return write
	}
	d.result = func(now membership.Time, step membership.Step, r membership.Result) {
		if p.s.faults.ServeUnknown && k.kind == 'o' && step.Do != membership.Get && r.Outcome == membership.Unknown {
			serve(p.s.store.seq + 1)
			return
		}
		m.Result(now, step, r)
	}
	d.ask = func(holder string) {
		p.inquire(holder, func(s membership.Status) {
			if !d.ended {
				if s.Ended() {
					p.s.stats.Takeovers++
				}
				m.Answer(s)
				d.step()
			}
		})
	}
	d.done = func() {
		if epoch, ok := m.Claimed(); ok {
			serve(epoch)
			return
		}
		end()
		tell(0, false)
		if k.kind == 'n' {
			p.leave() // the name is another's
		}
	}
	p.later(p.clock()+limit, p.cancels[len(p.cancels)-1])
	d.step()
}

// patience is for how long a claim is tried.
func (p *simProc) patience(k simKey) time.Duration {
	switch {
	case k.kind == 'n' && p.leaving:
		return time.Second
	case k.kind == 'l':
		return 5 * time.Second
	case p.s.chance(3):
		return p.s.upTo(time.Second)
	default:
		return p.s.timing.Judge + 5*time.Second
	}
}

// bears: the node's name is this process's.
func (p *simProc) bears() {
	p.bearing = true
	if p.s.tree != nil && p.lead == nil && !p.leaving {
		p.takePart()
	}
}

// release gives a name back.
func (p *simProc) release(name string) {
	epoch := p.owned[name]
	p.disown(name)
	p.s.trace("%s releases %s", p.label, name)
	p.doubtful[name] = p.doubtful[name].With(epoch)
	p.claiming[name] = true
	p.giveBack(simKey{'o', name}, membership.NewRelease(p.incarnation, epoch), func() {
		delete(p.claiming, name)
		delete(p.doubtful, name)
	})
}

// settle looks whether a name that is not owned is recorded so.
func (p *simProc) settle(name string) {
	p.claiming[name] = true
	m := membership.NewRelease(p.incarnation, 0)
	p.giveBack(simKey{'o', name}, m, func() {
		delete(p.claiming, name)
		if p.doubtful[name].Settled(p.clock(), m, p.s.timing.Judge) {
			delete(p.doubtful, name)
		}
	})
}

func (p *simProc) giveBack(k simKey, m *membership.Release, done func()) (stop func()) {
	d := &simDriver{p: p, key: k, next: m.Next, result: m.Result}
	d.done = func() {
		d.ended = true
		done()
	}
	d.step()
	return func() { d.ended = true }
}

// leave is the clean end of the process: the lead, own records, node record, session.
func (p *simProc) leave() {
	if p.leaving {
		return
	}
	p.leaving = true
	for _, cancel := range p.cancels {
		cancel()
	}
	p.s.trace("%s leaves", p.label)
	if p.lead == nil {
		p.leaveNames()
		return
	}
	p.claim(simKey{'n', p.node}, func(uint64, bool) { p.lead.resign(p.leaveNames) })
}

func (p *simProc) leaveNames() {
	left := len(p.s.names)
	for _, name := range p.s.names {
		epoch := p.owned[name]
		p.disown(name)
		p.giveBack(simKey{'o', name}, membership.NewRelease(p.incarnation, epoch), func() {
			if left--; left > 0 {
				return
			}
			p.giveBack(simKey{'n', p.node}, membership.NewRelease(p.incarnation, 0), func() {
				p.giveBack(simKey{'s', p.incarnation}, membership.NewRelease(p.incarnation, 0), func() { p.die("it has left") })
			})
		})
	}
}

// copied takes the copy of a write.
func (p *simProc) copied(k simKey, r simRecord) {
	if p.lead != nil && k.kind != 's' {
		p.lead.copied(k, r)
	}
	switch {
	case k.kind == 'o':
		if epoch, mine := p.owned[k.name]; mine && r.seq > epoch && !p.s.faults.ServeUnknown {
			p.s.trace("%s sees that %s is not its own", p.label, k.name)
			p.disown(k.name)
		}
	case k.kind != 's':
	case k.name == p.incarnation && r.session.Dead:
		p.session.Saw(r.seq, r.session)
		p.look()
	case k.name != p.incarnation:
		p.sightings[k.name] = p.clock()
		if r.deleted || r.session.Dead {
			delete(p.sightings, k.name)
		}
		q := p.inquests[k.name]
		switch {
		case q == nil:
		case r.deleted:
			q.machine.Gone()
			q.driver.step()
		default:
			q.machine.Saw(p.clock(), r.seq, r.session, true)
			p.s.checkEnd(p, k.name, q.machine.Status(p.clock()))
			q.tell(p.clock())
			q.driver.step()
		}
	}
}
