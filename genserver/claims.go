package genserver

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// claims are the cluster-wide names that this System holds, with what arrives
// for them between two lives of their servers.
type claims struct {
	mu   sync.Mutex
	held map[string]*heldName
}

type heldName struct {
	claim   Claim // nil in a System without a Router
	waiting []item
}

// enter puts a new process into the table, its mailbox beginning with what has
// waited for it, so that nothing overtakes it.
func (s *System) enter(p *Process) error {
	s.names.mu.Lock()
	defer s.names.mu.Unlock()
	if s.closed.Load() {
		return undelivered(ErrDraining, p.name, "the system is stopping")
	}
	if holder := s.procs.get(p.name); holder != nil {
		return undelivered(ErrNameTaken, p.name, "%s has it", holder)
	}
	held := s.names.held[p.name]
	if held != nil {
		for _, it := range held.waiting {
			p.box.push(it)
		}
	}
	if held != nil {
		held.waiting = nil
	}
	s.procs.put(p)
	return nil
}

// claimName makes a starting process's cluster-wide name this System's. It
// runs in the process's own goroutine.
func (p *Process) claimName(scope Scope) error {
	if scope != Cluster {
		return nil
	}
	s := p.sys
	s.names.mu.Lock()
	held := s.names.held[p.name]
	s.names.mu.Unlock()
	if held != nil {
		p.claim = held.claim
		return nil
	}
	held = &heldName{}
	if s.router != nil {
		claim, err := s.router.Claim(p.ctx, p.name)
		if err != nil {
			return err
		}
		held.claim, p.claim = claim, claim
	}
	s.names.mu.Lock()
	late := p.fenced.Load() // killed meanwhile, and whoever did has released the name
	if !late {
		s.names.held[p.name] = held
	}
	s.names.mu.Unlock()
	if !late {
		return nil
	}
	if held.claim != nil {
		if err := held.claim.Release(context.WithoutCancel(p.ctx)); err != nil {
			return err
		}
	}
	return ErrFenced
}

// Release gives a cluster-wide name back that a process of this System has
// had. What waits for the name fails with ErrNoProcess. Of any other name it's
// a no-op.
func (s *System) Release(ctx context.Context, name string) error {
	s.names.mu.Lock()
	held := s.names.held[name]
	delete(s.names.held, name)
	s.names.mu.Unlock()
	if held == nil {
		return nil
	}
	s.discard(held.waiting, func(bool) error { return undelivered(ErrNoProcess, name, "it was stopped for good") })
	if held.claim == nil {
		return nil
	}
	return held.claim.Release(ctx)
}

// push queues a message for a name: in the mailbox of its process, or, for a
// cluster-wide name between two lives, until the next one starts. errGone
// means that this System does not know the name.
func (s *System) push(name string, it item) error {
	if p := s.procs.get(name); p != nil {
		if err := p.push(it, false); err != errGone { //nolint:errorlint // it's never wrapped
			return err
		}
	}
	s.names.mu.Lock()
	defer s.names.mu.Unlock()
	held := s.names.held[name]
	if held == nil {
		return errGone
	}
	// The next life may have begun before the lock was taken.
	if p := s.procs.get(name); p != nil {
		if err := p.push(it, false); err != errGone { //nolint:errorlint // it's never wrapped
			return err
		}
	}
	if len(held.waiting) >= DefaultMailbox {
		return undelivered(ErrOverloaded, name, "%d messages wait for its next start", len(held.waiting))
	}
	held.waiting = append(held.waiting, it)
	return nil
}

// heldNames is a snapshot, in order.
func (s *System) heldNames() []string {
	s.names.mu.Lock()
	defer s.names.mu.Unlock()
	return slices.Sorted(maps.Keys(s.names.held))
}
