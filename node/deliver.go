package node

import "github.com/civitas-go/civitas/genserver"

// deliver takes a message from another node. It is called from the node's one
// subscription and never blocks: the System puts the message into a mailbox or
// refuses it.
func (r *router) deliver(in *genserver.Incoming, _ uint64) { r.sys.Deliver(in) }
