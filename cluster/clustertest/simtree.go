package clustertest

import (
	"slices"
	"time"

	"github.com/civitas-go/civitas/internal/membership"
	"github.com/civitas-go/civitas/internal/placement"
)

// simTree are the children of the cluster's tree where there is a coordinator:
// two that any node may run, one that wants a label, one that wants a type, and
// one that no node can run.
func simTree() []placement.Spec {
	return []placement.Spec{
		{Name: "a", Owned: "a", Type: "T"},
		{Name: "b", Owned: "b", Type: "T"},
		{Name: "c", Owned: "c", Type: "T", Labels: map[string]string{"zone": "red"}},
		{Name: "d", Owned: "d", Type: "U"},
		{Name: "e", Owned: "e", Type: "T", Labels: map[string]string{"zone": "green"}},
	}
}

// simMember is what a node can run: every other one has the label, the rest the type.
func simMember(node string) placement.Member {
	even := node == "n0" || node == "n2"
	zone := "blue"
	if even {
		zone = "red"
	}
	return placement.Member{Node: node, Labels: map[string]string{"zone": zone}, Types: map[string]bool{"T": true, "U": !even}}
}

// able is not the core's, which it checks.
func able(spec placement.Spec, node string) bool {
	m := simMember(node)
	zone, labelled := spec.Labels["zone"]
	return m.Types[spec.Type] && (!labelled || m.Labels["zone"] == zone) && (spec.Node == "" || spec.Node == node)
}

// specAt is a child's spec of a revision.
func (s *sim) specAt(child string, revision uint64) placement.Spec {
	for _, r := range s.store.records[simKey{'c', child}] {
		if r.spec.Revision == revision {
			return *r.spec
		}
	}
	s.violate("P4: %s runs by revision %d, which no record has", child, revision)
	return placement.Spec{}
}

// plant decides whether the names are children that a coordinator places; else
// nodes claim them as they like.
func (s *sim) plant() {
	s.names = []string{"a", "b"}
	if s.rng.IntN(2) == 0 {
		s.tree, s.names = simTree(), nil
		for _, spec := range s.tree {
			s.names = append(s.names, spec.Name)
		}
		s.leadTrouble()
		s.operators()
	}
	s.owners = make([]*simProc, len(s.names))
}

// leadTrouble goes for those who lead, now and then.
func (s *sim) leadTrouble() {
	s.after(2*time.Second+s.upTo(25*time.Second), func() {
		if s.calm {
			return
		}
		if i := slices.IndexFunc(s.procs, func(p *simProc) bool { return !p.gone && p.leads() }); i >= 0 {
			s.disturb(s.procs[i])
		}
		s.leadTrouble()
	})
}

func (s *sim) disturb(p *simProc) {
	switch s.rng.IntN(6) {
	case 0:
		if s.trouble("%s, which leads, crashes", p.label) {
			p.end()
			s.startNode(p.node, s.upTo(20*time.Second))
		}
	case 1:
		if s.trouble("%s, which leads, is to leave", p.label) {
			p.when(p.leave)
		}
	case 2:
		p.freezeFor(s.frost())
	default:
		c := simCut{node: p.node, out: s.rng.IntN(4) > 0, in: s.rng.IntN(4) > 0, until: s.now + s.upTo(25*time.Second)}
		if s.trouble("%s, which leads, is cut off, out %v, in %v, for %v", p.label, c.out, c.in, c.until-s.now) {
			s.addCut(c)
		}
	}
}

func (p *simProc) leads() bool { return p.lead != nil && p.lead.term != nil }

// offer is what the node's record says that it can run; nil if there is no coordinator.
func (p *simProc) offer() *placement.Member {
	if p.s.tree == nil {
		return nil
	}
	m := simMember(p.node)
	m.Incarnation, m.Leaving = p.incarnation, p.leaving
	return &m
}

// takePart is what a node does once it bears its name: it may lead from then on, and
// brings the tree.
func (p *simProc) takePart() {
	p.lead = &simLead{p: p, candidate: placement.NewCandidate(p.incarnation)}
	if p.s.faults.EveryoneLeads {
		p.lead.govern()
	}
	p.lead.step()
	p.bring(p.s.tree, map[string]uint64{})
}

