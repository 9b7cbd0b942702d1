package clustertest

import (
	"slices"
	"time"

	"github.com/civitas-go/civitas/internal/membership"
)

// keepWitnesses PINGs the process's witnesses, gives up those that are silent,
// and dials anew, all by the process's clock.
func (p *simProc) keepWitnesses() {
	p.when(func() {
		now := p.clock()
		p.keepData()
		for _, c := range slices.Clone(p.conns) {
			if now-c.ponged > p.s.timing.Silence() {
				c.close()
				continue
			}
			c.ping()
		}
		if p.testifies && len(p.conns) < min(2, len(p.s.servers)) && !p.leaving && p.s.rng.IntN(2) == 0 {
			p.dial()
		}
		p.later(now+p.s.timing.Ping, p.keepWitnesses)
	})
}

// dial opens a witness to a server that is none yet.
func (p *simProc) dial() {
	s := p.s
	v := s.servers[s.rng.IntN(len(s.servers))]
	if slices.ContainsFunc(p.conns, func(c *simConn) bool { return c.server == v }) {
		return
	}
	s.after(s.wire(), func() {
		if p.gone || !v.up || s.cutUntil(p.node, v, true) > 0 || s.cutUntil(p.node, v, false) > 0 {
			return
		}
		v.next++
		c := &simConn{
			p: p, server: v, life: v.id, witness: membership.Witness{Server: v.id, Client: v.next},
			silence: 1400*time.Millisecond + s.upTo(600*time.Millisecond), heard: s.now,
		}
		c.watch()
		p.when(func() {
			if c.ended || len(p.conns) >= 2 || slices.ContainsFunc(p.conns, func(d *simConn) bool { return d.server == v }) {
				c.end()
				return
			}
			c.held, c.ponged = true, p.clock()
			p.conns = append(p.conns, c)
			p.session.Hold(p.clock(), c.witness)
			c.ping()
			p.renewal.step()
		})
	})
}

// ping sends a PING and takes its PONG.
func (c *simConn) ping() {
	p, s, sent := c.p, c.p.s, c.p.clock()
	s.carry(p, c.server, true, s.wire(), func() {
		if c.ended || c.life != c.server.id {
			return
		}
		c.heard = s.now
		s.carry(p, c.server, false, s.wire(), func() {
			p.when(func() {
				if !c.held {
					return
				}
				c.ponged = max(c.ponged, sent)
				if s.faults.PongFromReceipt {
					sent = p.clock()
				}
				p.session.Pong(c.witness, sent)
			})
		})
	})
}

// watch is the server's: it ends what it has not heard from.
func (c *simConn) watch() {
	s := c.p.s
	s.at(c.heard+c.silence, func() {
		switch {
		case c.ended:
		case s.now-c.heard >= c.silence:
			c.end()
		case s.chance(60):
			s.trace("server %s kicks %s", c.server.name, c.p.label)
			c.end()
		default:
			c.watch()
		}
	})
}

// end is the connection's at the server, which tells everyone of it.
func (c *simConn) end() {
	s := c.p.s
	if c.ended || c.life != c.server.id {
		return
	}
	c.ended = true
	c.server.ended[c.witness] = true
	s.carry(c.p, c.server, false, s.wire(), func() { c.p.when(c.drop) })
	for _, q := range s.procs {
		if q.uninformed || s.chance(20) {
			continue
		}
		s.toProc(c.server, q, s.wire(), func() { q.ended(c.witness) })
	}
}

// close gives the witness up.
func (c *simConn) close() {
	c.drop()
	c.p.s.carry(c.p, c.server, true, c.p.s.wire(), c.end)
}

// drop is the process's: it holds the witness no more.
func (c *simConn) drop() {
	if !c.held {
		return
	}
	c.held = false
	c.p.conns = slices.DeleteFunc(c.p.conns, func(d *simConn) bool { return c == d })
	c.p.session.Drop(c.p.clock(), c.witness)
	c.p.renewal.step()
}

// hangUp is the end of all connections of a process that has ended: its host
// closes them, which the servers learn unless a cut is between.
func (p *simProc) hangUp() {
	for _, c := range p.conns {
		p.s.carry(p, c.server, true, p.s.wire(), c.end)
	}
}

// ended takes the word of a witness's end.
func (p *simProc) ended(w membership.Witness) {
	p.ends.Add(p.clock(), w, 10*p.s.timing.Judge)
	for _, name := range slices.Clone(p.inquestOrder) {
		if q := p.inquests[name]; q != nil {
			q.driver.step()
		}
	}
}

// question asks all servers what became of connections. Those that are reached answer
// by what they know then.
func (p *simProc) question(ws membership.Witnesses) {
	s, v := p.s, p.data
	if !s.events || !v.up {
		return
	}
	s.carry(p, v, true, s.wire(), func() {
		for _, asked := range s.servers {
			if !v.reaches(asked) {
				continue
			}
			for _, w := range ws {
				if told := asked.ended[w]; told || s.faults.UnknownIsEnded && w != (membership.Witness{}) && !asked.has(w) {
					s.stats.Told++
					s.toProc(asked, p, s.wire(), func() { p.ended(w) })
				}
			}
		}
	})
}

// has reports whether a connection is one of the server's that has not ended.
func (v *simServer) has(w membership.Witness) bool {
	return w.Server == v.id && w.Client <= v.next && !v.ended[w]
}
