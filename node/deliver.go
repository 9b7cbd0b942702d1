package node

import "github.com/civitas-go/civitas/genserver"

// deliver takes a message from another node. It is called from the node's one
// subscription and never blocks: the System puts the message into a mailbox or
// refuses it.
func (r *router) deliver(in *genserver.Incoming, _ uint64) {
	if in.To == overloadName && in.Kind == genserver.KindInfo {
		r.overloaded(in)
		return
	}
	if box := r.sys.Deliver(in); box.Waiting > 0 {
		r.overloads.full(in, box)
	}
}

// deliverPublic takes a message from a plain client.
func (r *router) deliverPublic(in *genserver.Incoming) { r.sys.Deliver(in) }
