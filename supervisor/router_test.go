package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

func isNoProcess(err error) bool { return errors.Is(err, genserver.ErrNoProcess) }

// claimRouter is a cluster of this node alone: it hands names out, and knows
// nobody else.
type claimRouter struct {
	genserver.Router               // what else there may be is not called
	slow             time.Duration // how long a release takes
	patience         int           // milliseconds a claim waits for a name that is held

	mu      sync.Mutex
	claimed []string // every claim there was
	held    []string
	fault   string
}

func (r *claimRouter) Request(_ context.Context, m *genserver.Outgoing) (genserver.Body, error) {
	return nil, &genserver.Error{Code: genserver.ErrNoProcess.Code, Server: m.To, Undelivered: true}
}

func (r *claimRouter) Publish(_ context.Context, m *genserver.Outgoing) error {
	return &genserver.Error{Code: genserver.ErrNoProcess.Code, Server: m.To, Undelivered: true}
}

func (r *claimRouter) Stop(_ context.Context, name, _ string, _ *genserver.Error, _ bool) error {
	return &genserver.Error{Code: genserver.ErrNoProcess.Code, Server: name, Undelivered: true}
}

// Claim hands a name out. A server that is killed while it claims its name gives
// it back later, on its own, so that its successor may have to be patient.
func (r *claimRouter) Claim(ctx context.Context, name string) (genserver.Claim, error) {
	for range r.patience {
		if !slices.Contains(r.holds(), name) {
			break
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return nil, &genserver.Error{Code: genserver.ErrUnavailable.Code, Server: name, Undelivered: true}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Contains(r.held, name) {
		r.fault = fmt.Sprintf("got a claim of %s while it is held, want its release before", name)
		return nil, &genserver.Error{Code: genserver.ErrNameTaken.Code, Server: name}
	}
	r.held = append(r.held, name)
	r.claimed = append(r.claimed, name)
	return &nameClaim{router: r, name: name, epoch: uint64(len(r.claimed))}, nil
}

// holds are the names that have not been given back.
func (r *claimRouter) holds() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.held)
}

func (r *claimRouter) claims() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.claimed)
}

// twice tells of a name that was claimed although it was held.
func (r *claimRouter) twice() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fault
}

type nameClaim struct {
	genserver.Claim
	router *claimRouter
	name   string
	epoch  uint64
}

func (c *nameClaim) Epoch() uint64        { return c.epoch }
func (c *nameClaim) Gate() genserver.Gate { return nil }

func (c *nameClaim) Release(ctx context.Context) error {
	var err error
	if c.router.slow > 0 {
		select {
		case <-time.After(c.router.slow):
		case <-ctx.Done():
			err = ctx.Err() // the answer is lost; the name is free all the same
		}
	}
	c.router.mu.Lock()
	defer c.router.mu.Unlock()
	c.router.held = slices.DeleteFunc(c.router.held, func(name string) bool { return name == c.name })
	return err
}
