package clustertest

import (
	"slices"
	"strings"
	"time"

	"github.com/civitas-go/civitas/internal/membership"
	"github.com/civitas-go/civitas/internal/placement"
)

// check holds after every event.
func (s *sim) check() {
	owners := s.owners
	clear(owners)
	for _, p := range s.procs {
		if len(p.owned) == 0 || !p.mayAct() {
			continue
		}
		for i, name := range s.names {
			epoch, mine := p.owned[name]
			switch other := owners[i]; {
			case !mine:
			case other != nil:
				s.violate("I1: %s (epoch %d) and %s (epoch %d) may both act for %s", other.label, other.owned[name], p.label, epoch, name)
				return
			default:
				owners[i] = p
			}
		}
	}
	kept := s.procs[:0]
	for _, p := range s.procs {
		if p.gone {
			continue
		}
		open := p.session.Open(p.clock())
		if p.open && !open {
			s.stats.Closed++
		}
		p.open = open
		kept = append(kept, p)
	}
	clear(s.procs[len(kept):])
	s.procs = kept
}

// checkOwned holds when a process has come to own a name: the store has, or had,
// that very record.
func (s *sim) checkOwned(p *simProc, name string, epoch uint64) {
	if s.tree != nil && !able(s.specAt(name, p.runs[name]), p.node) {
		s.violate("P1: %s runs %s, which it may not", p.label, name)
	}
	for _, r := range s.store.records[simKey{'o', name}] {
		if r.seq == epoch && r.holder == p.incarnation && !r.deleted {
			return
		}
	}
	if !s.faults.ServeUnknown { // whose consequences are to be found, not this
		s.violate("I4: %s owns %s with epoch %d, which no record has", p.label, name, epoch)
	}
}

// checkTaken holds when the store takes a write: no record is taken from the living.
func (s *sim) checkTaken(k simKey, write simRecord) {
	was := s.store.last(k)
	if k.kind != 'o' && k.kind != 'l' || was.deleted || write.deleted || was.holder == write.holder {
		return
	}
	if session := s.store.last(simKey{'s', was.holder}); !session.deleted && !session.session.Dead {
		s.violate("I4: %s takes %v from %s, which was not declared dead", write.holder, k, was.holder)
	}
}

// checkChange holds when the store takes a write: what is to run otherwise stays
// stopped if it was.
func (s *sim) checkChange(k simKey, write simRecord) {
	was := s.store.last(k)
	if k.kind != 'c' || was.deleted || was.removed || write.deleted || was.spec.Revision == write.spec.Revision {
		return
	}
	if was.spec.Stopped && !write.spec.Stopped {
		s.violate("P5: a change of %s forgets that it is stopped", k.name)
	}
}

// undisturbed is how long an owner must have been on record for every leader whose
// gate is open, that was neither frozen nor cut off in its term, and that has known the
// child for as long, to have read of it: reads are up to 10 s old here, and the store
// is away for up to 9 s. The owners of children that it doesn't know nobody reads.
const undisturbed = 30 * time.Second

// checkStart holds when a leader gives an order: for a node that may run the child,
// and for none that runs undisturbed.
func (s *sim) checkStart(t *simTerm, spec placement.Spec, on string) {
	if node, _, _ := strings.Cut(on, "#"); !able(spec, node) {
		s.violate("P1: %s orders %s on %s, which may not run it", t.p.label, spec.Name, on)
	}
	own := s.store.last(simKey{'o', spec.Owned})
	since := max(own.at, t.learned[spec.Name])
	if disturbed := max(t.p.frozenUntil, s.apart[t.p.node]); disturbed > t.at {
		since = max(since, disturbed)
	}
	if own.deleted || s.now-since < undisturbed || !t.p.session.Open(t.p.clock()) {
		return
	}
	if session := s.store.last(simKey{'s', own.holder}); !session.deleted && !session.session.Dead {
		s.violate("P2: %s orders %s on %s though %s has run it for %v", t.p.label, spec.Name, on, own.holder, s.now-own.at)
	}
}

// checkEnd holds when a process has concluded something about a session.
func (s *sim) checkEnd(p *simProc, incarnation string, status membership.Status) {
	r := s.store.last(simKey{'s', incarnation})
	if status == membership.Died && !r.session.Dead && !r.deleted && !s.faults.SharedSession || status == membership.Left && !r.deleted {
		s.violate("I4: %s takes %s for ended, whose record is %s", p.label, incarnation, simKey{'s', incarnation}.describe(r))
	}
}

// checkOrder holds in the end, after a time without trouble.
func (s *sim) checkOrder() {
	for _, p := range s.procs {
		if !p.leaving && !p.session.Open(p.clock()) {
			s.violate("I5: the gate of %s is closed though the store is back", p.label)
		}
	}
	if s.tree != nil {
		s.checkLead()
	}
	for _, name := range s.names {
		r := s.store.last(simKey{'o', name})
		var spec placement.Spec
		if s.tree != nil {
			spec = *s.store.last(simKey{'c', name}).spec
		}
		stopped := spec.Stopped
		wanted, served := s.tree != nil && !stopped && slices.ContainsFunc(s.nodes, func(n string) bool { return able(spec, n) }), false
		for _, p := range s.procs {
			epoch, mine := p.owned[name]
			wanted = wanted || p.wants[name] && !p.leaving
			switch {
			case mine:
				if runs := p.runs[name]; runs != spec.Revision && !stopped {
					s.violate("P4: %s runs %s by revision %d, and not by the newest, %d", p.label, name, runs, spec.Revision)
				}
				served = epoch == r.seq && r.holder == p.incarnation && p.mayAct()
			case r.holder == p.incarnation && !r.deleted:
				s.violate("I5: %s is recorded as owner of %s, and neither serves it nor gives it back: %s", p.label, name, simKey{'o', name}.describe(r))
			}
		}
		if stopped && served {
			s.violate("P3: %s is stopped, and served: %s", name, simKey{'o', name}.describe(r))
		}
		if wanted && !served {
			s.violate("I5: nobody serves %s, whose record is %s", name, simKey{'o', name}.describe(r))
		}
	}
}

// checkLead holds in the end: one process leads, and it is the one on record.
func (s *sim) checkLead() {
	r := s.store.last(simLeadKey)
	for _, p := range s.procs {
		holds := r.holder == p.incarnation && !r.deleted
		if p.leads() != holds && !s.faults.EveryoneLeads {
			s.violate("P3: %s leads: %v, and the record is %s", p.label, p.leads(), simLeadKey.describe(r))
		}
	}
	if r.deleted || s.process(r.holder) == nil {
		s.violate("P3: nobody leads, and the record is %s", simLeadKey.describe(r))
	}
}
