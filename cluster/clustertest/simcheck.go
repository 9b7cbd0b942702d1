package clustertest

import "github.com/civitas-go/civitas/internal/membership"

// check holds after every event.
func (s *sim) check() {
	for _, name := range simNames {
		var owner *simProc
		for _, p := range s.procs {
			if _, mine := p.owned[name]; !mine || !p.mayAct() {
				continue
			}
			if owner != nil {
				s.violate("I1: %s (epoch %d) and %s (epoch %d) may both act for %s",
					owner.label, owner.owned[name], p.label, p.owned[name], name)
				return
			}
			owner = p
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
	for _, r := range s.store.records[simKey{'o', name}] {
		if r.seq == epoch && r.holder == p.incarnation && !r.deleted {
			return
		}
	}
	if !s.faults.ServeUnknown { // whose consequences are to be found, not this
		s.violate("I4: %s owns %s with epoch %d, which no record has", p.label, name, epoch)
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
	for _, name := range simNames {
		r := s.store.last(simKey{'o', name})
		wanted, served := false, false
		for _, p := range s.procs {
			epoch, mine := p.owned[name]
			wanted = wanted || p.wants[name] && !p.leaving
			switch {
			case mine:
				served = epoch == r.seq && r.holder == p.incarnation && p.mayAct()
			case r.holder == p.incarnation && !r.deleted:
				s.violate("I5: %s is recorded as owner of %s, and neither serves it nor gives it back: %s", p.label, name, simKey{'o', name}.describe(r))
			}
		}
		if wanted && !served {
			s.violate("I5: nobody serves %s, whose record is %s", name, simKey{'o', name}.describe(r))
		}
	}
}
