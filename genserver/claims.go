package genserver

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// claims are the cluster-wide names that this System holds, with what arrives
// for them between two lives of their servers.
type claims struct {
	mu   sync.Mutex
	held map[string]*heldName
	// turns has the names that are being claimed or released now. A name's next
	// claim or release waits for it: a killed process may still be claiming
	// when its successor starts.
	turns map[string]chan struct{}
	// lost has the epochs of claims that were lost while they were being made.
	lost map[string]uint64
}

// turn waits until nobody else claims or releases the name, or ctx ends.
func (c *claims) turn(ctx context.Context, name string) (done func(), err error) {
	for {
		c.mu.Lock()
		other, taken := c.turns[name]
		if !taken {
			mine := make(chan struct{})
			c.turns[name] = mine
			c.mu.Unlock()
			return func() {
				c.mu.Lock()
				delete(c.turns, name)
				delete(c.lost, name)
				c.mu.Unlock()
				close(mine)
			}, nil
		}
		c.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, timeoutError(ctx, true).about(name)
		}
	}
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
			p.box.pushItem(it)
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
func (p *Process) claimName() error {
	s := p.sys
	done, err := s.names.turn(p.ctx, p.name)
	if err != nil {
		return err
	}
	defer done()
	s.names.mu.Lock()
	held := s.names.held[p.name]
	s.names.mu.Unlock()
	if held != nil {
		p.owns(held.claim)
		return nil
	}
	held = &heldName{}
	if s.router != nil {
		claim, err := s.router.Claim(p.ctx, p.name)
		if err != nil {
			return err
		}
		held.claim = claim
		p.owns(claim)
	}
	s.names.mu.Lock()
	late := p.fenced.Load() // killed meanwhile, and whoever did has released the name
	lost, known := s.names.lost[p.name]
	if known && held.claim != nil && held.claim.Epoch() == lost {
		s.names.mu.Unlock()
		return &Error{Code: ErrFenced.Code, Text: "its name was lost as soon as it was claimed"}
	}
	if !late {
		s.names.held[p.name] = held
	}
	s.names.mu.Unlock()
	if !late {
		return nil
	}
	if held.claim != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), releaseTimeout)
		defer cancel()
		if err := held.claim.Release(ctx); err != nil {
			return err
		}
	}
	return ErrFenced
}

// owns notes the claim of the process's name.
func (p *Process) owns(c Claim) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.claim = c
}

// releaseTimeout bounds a release that nobody else bounds.
const releaseTimeout = 5 * time.Second

// Release gives a cluster-wide name back that a process of this System has
// had. What waits for the name fails with ErrNoProcess. Of any other name it's
// a no-op.
func (s *System) Release(ctx context.Context, name string) error {
	done, err := s.names.turn(ctx, name)
	if err != nil {
		return err
	}
	defer done()
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

// knows reports whether push may have a place for a message to that name: without
// one, there is no need to make it.
func (s *System) knows(name string) bool {
	if s.procs.get(name) != nil {
		return true
	}
	s.names.mu.Lock()
	defer s.names.mu.Unlock()
	return s.names.held[name] != nil // as it is between two lives, and until the next is there
}

// push queues a message for a name: in the mailbox of its process, or, for a
// cluster-wide name between two lives, until the next one starts. errGone
// means that this System does not know the name. With noWait there is no
// waiting for the next one.
func (s *System) push(name string, it item, noWait bool) error {
	s.stamp(it)
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
	if noWait {
		return undelivered(ErrNoProcess, name, "it is between two lives")
	}
	if len(held.waiting) >= DefaultMailbox {
		return undelivered(ErrOverloaded, name, "%d messages wait for its next start", len(held.waiting))
	}
	held.waiting = append(held.waiting, it)
	return nil
}

// releaseAll gives back what is left, some names at a time.
func (s *System) releaseAll(ctx context.Context) error {
	s.names.mu.Lock()
	names := slices.Sorted(maps.Keys(s.names.held))
	s.names.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	const atOnce = 16
	var (
		wg    sync.WaitGroup
		slots = make(chan struct{}, atOnce)
		errs  = make([]error, len(names))
	)
	for i, name := range names {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = s.Release(ctx, name)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
