package node

import (
	"cmp"
	"context"
	"errors"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
)

// askLook is AskChildren of the leader itself.
type askLook struct {
	genserver.Returns[Children]
	Children map[string]uint64 `json:"children"`
}

func (askLook) Op() string { return "look" }

// apply takes an ApplyChild.
func (a *admin) apply(ctx *genserver.Context, m ApplyChild, reply genserver.Reply[Applied]) error {
	record, err := cluster.DecodeSpec(m.Record)
	switch {
	case err != nil:
		return &genserver.Error{Code: ErrBadRecord.Code, Text: err.Error()}
	case a.node.placed == nil:
		return a.about(ErrNoCluster, record.Name)
	}
	a.apart(ctx, func(ctx context.Context) {
		holds, seq, err := a.node.registry.Apply(ctx, record, m.Seq)
		answer(reply, Applied{Seq: seq, Revision: holds.Revision}, a.refusal(record.Name, err))
	})
	return nil
}

// remove takes a RemoveChild.
func (a *admin) remove(ctx *genserver.Context, m RemoveChild, reply genserver.Reply[Applied]) error {
	if a.node.placed == nil {
		return a.about(ErrNoCluster, m.Name)
	}
	a.apart(ctx, func(ctx context.Context) {
		seq, err := a.node.registry.Remove(ctx, m.Name, m.Seq)
		answer(reply, Applied{Seq: seq}, a.refusal(m.Name, err))
	})
	return nil
}

// children takes an AskChildren.
func (a *admin) children(ctx *genserver.Context, m AskChildren, reply genserver.Reply[Children]) error {
	p := a.node.placed
	if p == nil {
		return a.about(ErrNoCluster, AdminName)
	}
	a.apart(ctx, func(ctx context.Context) {
		var all Children
		err := p.atLeader(ctx, func(ctx context.Context, leader string) (err error) {
			if leader != p.n.registry.Incarnation() {
				return p.ask(ctx, leader, askLook(m), &all)
			}
			all, err = p.look(ctx, m.Children)
			return err
		})
		answer(reply, all, err)
	})
	return nil
}

// look takes an askLook.
func (a *admin) look(ctx *genserver.Context, m askLook, reply genserver.Reply[Children]) error {
	p := a.node.placed
	if p == nil {
		return cluster.ErrNotLeading
	}
	a.apart(ctx, func(ctx context.Context) {
		all, err := p.look(ctx, m.Children)
		answer(reply, all, err)
	})
	return nil
}

func (p *placed) look(ctx context.Context, children map[string]uint64) (Children, error) {
	found, err := p.lead.Look(ctx, children)
	all := Children{Children: make([]ChildInfo, len(found))}
	for i, c := range found {
		all.Children[i] = ChildInfo{
			Name: c.Name, State: c.State, Node: c.OnNode, Seq: c.Seq, Revision: c.Revision, Runs: c.Runs, Removed: c.Removed,
			Reason: shortened(cmp.Or(c.Why, c.Reason)),
		}
	}
	return all, err
}

// refusal is a registry's error for who is elsewhere.
func (a *admin) refusal(child string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, cluster.ErrChanged):
		return a.about(ErrChanged, child)
	default:
		return about(ErrNotApplied, child, err)
	}
}

// answer answers with a value, or an error.
func answer[Rep any](reply genserver.Reply[Rep], value Rep, err error) {
	if err != nil {
		reply.Fail(err)
		return
	}
	reply.Send(value)
}
