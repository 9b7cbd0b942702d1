package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/name"
	"github.com/civitas-go/civitas/transport"
)

// runtimeName is where nodes reach each other's runtimes; no server has it. An
// older node, which does not know it, refuses what it is asked with no_process.
const runtimeName = "_runtime"

// errOlder is of a node that does not know what it's asked for.
var errOlder = errors.New("it's of an older release")

// answerTimeout is how long one node's runtime waits for another's answer before it
// asks again.
const answerTimeout = 2 * time.Second

// What runtimes say to each other; docs/wire.md has it for other languages.
type (
	// askMonitor asks for a tellDown when the server ends. The id is the asking
	// incarnation's; asked again, the answer is the same.
	askMonitor struct {
		genserver.Returns[monitored]
		ID          uint64 `json:"id"`
		Incarnation string `json:"incarnation"`
		Server      string `json:"server"`
	}
	monitored struct {
		Generation uint64 `json:"generation"`
	}
	// endMonitor takes it back.
	endMonitor struct {
		genserver.OneWay
		ID          uint64 `json:"id"`
		Incarnation string `json:"incarnation"`
	}
	// tellDown tells of ends, in their order, again and again until it's answered.
	tellDown struct {
		genserver.Returns[genserver.Map]
		Downs []ended `json:"downs"`
	}
	ended struct {
		ID         uint64 `json:"id"`
		Generation uint64 `json:"generation"`
		Reason     []byte `json:"reason"` // an error reply's frame
	}
	// askStop asks to stop a server, and is answered once it has ended.
	askStop struct {
		genserver.Returns[genserver.Map]
		Server string `json:"server"`
		Reason []byte `json:"reason"` // an error reply's frame
		All    bool   `json:"all,omitempty"`
	}
)

func (askMonitor) Op() string { return "monitor" }
func (endMonitor) Op() string { return "demonitor" }
func (tellDown) Op() string   { return "down" }
func (askStop) Op() string    { return "stop" }

// reasonBytes is a reason as it crosses the wire: cut where it is too long.
func reasonBytes(reason *genserver.Error) []byte {
	return transport.AppendReply(nil, &transport.Reply{Err: reason})
}

func reasonOf(data []byte) (*genserver.Error, error) {
	r, err := transport.ParseReply(data)
	if err == nil && r.Err == nil {
		err = errors.New("no reason")
	}
	return r.Err, err
}

// control takes a message for the node's runtime. Like deliver it never blocks.
func (r *router) control(in *genserver.Incoming) {
	err := errors.New("unknown op " + in.Op)
	switch in.Op {
	case askMonitor{}.Op():
		err = onMessage(in, r.monitorFor)
	case endMonitor{}.Op():
		err = onMessage(in, r.demonitorFor)
	case tellDown{}.Op():
		err = onMessage(in, r.told)
	case askStop{}.Op():
		err = onMessage(in, r.stopFor)
	}
	if err == nil {
		return
	}
	var known *genserver.Error
	if !errors.As(err, &known) {
		known = &genserver.Error{Code: genserver.ErrBadPayload.Code, Server: runtimeName, Text: err.Error(), Undelivered: true}
	}
	if in.Reply != nil {
		in.Reply.Reply(nil, known)
		return
	}
	r.log.Warn("message between runtimes refused", "op", in.Op, "from", in.FromNode, "error", known)
}

// onMessage decodes a message for the one who takes it; its error is the answer.
func onMessage[M any](in *genserver.Incoming, take func(*genserver.Incoming, M) error) error {
	var m M
	if err := in.Body.Decode(&m); err != nil {
		return err
	}
	if in.Reply == nil {
		in.Reply = unasked{}
	}
	return take(in, m)
}

// unasked takes an answer that nobody waits for.
type unasked struct{}

func (unasked) Reply(any, error) {}

// command calls the runtime of an incarnation.
func (r *router) command(ctx context.Context, to cluster.Owner, m genserver.Message) (genserver.Body, error) {
	body, err := transport.Request(ctx, r.conn, r.runtimeOf(to.Incarnation), r.toRuntime(genserver.KindCall, m))
	var e *genserver.Error
	if errors.As(err, &e) && e.Code == genserver.ErrNoProcess.Code && e.Server == runtimeName && !errors.Is(err, transport.ErrNoResponders) {
		return nil, fmt.Errorf("%w: %w", &genserver.Error{
			Code: genserver.ErrUnavailable.Code, Undelivered: true,
			Text: fmt.Sprintf("node %s does not know %q", to.Node, m.Op()),
		}, errOlder)
	}
	return body, err
}

func (r *router) runtimeOf(incarnation string) transport.Route {
	p := r.peer(incarnation)
	return transport.Route{Subject: p.subject(runtimeName), Peer: &p.life, Sequence: p.sequence, Bundle: p.bundle()}
}

func (r *router) toRuntime(kind genserver.Kind, m genserver.Message) *genserver.Outgoing {
	return &genserver.Outgoing{
		Envelope: genserver.Envelope{To: runtimeName, Kind: kind, Op: m.Op(), FromNode: r.sys.Node()},
		Message:  m,
	}
}

// Stop implements genserver.Router.
func (r *router) Stop(ctx context.Context, server, node string, reason *genserver.Error, drainAll bool) error {
	m := askStop{Server: server, Reason: reasonBytes(reason), All: drainAll}
	to := &genserver.Outgoing{Envelope: genserver.Envelope{To: server}, Node: node}
	_, err := r.search(ctx, to, cluster.Owner{}, func(owner cluster.Owner) (genserver.Body, error) {
		return r.command(ctx, owner, m)
	})
	return err
}

// stopFor stops a server for another node. The names of the runtime's own servers
// are none of its business.
func (r *router) stopFor(in *genserver.Incoming, m askStop) error {
	reason, err := reasonOf(m.Reason)
	if err != nil {
		return err
	}
	if name.Runtime(m.Server) {
		return &genserver.Error{Code: genserver.ErrNoProcess.Code, Server: m.Server, Undelivered: true}
	}
	p, _, err := r.sys.Watch(m.Server, func(genserver.Down) { in.Reply.Reply(genserver.Map{}, nil) })
	if err != nil {
		return err
	}
	if m.All {
		p.RequestStop(reason, genserver.DrainAll())
	} else {
		p.RequestStop(reason)
	}
	return nil
}

// begin lets a goroutine of the router's start, unless it has been closed.
// Whoever got true calls r.wg.Done.
func (r *router) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.life.Err() != nil {
		return false
	}
	r.wg.Add(1)
	return true
}

// close ends what runs in the background, and waits for it.
func (r *router) close() {
	r.mu.Lock()
	r.end()
	r.mu.Unlock()
	r.monitors.close()
	r.wg.Wait()
}
