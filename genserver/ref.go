package genserver

import (
	"context"
)

// Ref addresses a server by name. It says nothing of the server's existence,
// and stays good over restarts and moves. The zero Ref is refused by every use.
type Ref struct {
	sys  *System
	name string
	node string
}

// Name is the server's name.
func (r Ref) Name() string { return r.name }

// Node is the node the Ref is bound to, "" for whichever has the name.
func (r Ref) Node() string { return r.node }

// String is the name, or node/name for a Ref of [Ref.On].
func (r Ref) String() string {
	if r.node == "" {
		return r.name
	}
	return r.node + "/" + r.name
}

// On addresses the server of this name on one node.
func (r Ref) On(node string) Ref {
	r.node = node
	return r
}

// Cast sends a message that has no answer. It never waits for the server, unless
// its mailbox is full and its Type says [BlockCasts]. Nil says that the message was sent, not that it arrived or was handled: to an
// unknown name or a full mailbox it is dropped and counted, unless [Strict] is
// given.
//
// Messages from one sender to one server are handled in the order they were
// sent, casts, infos and calls alike.
func (r Ref) Cast(ctx context.Context, m CastMessage, opts ...Option) error {
	return r.send(ctx, KindCast, m, opts)
}

// Send is Cast for an info.
func (r Ref) Send(ctx context.Context, m InfoMessage, opts ...Option) error {
	return r.send(ctx, KindInfo, m, opts)
}

// Kill ends the server of this System that has the name, at once and without
// terminate: see [Process.Kill]. The error is ErrNoProcess where there is none.
func (r Ref) Kill() error {
	p, err := r.local()
	if err != nil {
		return err
	}
	if p == nil || !p.kill(Killed) {
		return undelivered(ErrNoProcess, r.String(), "not on this node")
	}
	return nil
}

// local is the living process of this System that the Ref addresses, or nil.
func (r Ref) local() (*Process, error) {
	if r.sys == nil {
		return nil, undelivered(ErrNoProcess, r.name, "the zero Ref; get one from a node, a System or a Context")
	}
	if r.node != "" && r.node != r.sys.node {
		return nil, nil
	}
	return r.sys.procs.get(r.name), nil
}
