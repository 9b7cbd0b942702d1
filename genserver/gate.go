package genserver

import "time"

// Gate says whether the owner of a cluster-wide name may act. It is open while
// its node can prove that no other node can have taken the name over.
//
// A server whose gate is closed pauses: it begins no handler, init and terminate
// included, messages and timers wait in their order, and what it would send or
// answer is refused. It goes on, with its state, when the gate opens again.
type Gate interface {
	// Open is asked right before each handler and each send, against a clock read
	// then, so that a process that was frozen starts nothing when it wakes. It
	// must not block.
	Open() bool

	// Await has wake called once, from another goroutine and with no lock held, soon
	// after the gate has opened, or was lost for good; soon after Await if it is
	// open by then. cancel forgets it and does not wait for a wake under way, in
	// which it may be called, too.
	Await(wake func()) (cancel func())
}

// OnPartition says what a cluster-wide server does while its gate is closed.
type OnPartition uint8

const (
	// Pause has it wait: see [Gate]. The default.
	Pause OnPartition = iota
	// Keep has it go on for callers on its own node, timers included: the one
	// exception to a name's having one owner, since another node may have taken it
	// over meanwhile. Remote messages are refused, or dropped, and so is what
	// it would send to other nodes. It ends as fenced once it is known to be
	// superseded. It doesn't start, nor start anew, while the gate is closed.
	Keep
)

// String is the word of topology files.
func (o OnPartition) String() string {
	if o == Keep {
		return "keep"
	}
	return "pause"
}

// gateRetry is how soon a gate is looked at again that woke a server and was
// closed once more, or was lost, by the time the server looked.
const gateRetry = 50 * time.Millisecond

// shut reports that the process may not act now. A node-local server's gate
// costs one look at a nil.
func (p *Process) shut() bool { return p.claim != nil && p.claimShut() }

// shutTo is shut, but that a server with [Keep] may go on for those on its node.
func (p *Process) shutTo(remote bool) bool {
	return p.claim != nil && (remote || !p.keeps) && p.claimShut()
}

func (p *Process) claimShut() bool {
	gate := p.claim.Gate()
	return gate != nil && !gate.Open()
}

// withheld is what a caller gets in place of the answer of a handler during
// which the gate closed: by now, another node's server may have answered others.
func (p *Process) withheld() *Error {
	return &Error{
		Code: ErrUnavailable.Code, Server: p.name,
		Text: "its handler ran, but meanwhile node " + p.sys.node + " could no longer prove that it owns the name; the answer is withheld",
	}
}

// kept is what a remote caller gets of a server that goes on for its own node.
func (p *Process) kept() *Error {
	return undelivered(ErrUnavailable, p.name, "node %s can't prove now that it owns the name, and serves none but its own callers", p.sys.node)
}

// paused is a server's wait for its gate.
type paused struct {
	at     uint64 // counts the waits; this one's number while it lasts
	last   uint64 // the last number used
	held   *slot  // whose turn had come
	forget func() // ends the wait
}

// admitted lets the message that was taken have its turn, or reports that the gate
// is closed, which the process then waits for.
func (p *Process) admitted(s *slot) bool {
	if p.keeps || !p.claimShut() { // what is remote is looked at when it's run
		return true
	}
	p.mu.Lock()
	if p.lost() {
		p.mu.Unlock()
		p.ceased()
		return false
	}
	w, held := &p.extra().paused, *s
	p.running, w.held = nil, &held
	if p.stop != nil {
		p.mu.Unlock()
		go p.drain(slot{}) // to its end
		return false
	}
	w.last++
	w.at = w.last
	wait := w.at
	p.mu.Unlock()
	p.awaitGate(wait)
	return false
}

// awaitGate has the process resume once its gate opens. No lock is held while
// the gate is asked.
func (p *Process) awaitGate(wait uint64) {
	forget := p.claim.Gate().Await(func() { p.resume(wait) })
	p.mu.Lock()
	w := &p.more.paused
	if w.at == wait {
		w.forget, forget = forget, nil
	}
	p.mu.Unlock()
	if forget != nil { // it's over already
		forget()
	}
}

// resume is called by the gate.
func (p *Process) resume(wait uint64) {
	if p.claimShut() {
		retry := time.AfterFunc(gateRetry, func() { p.resume(wait) })
		p.mu.Lock()
		over := p.more.paused.at != wait
		if !over {
			p.more.paused.forget = func() { retry.Stop() }
		}
		p.mu.Unlock()
		if over {
			retry.Stop()
		}
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.more.paused.at == wait {
		p.unpause()
	}
}

// unpause gives a process that waits for its gate its goroutine back; p.mu is
// held. Whatever has ended the wait is seen there.
func (p *Process) unpause() {
	if p.more == nil || p.more.paused.at == 0 {
		return
	}
	p.endPause()
	go p.drain(slot{})
}

// endPause ends the wait alone; p.mu is held.
func (p *Process) endPause() {
	w := &p.more.paused
	if w.at != 0 && w.forget != nil {
		w.forget()
	}
	w.at, w.forget = 0, nil
}

// awaitInit waits for the gate before init.
func (p *Process) awaitInit() error {
	for p.shut() {
		opened := make(chan struct{}, 1)
		forget := p.claim.Gate().Await(func() { opened <- struct{}{} })
		select {
		case <-opened:
		case <-p.ctx.Done():
		}
		forget()
		if p.ctx.Err() == nil && p.shut() {
			retry := time.NewTimer(gateRetry)
			select {
			case <-retry.C:
			case <-p.ctx.Done():
			}
			retry.Stop()
		}
		if p.ctx.Err() != nil {
			return ErrFenced // or told to stop; that reason is known
		}
	}
	return nil
}

// Fence ends the server of a cluster-wide name whose claim, of that epoch, is
// lost: another node owns the name, or this node's session is dead. The server
// ends with ErrFenced and without terminate, and its name is forgotten, not
// released. What it was handling has an unknown outcome; callers whose message
// was still queued look for the new owner. Of a claim that is not held any more
// it's a no-op. It's for a [Router].
func (s *System) Fence(name string, epoch uint64, why string) {
	s.names.mu.Lock()
	held := s.names.held[name]
	if held == nil || held.claim == nil || held.claim.Epoch() != epoch {
		if _, claiming := s.names.turns[name]; claiming && held == nil {
			s.names.lost[name] = epoch
		}
		s.names.mu.Unlock()
		return
	}
	delete(s.names.held, name)
	p := s.procs.get(name)
	s.names.mu.Unlock()
	reason := &Error{Code: ErrFenced.Code, Text: why}
	s.discard(held.waiting, func(bool) error { return movedError(name, reason) })
	if p != nil && p.wide {
		p.kill(reason)
	}
}

// movedError is what queued callers get of a server that turned out not to own
// its name.
func movedError(name string, reason error) *Error {
	return undelivered(ErrMoved, name, "%v", reason)
}

// beginning is when a call begins that may have to look for its server once more.
func (p *Process) beginning() (t time.Time) {
	if p.wide {
		t = time.Now()
	}
	return t
}

// elsewhere reports the error of a message that was queued here, and belongs to
// a server that is not.
func elsewhere(err error) bool {
	e, ok := err.(*Error) //nolint:errorlint // it's never wrapped
	return ok && e.Code == ErrMoved.Code && e.Undelivered
}
