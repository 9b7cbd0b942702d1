package clustertest

import (
	"time"

	"github.com/civitas-go/civitas/internal/membership"
)

// simKey names a record: kind s for sessions, n for nodes, o for owners.
type simKey struct {
	kind byte
	name string
}

// simRecord is one version of a record.
type simRecord struct {
	at      time.Duration
	seq     uint64
	deleted bool
	session membership.Content
	holder  string // of an own or a node record
}

// simStore has the records as the store would: one true history. What goes
// wrong is on the ways to it and back.
type simStore struct {
	s       *sim
	seq     uint64
	records map[simKey][]simRecord // every version, oldest first
	away    bool
	flaky   int // one in so many messages is lost or late
	deaf    int // one in so many copies is
	stale   int // one in so many reads is
}

func newSimStore(s *sim) *simStore {
	st := &simStore{s: s, records: map[simKey][]simRecord{}}
	some := []int{3, 10, 50, 1000}
	st.flaky, st.deaf, st.stale = some[s.rng.IntN(4)], some[s.rng.IntN(4)], some[s.rng.IntN(4)]
	return st
}

// trouble has the store go away now and then, as in an election.
func (st *simStore) trouble() {
	s := st.s
	s.after(2*time.Second+s.upTo(40*time.Second), func() {
		if s.calm {
			return
		}
		st.away = true
		s.trace("the store is away")
		s.after(4*time.Second+s.upTo(5*time.Second), func() {
			st.away = false
			s.trace("the store is back")
			st.trouble()
		})
	})
}

func (st *simStore) last(k simKey) simRecord {
	if all := st.records[k]; len(all) > 0 {
		return all[len(all)-1]
	}
	return simRecord{deleted: true}
}

// do carries one operation to the store and its result back, or either not.
// done is called once at most, never after the writer's patience has ended.
func (st *simStore) do(k simKey, step membership.Step, write simRecord, done func(membership.Result)) {
	s := st.s
	if found := st.last(k); step.Do == membership.Create && found.deleted {
		step.Expect = found.seq // a Create expects what it found
	}
	if s.chance(st.flaky * 4) {
		s.after(s.wire(), func() { done(membership.Result{Outcome: membership.Unavailable}) })
		return
	}
	if write.session.Dead && s.chance(3) { // a late verdict may meet a renewal
		s.after(s.upTo(4*time.Second), func() { st.arrive(k, step, write, done) })
		return
	}
	if s.chance(st.flaky) && step.Do != membership.Get {
		switch s.rng.IntN(3) {
		case 0:
			return // it never arrives
		case 1: // it arrives late, perhaps after its writer has given up
			s.after(s.upTo(s.upTo(20*time.Second)), func() { st.arrive(k, step, write, done) })
			return
		default: // it is done, the acknowledgement never arrives
			done = func(membership.Result) {}
		}
	}
	s.after(s.wire(), func() { st.arrive(k, step, write, done) })
}

// wire is the time of one message.
func (s *sim) wire() time.Duration {
	switch {
	case s.chance(40):
		return s.upTo(3 * time.Second)
	default:
		return 100*time.Microsecond + s.upTo(5*time.Millisecond)
	}
}

func (st *simStore) arrive(k simKey, step membership.Step, write simRecord, done func(membership.Result)) {
	s := st.s
	if st.away {
		if step.Do != membership.Get && s.rng.IntN(3) == 0 { // it waits for the new leader
			s.after(s.upTo(9*time.Second), func() { st.arrive(k, step, write, done) })
		}
		return
	}
	result := st.apply(k, step, write)
	s.after(s.wire(), func() { done(result) })
}

// apply is what the store does with an operation.
func (st *simStore) apply(k simKey, step membership.Step, write simRecord) membership.Result {
	current := st.last(k)
	switch step.Do {
	case membership.Get:
		return st.read(k, current)
	case membership.Create:
		shared := st.s.faults.SharedSession && k.kind == 's'
		if (!current.deleted || current.seq != step.Expect) && !shared {
			return membership.Result{Outcome: membership.Conflict}
		}
	case membership.Update:
		blind := st.s.faults.BlindVerdict && write.session.Dead && !current.deleted
		if (current.deleted || current.seq != step.Expect) && !blind {
			return membership.Result{Outcome: membership.Conflict}
		}
	case membership.Delete:
		if current.seq != step.Expect {
			return membership.Result{Outcome: membership.Conflict}
		}
		write = simRecord{deleted: true}
	}
	st.seq++
	write.at, write.seq = st.s.now, st.seq
	st.records[k] = append(st.records[k], write)
	st.s.trace("store: %c.%s = %+v", k.kind, k.name, write)
	for _, p := range st.s.procs {
		st.copyTo(p, k, write)
	}
	return membership.Result{Outcome: membership.OK, Seq: st.seq}
}

// read may find an older state, of some seconds ago.
func (st *simStore) read(k simKey, found simRecord) membership.Result {
	if all := st.records[k]; st.s.chance(st.stale) && len(all) > 0 {
		before := st.s.now - st.s.upTo(10*time.Second)
		found = simRecord{deleted: true}
		for i := len(all) - 1; i >= 0; i-- {
			if all[i].at <= before {
				found = all[i]
				break
			}
		}
	}
	if found.deleted {
		return membership.Result{Outcome: membership.NotFound, Seq: found.seq}
	}
	return membership.Result{Outcome: membership.OK, Seq: found.seq, Session: found.session, Holder: found.holder}
}

// copyTo sends the copy of an accepted write to a process, or loses it.
func (st *simStore) copyTo(p *simProc, k simKey, r simRecord) {
	s := st.s
	if k.kind == 'n' || s.chance(st.deaf) || p.deaf && !s.calm {
		return
	}
	wait := s.wire()
	if s.chance(st.deaf) {
		wait = s.upTo(10 * time.Second)
	}
	s.after(wait, func() { p.when(func() { p.copied(k, r) }) })
}
