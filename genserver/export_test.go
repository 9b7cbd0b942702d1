package genserver

// Waiting is how many messages are in the mailbox.
func (p *Process) Waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int(p.box.n)
}
