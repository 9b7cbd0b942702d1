package node

import (
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/transport"
)

// deliver takes a message from another node. It is called from the node's one
// subscription and never blocks: the System puts the message into a mailbox or
// refuses it, and what is for the node's runtime is soon done.
func (r *router) deliver(in *genserver.Incoming, epoch uint64, from transport.Origin) {
	if from.Epoch > 0 {
		if err := r.refusal(in, from); err != nil {
			r.sys.Refuse(in, err)
			return
		}
	}
	switch {
	case in.To == runtimeName:
		r.control(in)
		return
	case in.To == overloadName && in.Kind == genserver.KindInfo:
		r.overloaded(in)
		return
	case epoch > 0 && r.stale(in.To, epoch):
		r.sys.Refuse(in, &genserver.Error{
			Code: genserver.ErrMoved.Code, Server: in.To, Undelivered: true, Text: "it has changed owners since the sender looked",
		})
		return
	}
	if box := r.sys.Deliver(in); box.Waiting > 0 {
		r.overloads.full(in, box)
	}
}

// deliverPublic takes a message from a plain client.
func (r *router) deliverPublic(in *genserver.Incoming) { r.sys.Deliver(in) }

// stale reports a message that was sent to an ownership before this node's.
func (r *router) stale(server string, epoch uint64) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	c := r.claims[server]
	return c != nil && epoch < c.epoch
}
