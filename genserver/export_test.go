package genserver

// Waiting is how many messages are in the mailbox.
func (p *Process) Waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.box.waiting()
}

// Pending counts the calls that a process is to answer later.
func Pending(p *Process) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for l := p.pending; l != nil; l = l.next {
		n++
	}
	return n
}

// Monitors counts those that wait for a process's end.
func Monitors(p *Process) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.more == nil {
		return 0
	}
	return len(p.more.monitors.told)
}
