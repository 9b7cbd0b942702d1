package clustertest

import (
	"container/heap"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/civitas-go/civitas/internal/membership"
	"github.com/civitas-go/civitas/internal/placement"
)

// Faults are mistakes planted in the protocol, to prove that [Simulate] finds
// them. The zero value is the protocol as it is.
type Faults struct {
	// GateOff: owners act whether or not their lease holds.
	GateOff bool
	// ShortJudge: a silent session is declared dead after 12 s, not 15.
	ShortJudge bool
	// LeaseFromReceipt: a renewal counts from its acknowledgement's arrival.
	LeaseFromReceipt bool
	// BlindVerdict: the verdict is written without compare-and-set.
	BlindVerdict bool
	// SharedSession: a second process of a node's name writes over the first
	// one's session, as if it were its own.
	SharedSession bool
	// ServeUnknown: a name is served after a write with unknown outcome.
	ServeUnknown bool
	// WitnessesOff: owners act while their lease holds, whatever their
	// witnesses say.
	WitnessesOff bool
	// EventAtOnce: a session is declared dead as soon as its witnesses' ends
	// are told.
	EventAtOnce bool
	// PongFromReceipt: a PONG counts from its arrival, not from its PING.
	PongFromReceipt bool
	// UnknownIsEnded: a connection that a server does not know is taken for one that
	// has ended.
	UnknownIsEnded bool
	// FencingOff: the store takes state from whoever writes it.
	FencingOff bool
	// UnprovenState: an owner begins with the state that it reads, which may be old.
	UnprovenState bool

	// NoAdoption: a new leader does not ask who owns what.
	NoAdoption bool
	// BlindLead: the lead record is written without compare-and-set.
	BlindLead bool
	// EarlyVerdict: a session is taken for ended as its verdict is sent, before that
	// is acknowledged.
	EarlyVerdict bool
	// BlindStart: a node that is ordered to start a child takes its name without
	// compare-and-set, so that a leader that is none any more is obeyed.
	BlindStart bool
	// AnyNode: a child is ordered on any node, and that node starts it.
	AnyNode bool
	// DeathsUnheard: the leader does not ask whether the nodes live on.
	DeathsUnheard bool
	// NoStops: the leader leaves what runs though its record says that it is stopped.
	NoStops bool
	// OldSpecs: the leader leaves what runs by an older spec than the newest.
	OldSpecs bool
	// BlindChanges: what is to run is written without compare-and-set.
	BlindChanges bool
	// OldStops: a node carries out every order to stop a child, whatever its record says.
	OldStops bool

	// EveryoneLeads is no mistake to be found: each node takes itself for the leader
	// for all of its life, whatever the record says, and gives orders though its gate
	// is closed. That can delay what the true leader does, and corrupts nothing.
	EveryoneLeads bool
}

// Violation is a broken invariant of a simulated schedule.
type Violation struct {
	Seed uint64
	// Troubles is how many things went wrong by then; Spared are those, by
	// number, that were left out because the violation doesn't need them: see
	// [Shrink].
	Troubles int
	Spared   []int
	At       time.Duration
	Text     string
}

func (v *Violation) Error() string {
	return fmt.Sprintf("seed %d, at %v: %s", v.Seed, v.At, v.Text)
}

// Stats is how much a schedule has put the protocol to the test.
type Stats struct {
	Events, Verdicts, Takeovers, Lost, Closed, Starts int
	// Fast counts the verdicts by witnesses' ends, Told the ends that servers told those
	// who asked, Calls the calls that were replied to, Unknown those that may or may not
	// have been done.
	Fast, Told, Calls, Unknown int
	// Terms counts the times that a process began to lead, Orders its orders to start
	// a child, and Stale those that a node got of one that did not lead any more.
	Terms, Orders, Stale int
	// Changes counts the changes of what is to run, Removals those that took a child out
	// of the tree, and Replaced the children that were stopped to run by a newer spec.
	Changes, Removals, Replaced int
	// Unchecked counts histories that could not be checked in time.
	Unchecked int
}

