package genserver

import (
	"context"
	"slices"
)

// BlockCasts has those who cast or send to a full mailbox wait for room, until
// their context ends; without it, what is too much is dropped and counted. It
// holds for senders of the same System: what other nodes send is dropped still, as
// a node can't wait, and calls are refused at once. A server's messages to itself
// never wait.
//
// Servers that fill each other's mailboxes would wait for each other: inside of
// a server, give the cast a context with a deadline.
func BlockCasts[S any]() Handler[S] {
	return Handler[S]{func(d *definition) { d.blockCasts = true }}
}

// blocked is a sender who waits for room, and its message.
type blocked struct {
	slot
	done chan error // nil once it's in the mailbox, errGone when the server ends
}

// pushPatiently is push for a cast or an info from here, which may wait for
// room where its Type says so.
func (p *Process) pushPatiently(ctx context.Context, from *Context, s *slot) error {
	err := p.pushSlot(s, false)
	if err == nil || err == errGone || !p.host.def.blockCasts || from != nil && from.p == p && !from.detached { //nolint:errorlint // it's never wrapped
		return err
	}
	return p.awaitRoom(ctx, from, s, err)
}

// awaitRoom waits for room until ctx ends, whose error is full then.
func (p *Process) awaitRoom(ctx context.Context, from *Context, s *slot, full error) error {
	p.mu.Lock()
	if p.phase >= stopping || p.closing {
		p.mu.Unlock()
		return errGone
	}
	if p.box.waiting() < p.host.def.mailbox {
		p.mu.Unlock()
		return p.pushPatiently(ctx, from, s)
	}
	b := &blocked{*s, make(chan error, 1)}
	p.extra().blocked = append(p.extra().blocked, b)
	p.mu.Unlock()
	select {
	case err := <-b.done:
		return err
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.more.blocked, b)
	if i < 0 {
		return <-b.done // which came first
	}
	p.more.blocked = slices.Delete(p.more.blocked, i, i+1)
	return full
}

// admit lets in whoever has waited longest, as there is room; p.mu is held.
func (p *Process) admit() {
	m := p.more
	for m != nil && len(m.blocked) > 0 && !p.closing && p.box.waiting() < p.host.def.mailbox {
		b := m.blocked[0]
		m.blocked[0] = nil
		m.blocked = m.blocked[1:]
		p.box.push(&b.slot)
		b.done <- nil
	}
}
