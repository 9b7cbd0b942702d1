package genserver

import "strings"

// Deliver takes a message from another node, or from a plain NATS client, to
// its server's mailbox. It never blocks, so a node can call it from its one
// subscription: a full mailbox refuses a call and drops a cast, as for senders
// here. Messages that are delivered one after the other are handled in that
// order.
func (s *System) Deliver(in *Incoming) {
	h := header{kind: in.Kind, op: in.Op, remote: &in.Envelope}
	if in.Span.IsValid() {
		h.span = &in.Span
	}
	if in.Kind != KindCall {
		if err := s.push(in.To, &oneWay{hdr: h, body: in.Body}, false); err != nil {
			s.drop(in.To, in.Kind, in.Op, s.refusal(in.To, err))
		}
		return
	}
	h.deadline = in.Deadline
	if waits(in.Chain, s.node, in.To) {
		in.Reply.Reply(nil, cycle(in.Chain, s.node, in.To))
		return
	}
	if s.draining.Load() && !s.waitsHere(in.Chain) {
		in.Reply.Reply(nil, undelivered(ErrDraining, in.To, "node %s takes no new work", s.node))
		return
	}
	if err := s.push(in.To, &inboundCall{hdr: h, body: in.Body, reply: in.Reply}, false); err != nil {
		in.Reply.Reply(nil, s.refusal(in.To, err))
	}
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

func (s *System) refusal(name string, err error) error {
	if err == errGone { //nolint:errorlint // it's never wrapped
		return undelivered(ErrNoProcess, name, "not on node %s", s.node)
	}
	return err
}