// bring writes the children to the records if they are not there, and has the
// leader know of them.
func (p *simProc) bring(left []placement.Spec, seqs map[string]uint64) {
	if p.leaving {
		return
	}
	if len(left) == 0 {
		p.atLeader(func(t *simTerm, taken func()) { t.meet(p.node, p.incarnation, seqs, taken) })
		return
	}
	k := simKey{'c', left[0].Name}
	found := func(r membership.Result) {
		seqs[k.name] = r.Seq
		p.bring(left[1:], seqs)
	}
	p.op(k, membership.Step{Do: membership.Create}, simRecord{spec: &left[0]}, func(r membership.Result) {
		if r.Outcome == membership.OK {
			found(r)
			return
		}
		p.op(k, membership.Step{Do: membership.Get}, simRecord{}, func(r membership.Result) {
			again := func() { p.later(p.clock()+100*time.Millisecond, func() { p.bring(left, seqs) }) }
			switch {
			case r.Outcome != membership.OK:
				again()
			case p.s.store.upTo(k, r.Seq).removed:
				spec := left[0]
				p.write(spec, r.Seq, found, again)
			default:
				found(r)
			}
		})
	})
}

// atLeader says something to the leader, until one has taken it.
func (p *simProc) atLeader(say func(t *simTerm, taken func())) {
	if p.leaving {
		return
	}
	leader, _ := p.lead.candidate.Leader()
	to := p.s.process(leader)
	done := false
	again := func(after time.Duration) {
		p.later(p.clock()+after, func() {
			if !done {
				done = true
				p.atLeader(say)
			}
		})
	}
	if to == nil {
		again(500 * time.Millisecond)
		return
	}
	p.send(to, func() {
		if to.leads() {
			say(to.lead.term, func() { to.send(p, func() { done = true }) })
		}
	})
	again(5 * time.Second)
}

// mind is what a node does now and then about the children that it runs, or may
// be on record as running.
func (p *simProc) mind() {
	for _, name := range p.s.names {
		_, mine := p.owned[name]
		switch {
		case mine && p.s.chance(30):
			p.giveUp(name)
		case mine && p.s.chance(60):
			p.stop(name)
		case !mine && p.s.now < simTrouble*2/3 && p.s.chance(60): // so that some are stopped in the end
			p.mark(name, false)
		case !mine && p.doubtful[name] != nil && !p.claiming[name]:
			p.settle(name)
		}
	}
}

// giveUp gives up a child that crashes again and again, and tells the leader.
func (p *simProc) giveUp(name string) {
	p.s.trace("%s gives %s up", p.label, name)
	p.release(name)
	p.atLeader(func(t *simTerm, taken func()) {
		t.post(func() { t.step(placement.GaveUp{Name: name, Incarnation: p.incarnation, Reason: "crashes"}) })
		taken()
	})
}

// obey takes the order to start a child.
func (p *simProc) obey(from *simTerm, spec placement.Spec, answer func(ok, crash bool)) {
	s := p.s
	if s.store.last(simKey{'l', "lead"}).holder != from.p.incarnation {
		s.stats.Stale++
	}
	_, runs := p.owned[spec.Name]
	if !runs && !p.claiming[spec.Name] {
		p.runs[spec.Name] = spec.Revision
	}
	switch {
	case s.faults.BlindStart && !p.leaving:
		p.seize(spec.Name, answer)
	case p.leaving, p.claiming[spec.Name], !simMember(p.node).Types[spec.Type] && !s.faults.AnyNode:
		answer(false, false)
	case runs:
		answer(true, false)
	default:
		p.claim(simKey{'o', spec.Name}, func(_ uint64, ok bool) {
			if ok && s.chance(15) {
				s.trace("%s fails to start %s", p.label, spec.Name)
				p.release(spec.Name)
				answer(false, true)
				return
			}
			answer(ok, false)
		})
	}
}

// seize starts a child whoever has it.
func (p *simProc) seize(name string, answer func(ok, crash bool)) {
	k := simKey{'o', name}
	p.op(k, membership.Step{Do: membership.Update}, simRecord{holder: p.incarnation}, func(r membership.Result) {
		if r.Outcome == membership.OK {
			p.serve(name, r.Seq)
		}
		answer(r.Outcome == membership.OK, false)
	})
}
