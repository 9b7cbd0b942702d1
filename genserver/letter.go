package genserver

// slot is the place of a message in a mailbox. It's small, since it goes from one
// core to another.
type slot struct {
	what any // the item, or the letter's message, or its *Incoming
	letter
}

// letter is a cast or an info: of a Go value to a process of this System, from a
// sender without a span, or of bytes, from another node. It is kept by value, where
// other messages are items: what comes from one core and is handled on another would
// find a pool empty on the one and full on the other.
type letter struct {
	// handler has been looked up by the sender, and is of the same Type for sure:
	// messages don't move between Types once they are in a mailbox. It's nil for
	// an item.
	handler *entry
	local   *Process // the sender, if it's a server
}

func letterOf(from *Context, m Message, handler *entry) slot {
	s := slot{what: m, letter: letter{handler: handler}}
	if from != nil {
		s.local = from.p
	}
	return s
}

// item is the slot's, or one that stands for its letter.
func (s *slot) item() item {
	if s.handler != nil {
		return aLetter
	}
	return s.what.(item)
}

// header describes a letter.
func (s *slot) header(d *definition) header {
	if in, ok := s.what.(*Incoming); ok {
		return in.header()
	}
	op := s.handler.op
	if op == "" {
		op = d.op(s.message())
	}
	return header{kind: s.handler.kind, op: op, local: s.local}
}

func (s *slot) message() Message {
	if s.handler == nil {
		return s.what.(item).message()
	}
	m, _ := s.what.(Message) // of bytes there is none
	return m
}

func (s *slot) run(p *Process, c *Context) error {
	if s.handler == nil {
		return s.what.(item).run(p, c)
	}
	if in, ok := s.what.(*Incoming); ok {
		return in.run(p, c, s.handler)
	}
	c.trace()
	return dropBad(p, s.handler.kind, c.msg.op, s.handler.handle(p, c, s.what))
}

// run handles a letter from another node.
func (in *Incoming) run(p *Process, c *Context, handler *entry) error {
	if p.keeps && p.claimShut() {
		p.sys.drop(p.name, in.Kind, in.Op, p.kept())
		return nil
	}
	c.trace()
	return dropBad(p, in.Kind, in.Op, handler.handleBody(p, c, in.Op, in.Body))
}

// aLetter stands for a letter where an item is wanted; nobody waits for its answer.
var aLetter item = letterItem{}

type letterItem struct{}

func (letterItem) header() *header              { return nil }
func (letterItem) message() Message             { return nil }
func (letterItem) use() uint64                  { return 0 }
func (letterItem) run(*Process, *Context) error { return nil }
func (letterItem) discard(uint64, failure)      {}
