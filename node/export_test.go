package node

// Lost is how many messages other nodes sent here that never came.
func (n *Node) Lost() uint64 {
	if n.service == nil {
		return 0
	}
	return n.service.Stats().Lost
}