// Add sums up.
func (s *Stats) Add(t Stats) {
	s.Events += t.Events
	s.Verdicts += t.Verdicts
	s.Takeovers += t.Takeovers
	s.Lost += t.Lost
	s.Closed += t.Closed
	s.Starts += t.Starts
	s.Fast += t.Fast
	s.Told += t.Told
	s.Calls += t.Calls
	s.Unknown += t.Unknown
	s.Terms += t.Terms
	s.Orders += t.Orders
	s.Stale += t.Stale
	s.Changes += t.Changes
	s.Removals += t.Removals
	s.Replaced += t.Replaced
	s.Unchecked += t.Unchecked
}

// Simulate runs one schedule of a cluster: two minutes of its life, in virtual
// time, with everything in it drawn from the seed.
//
//	processes   crash, freeze for up to 30 s, come back, leave, run twice; their
//	            clocks run up to 7.5 % fast or slow
//	the store   is away for 4 to 9 s; its reads are stale, its acknowledgements
//	            and copies late or lost, its writes applied after their writer
//	            has given up
//	servers     crash, or are cut off from each other; kick clients; words of
//	            connections' ends are late or lost, and so are questions and answers
//	the network is cut between a node and one server or all, both ways or one;
//	            what a cut stopped may come when it has ended
//	leaders     crash, freeze, leave, or are cut off; their orders are lost, late,
//	            or come from one who leads no more
//
// In one half of the schedules nodes claim names as they like. In the other the
// names are children of the cluster's tree, and a leader, by the lead record, orders
// nodes to start them: some that any node may run, one that wants a label, one that
// wants a type, and one that no node can run. Children fail to start, are given
// up by their nodes, or are stopped by an operator, and started again. In one half of
// these schedules operators also change what is to run, pin children to a node, and take
// them out of the tree; nodes that start bring them again.
//
// Then all that ends, and what is left must come to order. At every step these
// must hold, or Simulate returns the [Violation]:
//
//	I1  no two processes may act for a name at once
//	I2  no state written in an epoch is taken after one of a later epoch
//	I3  no owner starts a handler after one of a later epoch has, and no
//	    message is handled twice
//	I4  nobody owns what the store has not acknowledged, nor succeeds the living
//	I5  an unknown outcome is no failure: in the end nothing is recorded as
//	    owned by the living that they do not serve
//	P1  no child is ordered on a node, or runs on one, that may not run it
//	P2  what runs is adopted: no start is ordered of a child that a living node
//	    has run for half a minute, whoever leads, and was awake and in touch for
//	    that time; and none loses its name, whoever orders what (I4)
//	P3  in the end one process leads, the one on record, and each child that a
//	    node can run runs once, the others, and those that are stopped, not at all
//	P4  in the end what runs does so by its newest spec, and what was taken out of
//	    the tree does not run
//	P5  who changes a child leaves it stopped if it is
//	P6  no order stops a child that runs by its newest spec, unless a read has said,
//	    not long ago, that it is stopped
//
// Each name is a counter whose state is in the store, written by its owner
// alone, and whose calls must be linearizable.
//
// trace, if not nil, is told each event. The same seed gives the same schedule.
func Simulate(seed uint64, f Faults, trace func(at time.Duration, text string)) (Stats, *Violation) {
	return simulate(seed, math.MaxInt, nil, f, trace)
}

func simulate(seed uint64, most int, spared map[int]bool, f Faults, trace func(time.Duration, string)) (Stats, *Violation) {
	s := newSim(seed, f, trace)
	s.most, s.spared = most, spared
	s.run()
	return s.stats, s.violation
}

const (
	simTrouble = 2 * time.Minute   // how long things go wrong
	simCalm    = 130 * time.Second // how long they may take to come to order: a child that crashes waits up to a minute
)

