package membership

import "slices"

// Witness is a connection of a node to a NATS server, as that server knows it.
// The zero value is none.
type Witness struct {
	Server string
	Client uint64
}

// Witnesses are those that one version of a session names: none, one or two.
type Witnesses [2]Witness

// Any reports whether there is one.
func (w Witnesses) Any() bool { return w != Witnesses{} }

// testimony is what a session knows of its own witnesses.
//
// The witnesses that count are those of every version of the record that may be
// the current one: whoever judges by a version waits for the ends of all the
// witnesses that it names, and for longer than a PONG holds. A version that
// names none can't be judged so, and wants none.
type testimony struct {
	held  []held      // connections that have not ended, two at most, the oldest first
	named []Witnesses // by the last acknowledged version, and by each one sent since
}

// held is a connection and until when its newest PONG holds.
type held struct {
	Witness
	until Time
}

// current is what the next version is to name.
func (t *testimony) current() (w Witnesses) {
	for i, h := range t.held {
		w[i] = h.Witness
	}
	return w
}

func (t *testimony) sent(w Witnesses) {
	if !slices.Contains(t.named, w) {
		t.named = append(t.named, w)
	}
}

func (t *testimony) acknowledged(w Witnesses) { t.named = append(t.named[:0], w) }

// limit is the time until which a witness counts, no later than until.
func (t *testimony) limit(until Time) Time {
	for _, w := range t.named {
		if w.Any() {
			until = min(until, t.good(w))
		}
	}
	return until
}

// good is until when one of these is.
func (t *testimony) good(w Witnesses) (until Time) {
	for _, h := range t.held {
		if slices.Contains(w[:], h.Witness) {
			until = max(until, h.until)
		}
	}
	return until
}

// Hold adds a witness that has been dialled; the next version will name it. It
// reports false, and does nothing, if there are two already.
func (s *Session) Hold(now Time, w Witness) bool {
	if len(s.witnesses.held) == len(Witnesses{}) {
		return false
	}
	s.witnesses.held = append(s.witnesses.held, held{Witness: w})
	s.rename(now)
	return true
}

// Pong takes the answer to a PING that was sent at a time, by this clock.
func (s *Session) Pong(w Witness, sent Time) {
	for i, h := range s.witnesses.held {
		if h.Witness == w {
			s.witnesses.held[i].until = max(h.until, sent+s.timing.Pong)
		}
	}
}

// Drop takes word that a witness has ended, or has been given up. It never
// counts again.
func (s *Session) Drop(now Time, w Witness) {
	s.witnesses.held = slices.DeleteFunc(s.witnesses.held, func(h held) bool { return h.Witness == w })
	s.rename(now)
}

// rename has a version that names the witnesses of now written at once, if there
// is anyone to be named.
func (s *Session) rename(now Time) {
	if s.seq > 0 && len(s.witnesses.held) > 0 {
		s.again = min(s.again, max(now, s.sent+contention))
	}
}

// Ends remembers which connections have ended, as their servers have told. The
// zero value knows of none.
type Ends struct {
	at map[Witness]Time
}

// maxEnds bounds what is remembered. What is forgotten too early only makes a
// death a slow one.
const maxEnds = 1 << 14

// Add takes the word of an end, received now.
func (e *Ends) Add(now Time, w Witness, keep Time) {
	if e.at == nil {
		e.at = map[Witness]Time{}
	}
	if _, ok := e.at[w]; ok {
		return
	}
	if len(e.at) >= maxEnds {
		e.forget(now, keep)
	}
	if len(e.at) < maxEnds {
		e.at[w] = now
	}
}

func (e *Ends) forget(now, keep Time) {
	for w, at := range e.at {
		if now-at > keep {
			delete(e.at, w)
		}
	}
}

// Last is when the word of the last of these witnesses' ends came; false if it has
// not come for one of them, or there are none.
func (e *Ends) Last(ws Witnesses) (at Time, all bool) {
	if !ws.Any() {
		return 0, false
	}
	for _, w := range ws {
		if w == (Witness{}) {
			continue
		}
		ended, ok := e.at[w]
		if !ok {
			return 0, false
		}
		at = max(at, ended)
	}
	return at, true
}

// unknown are those of the witnesses whose ends have not been told.
func (e *Ends) unknown(ws Witnesses) (left Witnesses) {
	for i, w := range ws {
		if _, told := e.at[w]; !told {
			left[i] = w
		}
	}
	return left
}
