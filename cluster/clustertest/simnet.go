package clustertest

import (
	"fmt"
	"slices"
	"time"

	"github.com/civitas-go/civitas/internal/membership"
)

// simServer is a NATS server: processes reach the store, each other and their
// witnesses through it.
type simServer struct {
	s    *sim
	name string
	id   string // another with each life
	up   bool
	cut  bool // from the other servers
	next uint64

	ended map[membership.Witness]bool // the connections of this life that have
}

// simCut drops the packets between a node and a server, or all of them.
type simCut struct {
	node    string
	server  *simServer // nil for all
	out, in bool       // from the node's view
	until   time.Duration
}

// simConn is a witness: a connection of its own between a process and a server.
type simConn struct {
	p       *simProc
	server  *simServer
	life    string // of the server
	witness membership.Witness
	silence time.Duration // after which the server ends it

	ended bool          // at the server
	heard time.Duration // by the server

	held   bool            // at the process
	ponged membership.Time // when the newest PING was sent that has its PONG
}

func (s *sim) startServers() {
	n := 3
	if s.rng.IntN(4) == 0 {
		n = 1
	}
	s.events = s.rng.IntN(3) > 0
	for i := range n {
		v := &simServer{s: s, name: string(rune('A' + i))}
		v.start()
		s.servers = append(s.servers, v)
	}
}

func (v *simServer) start() {
	v.s.lives++
	v.id, v.up, v.ended = fmt.Sprintf("%s#%d", v.name, v.s.lives), true, map[membership.Witness]bool{}
}

// netTrouble breaks what connects the processes now and then.
func (s *sim) netTrouble() {
	s.after(time.Second+s.upTo(15*time.Second), func() {
		if s.calm {
			return
		}
		switch s.rng.IntN(8) {
		case 0:
			s.crashServer()
		case 1:
			s.cutServer()
		case 2, 3:
			s.kick()
		default:
			s.cutNode()
		}
		s.netTrouble()
	})
}

// kick has the servers end all of a living process's witnesses, which it may
// not learn for a while.
func (s *sim) kick() {
	if len(s.procs) == 0 {
		return
	}
	p := s.procs[s.rng.IntN(len(s.procs))]
	if !s.trouble("%s is kicked", p.label) {
		return
	}
	if s.rng.IntN(2) == 0 {
		s.addCut(simCut{node: p.node, in: true, until: s.now + s.upTo(2*time.Second)})
	}
	for _, c := range slices.Clone(p.conns) {
		c.end()
	}
}

// crashServer ends a server, and the store's leader with it if it was that. No
// event tells of its own connections.
func (s *sim) crashServer() {
	v := s.servers[s.rng.IntN(len(s.servers))]
	d := s.upTo(20 * time.Second)
	if !s.allUp() || !s.trouble("server %s crashes for %v", v.name, d) {
		return
	}
	v.up = false
	if len(s.servers) == 1 || s.rng.IntN(3) == 0 {
		s.store.election()
	}
	for _, p := range s.procs {
		for _, c := range p.conns {
			if c.server == v {
				c.ended = true
				s.after(s.wire(), func() { p.when(func() { c.drop() }) })
			}
		}
	}
	s.after(d, v.start)
}

// cutServer cuts a server off the others.
func (s *sim) cutServer() {
	v := s.servers[s.rng.IntN(len(s.servers))]
	d := s.upTo(20 * time.Second)
	if len(s.servers) < 3 || !s.allUp() || !s.trouble("server %s is cut off the others for %v", v.name, d) {
		return
	}
	v.cut = true
	s.after(d, func() { v.cut = false })
}

func (s *sim) allUp() bool {
	return !slices.ContainsFunc(s.servers, func(v *simServer) bool { return !v.up || v.cut })
}

// cutNode drops the packets of a node: to and from one server or all of them,
// both ways or one.
func (s *sim) cutNode() {
	if len(s.procs) == 0 {
		return
	}
	c := simCut{node: s.procs[s.rng.IntN(len(s.procs))].node, out: true, in: true, until: s.now + s.upTo(s.upTo(25*time.Second))}
	if s.rng.IntN(2) == 0 {
		c.server = s.servers[s.rng.IntN(len(s.servers))]
	}
	switch s.rng.IntN(4) {
	case 0:
		c.in = false
	case 1:
		c.out = false
	}
	to := "all servers"
	if c.server != nil {
		to = c.server.name
	}
	if s.trouble("%s and %s are cut, out %v, in %v, for %v", c.node, to, c.out, c.in, c.until-s.now) {
		s.addCut(c)
	}
}

// addCut begins a cut.
func (s *sim) addCut(c simCut) {
	s.cuts = append(s.cuts, c)
	s.apart[c.node] = max(s.apart[c.node], c.until)
}

// cutUntil is when the last cut ends that stops a packet; 0 for none does.
func (s *sim) cutUntil(node string, v *simServer, out bool) (until time.Duration) {
	s.cuts = slices.DeleteFunc(s.cuts, func(c simCut) bool { return c.until <= s.now })
	for _, c := range s.cuts {
		if c.node == node && (c.server == nil || c.server == v) && (out && c.out || !out && c.in) {
			until = max(until, c.until)
		}
	}
	return until
}

// carry brings a packet from a process to a server, or back. What a cut stops is
// lost, or comes when the cut has ended.
func (s *sim) carry(p *simProc, v *simServer, out bool, wait time.Duration, arrive func()) {
	if until := s.cutUntil(p.node, v, out); until > 0 {
		if s.rng.IntN(2) == 0 {
			s.at(until+wait, arrive)
		}
		return
	}
	s.after(wait, arrive)
}

// reaches reports whether a packet gets from one server to another, or to the store.
func (v *simServer) reaches(w *simServer) bool {
	return v.up && (v == w || !v.cut && (w == nil || w.up && !w.cut))
}

// toProc brings a message from a server, or nil the store, to a process by its
// data connection.
func (s *sim) toProc(from *simServer, p *simProc, wait time.Duration, arrive func()) {
	if v := p.data; v.up && v.reaches(from) {
		s.carry(p, v, false, wait, func() { p.when(arrive) })
	}
}

// send brings a message from a process to another.
func (p *simProc) send(to *simProc, arrive func()) {
	s := p.s
	if p.data.up {
		s.carry(p, p.data, true, s.wire(), func() { s.toProc(p.data, to, 0, arrive) })
	}
}

// keepData dials another server when the one that the data connection is to
// has been away for some time.
func (p *simProc) keepData() {
	s, v := p.s, p.data
	broken := !v.up || s.cutUntil(p.node, v, true) > 0 || s.cutUntil(p.node, v, false) > 0
	switch {
	case !broken:
		p.dataBad = 0
	case p.dataBad == 0:
		p.dataBad = s.now
	case s.now-p.dataBad > 2*time.Second || !v.up:
		p.data, p.dataBad = s.servers[s.rng.IntN(len(s.servers))], 0
	}
}