type sim struct {
	seed   uint64
	rng    *rand.Rand
	faults Faults
	timing membership.Timing
	tell   func(at time.Duration, text string)

	now    time.Duration // the true time
	queue  simQueue
	order  uint64
	calm   bool
	store  *simStore
	procs  []*simProc
	lives  int
	starts map[string]uint64 // the latest epoch in which a handler has started
	nodes  []string
	names  []string         // of servers
	tree   []placement.Spec // they are the children of; nil if there is no coordinator
	hands  *rand.Rand       // operators' who change the tree; nil if there are none
	owners []*simProc       // of the names, in the check

	servers  []*simServer
	events   bool // the servers tell of connections' ends
	cuts     []simCut
	apart    map[string]time.Duration // until when each node was last cut off anything
	calls    []*simCall
	history  []simOp
	troubles int
	most     int          // as many troubles occur
	spared   map[int]bool // but for these

	stats     Stats
	violation *Violation
}

func newSim(seed uint64, f Faults, trace func(time.Duration, string)) *sim {
	s := &sim{
		seed: seed, rng: rand.New(rand.NewPCG(seed, 0)), faults: f, tell: trace,
		timing: membership.Timing{}.WithDefaults(), starts: map[string]uint64{},
		apart: map[string]time.Duration{},
	}
	if f.ShortJudge {
		s.timing.Judge = 12 * time.Second
	}
	if f.EventAtOnce {
		s.timing.Event = 0
	}
	s.store = newSimStore(s)
	return s
}

func (s *sim) run() {
	s.startServers()
	s.plant()
	nodes := 2 + s.rng.IntN(3)
	for n := range nodes {
		s.nodes = append(s.nodes, fmt.Sprintf("n%d", n))
		s.startNode(s.nodes[n], s.upTo(2*time.Second))
	}
	s.store.trouble()
	s.netTrouble()
	s.at(simTrouble, s.quiet)
	for len(s.queue) > 0 && s.violation == nil {
		e := heap.Pop(&s.queue).(simEvent)
		if e.at > simTrouble+simCalm {
			break
		}
		s.now = e.at
		s.stats.Events++
		e.do()
		s.check()
	}
	if s.violation == nil {
		s.checkOrder()
	}
	if s.violation == nil {
		s.checkHistory()
	}
}

// quiet ends all trouble.
func (s *sim) quiet() {
	s.calm = true
	s.trace("all trouble ends")
	s.cuts = nil
	for _, v := range s.servers {
		v.cut = false
		if !v.up {
			v.start()
		}
	}
	for _, p := range s.procs {
		p.frozenUntil = min(p.frozenUntil, s.now)
	}
}

// at has do called at a time, after what was put there before.
func (s *sim) at(at time.Duration, do func()) {
	s.order++
	heap.Push(&s.queue, simEvent{max(at, s.now), s.order, do})
}

func (s *sim) after(d time.Duration, do func()) { s.at(s.now+d, do) }

func (s *sim) upTo(d time.Duration) time.Duration { return time.Duration(s.rng.Int64N(int64(d) + 1)) }

// chance is true once in so many times; never in the calm. It is a trouble.
func (s *sim) chance(in int) bool { return !s.calm && s.rng.IntN(in) == 0 && s.occurs() }

// trouble reports whether something goes wrong as it is about to, and tells of it.
func (s *sim) trouble(format string, args ...any) bool {
	if s.calm || !s.occurs() {
		return false
	}
	s.trace(format, args...)
	return true
}

// occurs numbers the troubles; one that is spared doesn't happen.
func (s *sim) occurs() bool {
	s.troubles++
	return s.troubles <= s.most && !s.spared[s.troubles]
}

func (s *sim) trace(format string, args ...any) {
	if s.tell != nil {
		s.tell(s.now, fmt.Sprintf(format, args...))
	}
}

func (s *sim) violate(format string, args ...any) {
	if s.violation == nil {
		s.violation = &Violation{Seed: s.seed, Troubles: s.troubles, At: s.now, Text: fmt.Sprintf(format, args...)}
		s.trace("VIOLATION: %s", s.violation.Text)
	}
}

type simEvent struct {
	at    time.Duration
	order uint64
	do    func()
}

type simQueue []simEvent

func (q simQueue) Len() int { return len(q) }
func (q simQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q simQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *simQueue) Push(x any)   { *q = append(*q, x.(simEvent)) }
func (q *simQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = simEvent{}
	*q = old[:len(old)-1]
	return e
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
