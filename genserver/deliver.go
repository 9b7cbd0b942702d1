package genserver

import "strings"

// Deliver takes a message from another node, or from a plain NATS client, to
// its server's mailbox. It never blocks, so a node can call it from its one
// subscription: a full mailbox refuses a call and drops a cast, as for senders
// here. Messages that are delivered one after the other are handled in that
// order.
//
// Where the mailbox had no room, Deliver tells what it knows of it.
func (s *System) Deliver(in *Incoming) Overload {
	if in.Kind != KindCall {
		err := s.pushOneWay(in)
		if err == nil {
			return Overload{}
		}
		s.drop(in.To, in.Kind, in.Op, s.refusal(in.To, err))
		return s.overload(in.To, err)
	}
	h := in.header()
	h.deadline = in.Deadline
	if waits(in.Chain, s.node, in.To) {
		in.Reply.Reply(nil, cycle(in.Chain, s.node, in.To))
		return Overload{}
	}
	if s.draining.Load() && !s.waitsHere(in.Chain) {
		in.Reply.Reply(nil, undelivered(ErrDraining, in.To, "node %s takes no new work", s.node))
		return Overload{}
	}
	err := s.push(in.To, &inboundCall{hdr: h, body: in.Body, reply: in.Reply}, false)
	if err == nil {
		return Overload{}
	}
	in.Reply.Reply(nil, s.refusal(in.To, err))
	return s.overload(in.To, err)
}

func (in *Incoming) header() header {
	h := header{kind: in.Kind, op: in.Op, remote: in.Envelope}
	if in.Span.IsValid() {
		h.span = &in.Span
	}
	return h
}

// pushOneWay queues a cast or an info: as a letter where it's known who handles it.
func (s *System) pushOneWay(in *Incoming) error {
	if p := s.procs.get(in.To); p != nil && in.Op != "" && s.metrics == nil {
		if handler, known := lookup(p.host.entries(in.Kind), in.Op); known {
			err := p.pushSlot(&slot{what: in, letter: letter{handler: handler}}, false)
			if err != errGone { //nolint:errorlint // it's never wrapped
				return err
			}
		}
	}
	it := oneWays.Get().(*oneWay)
	it.hdr, it.body = in.header(), in.Body
	err := s.push(in.To, it, false)
	if err != nil {
		it.recycle()
	}
	return err
}

// Refuse answers a message that is not let in with the error; one that has no
// answer is counted as dropped. It's for a [Router].
func (s *System) Refuse(in *Incoming, err error) {
	if in.Reply != nil {
		in.Reply.Reply(nil, err)
		return
	}
	s.drop(in.To, in.Kind, in.Op, err)
}

// waitsHere reports whether a server of this System waits for the answer. Its own
// work could not come to an end if that were refused.
func (s *System) waitsHere(chain []string) bool {
	for _, link := range chain {
		if node, _, ok := strings.Cut(link, "/"); ok && node == s.node {
			return true
		}
	}
	return false
}

// Overload is what is known of a mailbox that had no room. The zero value is
// that of one that had.
type Overload struct {
	// Waiting is how many messages wait in it.
	Waiting int
	// Handled is how many the server has handled so far, which tells how fast
	// it is.
	Handled uint64
}

// overload is that of the server that refused with err.
func (s *System) overload(name string, err error) Overload {
	if e, ok := err.(*Error); !ok || e.Code != ErrOverloaded.Code { //nolint:errorlint // it's never wrapped
		return Overload{}
	}
	p := s.procs.get(name)
	if p == nil {
		return Overload{Waiting: DefaultMailbox} // between two lives
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return Overload{Waiting: p.box.waiting(), Handled: p.turns + p.box.uncounted()}
}

func (s *System) refusal(name string, err error) error {
	if err == errGone { //nolint:errorlint // it's never wrapped
		return undelivered(ErrNoProcess, name, "not on node %s", s.node)
	}
	return err
}
