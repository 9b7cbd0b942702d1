package genserver_test

import (
	"context"
	"sync"

	"github.com/civitas-go/civitas/genserver"
)

// fakeRouter is the rest of a cluster; what it's not given, it refuses.
type fakeRouter struct {
	request func(context.Context, *genserver.Outgoing) (genserver.Body, error)
	publish func(context.Context, *genserver.Outgoing) error
	claim   func(context.Context, string) (genserver.Claim, error)
	monitor func(name, node string, down func(genserver.Down)) (cancel func())
}

func (r *fakeRouter) Request(ctx context.Context, m *genserver.Outgoing) (genserver.Body, error) {
	if r.request == nil {
		return nil, &genserver.Error{Code: "no_process", Server: m.To, Undelivered: true}
	}
	if !m.Deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, m.Deadline)
		defer cancel()
	}
	kept := *m // which m itself must not be
	return r.request(ctx, &kept)
}

func (r *fakeRouter) Publish(ctx context.Context, m *genserver.Outgoing) error {
	if r.publish == nil {
		return &genserver.Error{Code: "no_process", Server: m.To, Undelivered: true}
	}
	kept := *m
	return r.publish(ctx, &kept)
}

func (r *fakeRouter) Stop(_ context.Context, name, _ string, _ *genserver.Error, _ bool) error {
	return &genserver.Error{Code: "no_process", Server: name, Undelivered: true}
}

func (r *fakeRouter) Monitor(name, node string, down func(genserver.Down)) (cancel func()) {
	return r.monitor(name, node, down)
}

func (r *fakeRouter) Claim(ctx context.Context, name string) (genserver.Claim, error) {
	if r.claim == nil {
		return &fakeClaim{epoch: 1}, nil
	}
	return r.claim(ctx, name)
}

type fakeClaim struct {
	epoch    uint64
	gate     genserver.Gate
	mu       sync.Mutex
	released int
}

func (c *fakeClaim) Epoch() uint64 { return c.epoch }

func (c *fakeClaim) Gate() genserver.Gate { return c.gate }

func (c *fakeClaim) Release(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.released++
	return nil
}

func (c *fakeClaim) releases() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.released
}

// jsonBody is a payload of bytes.
type jsonBody string

func (b jsonBody) Decode(v any) error { return genserver.JSON.Decode([]byte(b), v) }

// answer is a Replier that keeps what it's given.
type answer struct {
	mu    sync.Mutex
	got   []any
	errs  []error
	ready chan struct{}
}

func newAnswer() *answer { return &answer{ready: make(chan struct{}, 8)} }

func (a *answer) Reply(v any, err error) {
	a.mu.Lock()
	a.got, a.errs = append(a.got, v), append(a.errs, err)
	a.mu.Unlock()
	a.ready <- struct{}{}
}

// once is the one answer.
func (a *answer) once() (any, error, int) { //nolint:staticcheck // the count is no result
	<-a.ready
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.got[0], a.errs[0], len(a.got)
}
