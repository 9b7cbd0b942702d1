package genserver

import "strings"

// chain is the servers that wait for a call's answer. A call to one of them
// could never be answered: each would wait for the next, in a circle.
type chain struct {
	server *Process
	outer  *chain   // whoever waits for server, in this System
	remote []string // whoever waits beyond that, as node/name, outermost first
}

// waiting is the chain of a call that the handler makes. A call's handler keeps
// its own caller waiting; one of a cast or an info keeps nobody.
func (c *Context) waiting() *chain {
	if c.detached {
		return nil
	}
	w := &chain{server: c.p}
	if c.msg.kind == KindCall {
		w.outer = c.msg.chain
		if c.msg.remote != nil {
			w.remote = c.msg.remote.Chain
		}
	}
	return w
}

// keepsWaiting reports whether a server of this System waits for the handler,
// or is its own.
func (c *Context) keepsWaiting(name string) bool {
	if c.detached {
		return false
	}
	if c.p.name == name {
		return true
	}
	if c.msg.kind != KindCall {
		return false
	}
	if c.msg.remote != nil && waits(c.msg.remote.Chain, c.p.sys.node, name) {
		return true
	}
	for w := c.msg.chain; w != nil; w = w.outer {
		if w.server.name == name || waits(w.remote, c.p.sys.node, name) {
			return true
		}
	}
	return false
}

// waits looks for a server in the chain of an envelope.
func waits(chain []string, node, name string) bool {
	for _, link := range chain {
		if n, s, ok := strings.Cut(link, "/"); ok && n == node && s == name {
			return true
		}
	}
	return false
}

// names lists the chain as node/name, outermost first.
func (w *chain) names() []string {
	if w == nil {
		return nil
	}
	return append(append(w.outer.names(), w.remote...), w.server.sys.node+"/"+w.server.name)
}

// cycle refuses a call that would close a circle, and names it.
func cycle(waiting []string, node, name string) *Error {
	return undelivered(ErrCallCycle, name, "%s → %s/%s", strings.Join(waiting, " → "), node, name)
}
