package node

import (
	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
)

// happened has an event of this node's kept, where someone keeps them.
func (n *Node) happened(e cluster.Event) {
	if n.link == nil || n.link.Events == nil {
		return
	}
	if e.Node == "" {
		e.Node = n.cfg.Name
	}
	if e.Incarnation == "" && n.registry != nil {
		e.Incarnation = n.registry.Incarnation()
	}
	n.link.Events.Write(e)
}

// noticed passes on what a supervisor did.
func (n *Node) noticed(s genserver.Notice) {
	e := cluster.Event{Kind: cluster.EventRestart, Server: s.Server, TraceID: s.Cause.TraceID()}
	if s.Kind == genserver.Escalated {
		e.Kind = cluster.EventEscalate
	}
	if s.Reason != nil {
		e.Reason = s.Reason.Error()
	}
	n.happened(e)
}

// died is told of the nodes that this one has declared dead.
func (n *Node) died(node, incarnation, reason string) {
	n.happened(cluster.Event{Kind: cluster.EventDead, Node: node, Incarnation: incarnation, Reason: reason})
}
