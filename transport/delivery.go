package transport

import (
	"errors"
	"fmt"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/name"
)

// target is a server of this node that messages come for.
type target struct {
	name string
	// alike is what the last message that had nothing of its own shares with those
	// like it: most casts come in rows. Nobody changes it once it's there.
	alike *genserver.Envelope
}

// delivery is all that a cast or an info needs of its own. Those of one bundle lie in
// one allocation: whoever keeps one keeps the bundle's bytes anyway.
type delivery struct {
	in   genserver.Incoming
	body frameBody
}

// mostDeliveries is how many of a bundle's share an allocation.
const mostDeliveries = 64

// callDelivery is all that a call needs, in one allocation.
type callDelivery struct {
	in       genserver.Incoming
	envelope genserver.Envelope
	body     frameBody
	replier  replier
}

// frameBody is a payload from another node.
type frameBody []byte

// Decode implements genserver.Body.
func (b *frameBody) Decode(v any) error { return decodePayload(MsgPack, *b, v) }

func (s *Service) incoming(m *Msg, subjects Subjects, incarnation string) (*genserver.Incoming, uint64, Origin, error) {
	to := s.target(m.Subject, subjects, incarnation)
	if to == nil {
		return nil, 0, Origin{}, fmt.Errorf("subject %q names no server; a name is %s", m.Subject, name.Rule)
	}
	var f Frame
	if err := f.parse(m.Data, s.known); err != nil {
		return nil, 0, Origin{}, err
	}
	s.gaps.note(f.Number)
	if f.Kind != genserver.KindCall {
		d := s.delivery(m)
		d.body = f.Payload
		d.in = genserver.Incoming{Envelope: to.envelope(&f), Body: &d.body}
		return &d.in, f.Epoch, f.Origin, nil
	}
	if m.Reply == "" {
		return nil, 0, Origin{}, errors.New("a call without a reply subject")
	}
	d := &callDelivery{body: f.Payload, replier: replier{svc: s, subject: m.Reply, bundle: m.Bundle, form: frameForm{}}}
	d.in = genserver.Incoming{Envelope: &d.envelope, Body: &d.body, Reply: &d.replier}
	to.fill(&d.envelope, &f)
	return &d.in, f.Epoch, f.Origin, nil
}

// delivery is one for this message. Only those of one bundle lie together, so that
// what is kept of one message keeps nothing of others.
func (s *Service) delivery(m *Msg) *delivery {
	if len(s.deliveries) == 0 {
		s.deliveries = make([]delivery, min(m.more+1, mostDeliveries))
	}
	d := &s.deliveries[0]
	if s.deliveries = s.deliveries[1:]; m.more == 0 {
		s.deliveries = nil
	}
	return d
}

// envelope is the message's, shared where it has nothing of its own.
func (t *target) envelope(f *Frame) *genserver.Envelope {
	own := f.Remaining != 0 || f.Span.IsValid() || len(f.Chain) > 0
	if e := t.alike; !own && e != nil &&
		e.Kind == f.Kind && e.Op == f.Op && e.From == f.From && e.FromNode == f.FromNode && e.FromEpoch == f.Origin.Epoch {
		return e
	}
	e := new(genserver.Envelope)
	t.fill(e, f)
	if !own {
		t.alike = e
	}
	return e
}

func (t *target) fill(e *genserver.Envelope, f *Frame) {
	e.To, e.Kind, e.Op, e.From, e.FromNode, e.Span, e.Chain = t.name, f.Kind, f.Op, f.From, f.FromNode, f.Span, f.Chain
	e.FromEpoch = f.Origin.Epoch
	if f.Remaining != 0 {
		e.Deadline = deadlineIn(f.Remaining, time.Now())
	}
}

// target is found by Subjects.NodeName, which takes its time, once for each subject;
// nil where the subject names none.
func (s *Service) target(subject string, subjects Subjects, incarnation string) *target {
	if s.lastTarget != nil && subject == s.lastSubject { // they come in rows
		return s.lastTarget
	}
	t := s.targets[subject]
	if t == nil {
		server, ok := subjects.NodeName(subject, incarnation)
		if !ok {
			return nil
		}
		if s.targets == nil || len(s.targets) >= maxTexts {
			s.targets = make(map[string]*target)
		}
		t = &target{name: server}
		s.targets[subject] = t
	}
	s.lastSubject, s.lastTarget = subject, t
	return t
}
