package placement_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/civitas-go/civitas/internal/placement"
)

func newRandom(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// world has nodes, records and children, and one coordinator after the other.
// What is told travels: news of different kinds overtake each other.
type world struct {
	*rand.Rand
	t   *testing.T
	now time.Duration

	core *placement.Core
	life int // of the coordinator

	seq     uint64
	nodes   map[string]*worldNode // by incarnation
	owners  map[string]worldRecord
	specs   map[string]placement.Spec
	queues  map[string][]placement.Event // on their way to the coordinator, by kind
	pending []func()

	// What the coordinator has been told.
	toldOwner map[string]worldRecord
	toldGone  map[string]bool
	toldSpec  map[string]placement.Spec
}

type worldNode struct {
	placement.Member
	gone bool
}

type worldRecord struct {
	incarnation string // empty if it was deleted
	seq         uint64
	revision    uint64 // by which it runs
}

func newWorld(t *testing.T, r *rand.Rand) *world {
	w := &world{
		Rand: r, t: t, nodes: map[string]*worldNode{}, owners: map[string]worldRecord{}, specs: map[string]placement.Spec{},
	}
	w.elect()
	return w
}

// elect makes a new coordinator of the records. Starts that the one before has
// ordered go on.
func (w *world) elect() {
	w.core = placement.New("")
	w.life++
	w.queues = map[string][]placement.Event{}
	w.toldOwner, w.toldGone, w.toldSpec = map[string]worldRecord{}, map[string]bool{}, map[string]placement.Spec{}
	for _, n := range w.nodes {
		if !n.gone {
			w.step(placement.MemberSet{Member: n.Member})
			w.step(placement.Lives{Incarnation: n.Incarnation})
		}
	}
	for _, s := range w.specs {
		w.step(placement.SpecSet{Spec: s})
	}
	for name, o := range w.owners {
		if o.incarnation != "" {
			w.step(o.owned(name))
		}
	}
	w.step(placement.Begun{})
}

func (w *world) tell(kind string, e placement.Event) { w.queues[kind] = append(w.queues[kind], e) }

// deliver tells the coordinator the next news of one kind.
func (w *world) deliver() bool {
	var kinds []string
	for k, q := range w.queues {
		if len(q) > 0 {
			kinds = append(kinds, k)
		}
	}
	if len(kinds) == 0 {
		return false
	}
	slices.Sort(kinds)
	k := kinds[w.IntN(len(kinds))]
	e := w.queues[k][0]
	w.queues[k] = w.queues[k][1:]
	w.step(e)
	return true
}

// step has the core decide; its orders are carried out later.
func (w *world) step(e placement.Event) {
	switch e := e.(type) {
	case placement.Owned:
		if e.Seq > w.toldOwner[e.Name].seq {
			w.toldOwner[e.Name] = worldRecord{e.Incarnation, e.Seq, e.Revision}
		}
	case placement.Freed:
		if e.Seq > w.toldOwner[e.Name].seq {
			w.toldOwner[e.Name] = worldRecord{"", e.Seq, 0}
		}
	case placement.MemberGone:
		w.toldGone[e.Incarnation] = true
	case placement.SpecSet:
		w.toldSpec[e.Spec.Name] = e.Spec
	}
	for _, a := range w.core.Step(w.now, e) {
		switch a := a.(type) {
		case placement.Start:
			w.mayStart(a)
			life, s := w.life, w.toldSpec[a.Name]
			w.pending = append(w.pending, func() { w.start(a, s, life) })
		case placement.Stop:
			w.mayStop(a)
			w.pending = append(w.pending, func() {
				s := w.specs[a.Name]
				if o := w.owners[s.Owned]; o.incarnation == a.On && !w.nodes[a.On].gone && (s.Stopped || o.revision < s.Revision) {
					w.own(s.Owned, "", 0)
				}
			})
		case placement.Read:
			if o := w.owners[a.Owned]; o.incarnation != "" {
				w.tell("own", o.owned(a.Owned))
			} else if o.seq > 0 {
				w.tell("own", placement.Freed{Name: a.Owned, Seq: o.seq})
			}
		case placement.Follow:
			switch n := w.nodes[a.Incarnation]; {
			case n == nil:
			case n.gone:
				w.tell("gone "+a.Incarnation, placement.MemberGone(a))
			default:
				w.tell("gone "+a.Incarnation, placement.Lives(a))
			}
		}
	}
}

// mayStart checks an order against what the coordinator could know.
func (w *world) mayStart(a placement.Start) {
	s, n := w.toldSpec[a.Name], w.nodes[a.On]
	if o := w.toldOwner[s.Owned]; o.incarnation != "" && !w.toldGone[o.incarnation] {
		w.t.Fatalf("start of %s on %s: %s owns it, and is not known to have ended", a.Name, a.On, o.incarnation)
	}
	if !able(s, n) {
		w.t.Fatalf("start of %s on %s, which can't run it: %+v on %+v", a.Name, a.On, s, n.Member)
	}
}

// mayStop likewise.
func (w *world) mayStop(a placement.Stop) {
	s := w.toldSpec[a.Name]
	if o := w.toldOwner[s.Owned]; o.incarnation != a.On || !s.Stopped && o.revision >= s.Revision {
		w.t.Fatalf("stop of %s on %s: its owner is %+v, and it is to run by %+v", a.Name, a.On, o, s)
	}
}

func (o worldRecord) owned(name string) placement.Owned {
	return placement.Owned{Name: name, Incarnation: o.incarnation, Seq: o.seq, Child: name, Revision: o.revision}
}

func able(s placement.Spec, n *worldNode) bool {
	for k, v := range s.Labels {
		if n.Labels[k] != v {
			return false
		}
	}
	return (s.Node == "" || s.Node == n.Node) && (n.Own[s.Name] || !s.Bound && n.Types[s.Type])
}

// start is what a node does for a coordinator, by the spec that this knew of.
func (w *world) start(a placement.Start, s placement.Spec, life int) {
	answer := func(e placement.Event) {
		if life == w.life {
			w.tell("answers", e)
		}
	}
	n := w.nodes[a.On]
	failed := placement.StartFailed{Name: a.Name, Attempt: a.Attempt}
	switch o := w.owners[s.Owned]; {
	case n.gone:
		failed.Reason = "no answer"
		answer(failed)
	case n.Leaving:
		failed.Reason = "draining"
		answer(failed)
	case w.IntN(8) == 0:
		failed.Reason, failed.Crash = "init failed", true
		answer(failed)
	case o.incarnation != "" && !w.nodes[o.incarnation].gone:
		failed.Reason = "taken"
		answer(failed)
	default:
		w.own(s.Owned, a.On, s.Revision)
		if w.IntN(8) == 0 {
			failed.Reason = "no answer in time"
			answer(failed)
			return
		}
		answer(placement.Started{Name: a.Name, Attempt: a.Attempt})
	}
}

func (w *world) own(name, incarnation string, revision uint64) {
	w.seq++
	w.owners[name] = worldRecord{incarnation, w.seq, revision}
	if incarnation == "" {
		w.tell("own", placement.Freed{Name: name, Seq: w.seq})
		return
	}
	w.tell("own", w.owners[name].owned(name))
}

func (w *world) join(i int) {
	m := placement.Member{
		Incarnation: fmt.Sprintf("n%d-%d", i, w.seq), Node: fmt.Sprintf("n%d", i),
		Labels: map[string]string{"zone": string(rune('a' + i%2))}, Types: map[string]bool{"T": true, "U": i%2 == 0}, Own: map[string]bool{},
	}
	w.seq++
	if i == 0 {
		m.Own["bound"] = true
	}
	w.nodes[m.Incarnation] = &worldNode{Member: m}
	w.tell("node", placement.MemberSet{Member: m})
}

// alive are the incarnations that live, in order.
func (w *world) alive() []string {
	var all []string
	for id, n := range w.nodes {
		if !n.gone {
			all = append(all, id)
		}
	}
	slices.Sort(all)
	return all
}

func (w *world) end(id string, clean bool) {
	n := w.nodes[id]
	if clean {
		n.Leaving = true
		w.tell("node", placement.MemberSet{Member: n.Member})
		for _, name := range w.ownedBy(id) {
			w.own(name, "", 0)
		}
	}
	n.gone = true
	w.tell("gone "+id, placement.MemberGone{Incarnation: id})
}

func (w *world) ownedBy(id string) []string {
	var all []string
	for name, o := range w.owners {
		if o.incarnation == id {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// happen does one thing of those that happen.
func (w *world) happen() {
	alive := w.alive()
	switch w.IntN(12) {
	case 0:
		w.join(w.IntN(5))
	case 1:
		if len(alive) > 0 {
			w.end(alive[w.IntN(len(alive))], w.IntN(2) == 0)
		}
	case 2:
		w.elect()
	case 3:
		if len(alive) > 0 { // a child is given up
			id := alive[w.IntN(len(alive))]
			if names := w.ownedBy(id); len(names) > 0 {
				name := names[w.IntN(len(names))]
				w.tell("answers", placement.GaveUp{Name: name, Incarnation: id, Reason: "crashes"})
				w.own(name, "", 0)
			}
		}
	case 4:
		name := []string{"a", "b", "c", "d", "e", "f", "bound", "pinned", "zoned", "u"}[w.IntN(10)]
		s := w.specs[name]
		if s.Name == "" {
			s = placement.Spec{Name: name, Owned: name, Type: "T"}
			switch name {
			case "bound":
				s.Bound = true
			case "pinned":
				s.Node = "n1"
			case "zoned":
				s.Labels = map[string]string{"zone": "b"}
			case "u":
				s.Type = "U"
			}
		} else if w.IntN(2) == 0 { // it is to run otherwise
			w.seq++
			s.Revision = w.seq
			if name == "pinned" {
				s.Node = fmt.Sprintf("n%d", w.IntN(3))
			}
		} else {
			s.Stopped = !s.Stopped
			if o := w.owners[name]; s.Stopped && o.incarnation != "" && !w.nodes[o.incarnation].gone && w.IntN(4) > 0 {
				w.own(name, "", 0) // whoever stops it stops it there, unless it has come to run elsewhere
			}
		}
		w.specs[name] = s
		w.tell("spec", placement.SpecSet{Spec: s})
	case 5:
		w.now += time.Duration(w.IntN(3000)) * time.Millisecond
		w.step(placement.Tick{})
	case 6, 7:
		w.carryOut()
	default:
		w.deliver()
	}
}

func (w *world) carryOut() bool {
	if len(w.pending) == 0 {
		return false
	}
	i := w.IntN(len(w.pending))
	do := w.pending[i]
	w.pending = slices.Delete(w.pending, i, i+1)
	do()
	return true
}

// settle lets everything come to its end.
func (w *world) settle() {
	for range 10_000 {
		if w.carryOut() || w.deliver() {
			continue
		}
		at, ok := w.core.Next()
		if !ok {
			return
		}
		w.now = max(w.now, at)
		w.step(placement.Tick{})
	}
	w.t.Fatal("it does not settle")
}

// check looks at a world that has settled.
func (w *world) check() {
	for name, s := range w.specs {
		o := w.owners[s.Owned]
		lives := o.incarnation != "" && !w.nodes[o.incarnation].gone
		placeable := false
		for _, n := range w.nodes {
			placeable = placeable || !n.gone && able(s, n)
		}
		state, _ := w.core.State(name)
		switch {
		case lives != (state.Phase == placement.Running), lives && state.On != o.incarnation:
			w.t.Errorf("%s: got %+v, and its owner is %q, which lives: %v", name, state, o.incarnation, lives)
		case lives && s.Stopped:
			w.t.Errorf("%s: runs on %s, and is stopped", name, o.incarnation)
		case lives && o.revision != s.Revision, lives && state.Revision != s.Revision:
			w.t.Errorf("%s: got %+v, and it runs by revision %d, want %d", name, state, o.revision, s.Revision)
		case lives && !able(s, w.nodes[o.incarnation]):
			w.t.Errorf("%s: runs on %s, which can't run it", name, o.incarnation)
		case !lives && !s.Stopped && placeable:
			w.t.Errorf("%s: got %+v, want it running, as there is a node for it", name, state)
		case !lives && !s.Stopped && state.Phase != placement.Unplaceable:
			w.t.Errorf("%s: got %+v, want it unplaceable", name, state)
		}
	}
	before := len(w.pending)
	w.elect()
	if more := len(w.pending) - before; more > 0 {
		w.t.Errorf("a new coordinator of a settled world: got %d starts, want none", more)
	}
}

// Whatever happens, in the end each child that can run runs once, and nothing is
// started that has an owner which may live.
func TestWorld(t *testing.T) {
	t.Parallel()
	r := newRandom(t)
	for range 300 {
		w := newWorld(t, r)
		for range 3 {
			for range r.IntN(150) {
				w.happen()
			}
			w.settle()
			w.check()
			if t.Failed() {
				return
			}
		}
	}
}
