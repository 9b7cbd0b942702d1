package clustertest

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/civitas-go/civitas/internal/membership"
	"github.com/civitas-go/civitas/internal/placement"
)

// simKey names a record: kind s for sessions, n for nodes, o for owners, l for the
// lead, c for children of the tree, t for states; without a name it names all of a
// kind.
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
	holder  string // of an own, a node or the lead record
	count   int    // of a state record
	epoch   uint64 // in which that was written
	offer   *placement.Member
	spec    *placement.Spec
	removed bool // the child was taken out of the tree; its spec is stopped
	// revision is that of the spec by which an owner runs its child.
	revision uint64
}

// simStore has the records as the store would: one true history. What goes
// wrong is on the ways to it and back.
type simStore struct {
	s         *sim
	seq       uint64
	records   map[simKey][]simRecord // every version, oldest first
	times     []time.Duration        // of the writes, by sequence
	elections int                    // under way
	epochs    map[string]uint64      // in which states were written last
	flaky     int                    // one in so many messages is lost or late
	deaf      int                    // one in so many copies is
	stale     int                    // one in so many reads is
}

func newSimStore(s *sim) *simStore {
	st := &simStore{s: s, records: map[simKey][]simRecord{}, epochs: map[string]uint64{}}
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
		if s.trouble("the store's leader is lost") {
			st.election()
		}
		st.trouble()
	})
}

// election has the store away for some seconds.
func (st *simStore) election() {
	st.elections++
	st.s.after(4*time.Second+st.s.upTo(5*time.Second), func() { st.elections-- })
}

// away: there is no leader, or no server to be it.
func (st *simStore) away() bool {
	up := 0
	for _, v := range st.s.servers {
		if v.up {
			up++
		}
	}
	return st.elections > 0 || 2*up <= len(st.s.servers)
}

func (st *simStore) last(k simKey) simRecord {
	if all := st.records[k]; len(all) > 0 {
		return all[len(all)-1]
	}
	return simRecord{deleted: true}
}

// upTo is a record as it was at a sequence.
func (st *simStore) upTo(k simKey, seq uint64) simRecord {
	all := st.records[k]
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].seq <= seq {
			return all[i]
		}
	}
	return simRecord{deleted: true}
}

// do carries one operation of a process to the store and its result back, or
// either not. done is called once at most, never after the writer's patience
// has ended.
func (st *simStore) do(p *simProc, k simKey, step membership.Step, write simRecord, done func(membership.Result)) {
	s := st.s
	if !p.data.up {
		s.after(s.wire(), func() { done(membership.Result{Outcome: membership.Unavailable}) })
		return
	}
	via := p.data
	reply := done
	done = func(r membership.Result) {
		if via.reaches(nil) {
			s.carry(p, via, false, 0, func() { reply(r) })
		}
	}
	arrive := func() {
		if via.reaches(nil) {
			st.arrive(k, step, write, done)
		}
	}
	if found := st.last(k); step.Do == membership.Create && found.deleted && k.kind != 't' {
		step.Expect = found.seq // a Create expects what it found
	}
	if s.chance(st.flaky * 4) {
		s.after(s.wire(), func() { done(membership.Result{Outcome: membership.Unavailable}) })
		return
	}
	if write.session.Dead && s.chance(3) { // a late verdict may meet a renewal
		s.after(s.upTo(4*time.Second), arrive)
		return
	}
	if s.chance(st.flaky) && step.Do != membership.Get {
		switch s.rng.IntN(3) {
		case 0:
			return // it never arrives
		case 1: // it arrives late, perhaps after its writer has given up
			s.after(s.upTo(s.upTo(20*time.Second)), arrive)
			return
		default: // it is done, the acknowledgement never arrives
			reply = func(membership.Result) {}
		}
	}
	s.carry(p, via, true, s.wire(), arrive)
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
	if st.away() {
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
	if k.kind == 't' && step.Do != membership.Get {
		return st.applyState(k, step, write)
	}
	switch step.Do {
	case membership.Get:
		return st.read(k, current)
	case membership.Create:
		shared := st.s.faults.SharedSession && k.kind == 's'
		if (!current.deleted || current.seq != step.Expect) && !shared {
			return membership.Result{Outcome: membership.Conflict}
		}
	case membership.Update:
		blind := st.s.faults.BlindVerdict && write.session.Dead && !current.deleted || step.Expect == 0
		if (current.deleted || current.seq != step.Expect) && !blind {
			return membership.Result{Outcome: membership.Conflict}
		}
	case membership.Delete:
		if current.seq != step.Expect {
			return membership.Result{Outcome: membership.Conflict}
		}
		write = simRecord{deleted: true}
	}
	return st.accept(k, write)
}

func (st *simStore) accept(k simKey, write simRecord) membership.Result {
	st.seq++
	write.at, write.seq = st.s.now, st.seq
	st.s.checkTaken(k, write)
	st.s.checkChange(k, write)
	st.records[k] = append(st.records[k], write)
	st.times = append(st.times, st.s.now)
	st.s.trace("store: %v", k.describe(write))
	for _, p := range st.s.procs {
		st.copyTo(p, k, write)
	}
	return membership.Result{Outcome: membership.OK, Seq: st.seq}
}

// read may find an older state, of some seconds ago.
func (st *simStore) read(k simKey, found simRecord) membership.Result {
	if k.name == "" {
		return st.list()
	}
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

// list is of some records as they all were at the sequence it returns, now or some
// seconds ago.
func (st *simStore) list() membership.Result {
	seq := st.seq
	if st.s.chance(st.stale) {
		before := st.s.now - st.s.upTo(10*time.Second)
		at, _ := slices.BinarySearchFunc(st.times, before, func(at, before time.Duration) int {
			return cmp.Or(cmp.Compare(at, before), -1)
		})
		seq = uint64(at)
	}
	return membership.Result{Outcome: membership.OK, Seq: seq}
}

// copyTo sends the copy of an accepted write to a process, or loses it.
func (st *simStore) copyTo(p *simProc, k simKey, r simRecord) {
	s := st.s
	if k.kind == 't' || k.kind == 'n' && s.tree == nil || s.chance(st.deaf) || p.deaf && !s.calm {
		return
	}
	wait := s.wire()
	if s.chance(st.deaf) {
		wait = s.upTo(10 * time.Second)
	}
	s.toProc(nil, p, wait, func() { p.copied(k, r) })
}

func (k simKey) String() string { return fmt.Sprintf("%c.%s", k.kind, k.name) }

func (k simKey) describe(r simRecord) string {
	switch {
	case r.deleted:
		return fmt.Sprintf("%v = %d, deleted", k, r.seq)
	case k.kind == 's' && r.session.Dead:
		return fmt.Sprintf("%v = %d, dead", k, r.seq)
	case k.kind == 's':
		return fmt.Sprintf("%v = %d, %s, witnesses %v", k, r.seq, r.session.Nonce, r.session.Witnesses)
	case k.kind == 't':
		return fmt.Sprintf("%v = %d, count %d in epoch %d", k, r.seq, r.count, r.epoch)
	case k.kind == 'c':
		return fmt.Sprintf("%v = %d, revision %d, stopped %v, removed %v, node %q", k, r.seq, r.spec.Revision, r.spec.Stopped, r.removed, r.spec.Node)
	case k.kind == 'o' && r.revision > 0:
		return fmt.Sprintf("%v = %d, %s by revision %d", k, r.seq, r.holder, r.revision)
	default:
		return fmt.Sprintf("%v = %d, %s", k, r.seq, r.holder)
	}
}
