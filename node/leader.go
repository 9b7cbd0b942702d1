package node

import (
	"context"
	"errors"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
	"github.com/civitas-go/civitas/transport"
)

// What a leader says to nodes, and nodes to their leader, by AdminName.
type (
	// askStart asks for the start of a child of the cluster's tree; it is answered
	// once that runs.
	askStart struct {
		genserver.Returns[genserver.Map]
		Record []byte `json:"record"` // a cluster.SpecRecord's JSON
	}
	// askStopChild asks for the stop of a child of the cluster's tree whose record says that
	// it is stopped already.
	askStopChild struct {
		genserver.Returns[genserver.Map]
		Name string `json:"name"`
	}
	// askPlace asks the leader to place children that were written to the records,
	// and is answered when it is decided about each.
	askPlace struct {
		genserver.Returns[placements]
		Node        string `json:"node"`
		Incarnation string `json:"incarnation"`
		// Children are their names, and the sequences of their records.
		Children map[string]uint64 `json:"children"`
	}
	placements struct {
		Children []placedChild `json:"children"`
	}
	placedChild struct {
		Name  string `json:"name"`
		State string `json:"state"`
		Why   string `json:"why,omitempty"`
	}
	// tellGaveUp tells the leader of a child that crashes again and again.
	tellGaveUp struct {
		genserver.Returns[genserver.Map]
		Incarnation string `json:"incarnation"`
		Name        string `json:"name"`
		Reason      string `json:"reason"`
	}
)

func (askStart) Op() string     { return "start_child" }
func (askStopChild) Op() string { return "stop_child" }
func (askPlace) Op() string     { return "place" }
func (tellGaveUp) Op() string   { return "gave_up" }

func placedChildren(all []cluster.Child) []placedChild {
	some := make([]placedChild, len(all))
	for i, c := range all {
		some[i] = placedChild{Name: c.Name, State: c.State, Why: c.Why}
	}
	return some
}

// ask asks the AdminName of one incarnation.
func (p *placed) ask(ctx context.Context, incarnation string, m genserver.Message, answer any) error {
	r := p.n.router
	to := r.peer(incarnation)
	out := &genserver.Outgoing{
		Envelope: genserver.Envelope{To: AdminName, Kind: genserver.KindCall, Op: m.Op(), FromNode: r.sys.Node()},
		Message:  m,
	}
	out.Deadline, _ = ctx.Deadline()
	body, err := transport.Request(ctx, r.conn, transport.Route{Subject: to.subject(AdminName), Peer: &to.life, Sequence: to.sequence, Bundle: to.bundle()}, out)
	if err != nil || answer == nil {
		return err
	}
	return body.Decode(answer)
}

func (p *placed) askStart(ctx context.Context, incarnation string, r cluster.SpecRecord) error {
	record, err := r.Encode()
	if err != nil {
		return err
	}
	return p.ask(ctx, incarnation, askStart{Record: record}, nil)
}

// atLeader does something with the leader, until one has taken it or ctx ends.
func (p *placed) atLeader(ctx context.Context, do func(ctx context.Context, leader string) error) error {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		lead, err := p.lead.Leader(ctx)
		if err != nil {
			return err
		}
		err = do(ctx, lead.Incarnation)
		passing := errors.Is(err, cluster.ErrNotLeading) || errors.Is(err, transport.ErrNoResponders) ||
			errors.Is(err, genserver.ErrDraining) || errors.Is(err, genserver.ErrNodeDown)
		if !passing || !wait(ctx, pause) {
			return err
		}
	}
}

// startChild takes an askStart.
func (a *admin) startChild(ctx *genserver.Context, m askStart, reply genserver.Reply[genserver.Map]) error {
	p := a.node.placed
	record, err := cluster.DecodeSpec(m.Record)
	if err != nil {
		return &genserver.Error{Code: errNotStarted.Code, Text: err.Error()}
	}
	if p == nil {
		return about(errNotStarted, record.Name, errors.New("the node takes no children"))
	}
	a.apart(ctx, func(ctx context.Context) {
		if err := p.start(ctx, record); err != nil {
			reply.Fail(err)
			return
		}
		reply.Send(genserver.Map{})
	})
	return nil
}

// stopChild takes an askStopChild.
func (a *admin) stopChild(ctx *genserver.Context, m askStopChild, reply genserver.Reply[genserver.Map]) error {
	p := a.node.placed
	if p == nil {
		return about(supervisor.ErrNotFound, m.Name, errors.New("the node takes no children"))
	}
	a.apart(ctx, func(ctx context.Context) {
		answer(reply, genserver.Map{}, p.stop(ctx, m.Name))
	})
	return nil
}

// place takes an askPlace.
func (a *admin) place(ctx *genserver.Context, m askPlace, reply genserver.Reply[placements]) error {
	p := a.node.placed
	if p == nil {
		return cluster.ErrNotLeading
	}
	a.apart(ctx, func(ctx context.Context) {
		children, err := p.lead.Place(ctx, m.Node, m.Incarnation, m.Children)
		answer(reply, placements{placedChildren(children)}, err)
	})
	return nil
}

// gaveUp takes a tellGaveUp.
func (a *admin) gaveUp(_ *genserver.Context, m tellGaveUp) (genserver.Map, error) {
	if a.node.placed == nil {
		return nil, cluster.ErrNotLeading
	}
	return genserver.Map{}, a.node.placed.lead.GaveUp(m.Name, m.Incarnation, m.Reason)
}
