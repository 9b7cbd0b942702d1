package placement_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/civitas-go/civitas/internal/placement"
)

func spec(name string) placement.Spec {
	return placement.Spec{Name: name, Owned: name, Type: "T"}
}

func member(node string) placement.Member {
	return placement.Member{Incarnation: node + "-1", Node: node, Types: map[string]bool{"T": true}}
}

// text is an action, short.
func text(a placement.Action) string {
	switch a := a.(type) {
	case placement.Start:
		return fmt.Sprintf("start %s on %s", a.Name, a.On)
	case placement.Stop:
		return fmt.Sprintf("stop %s on %s", a.Name, a.On)
	case placement.Read:
		return "read " + a.Owned
	case placement.Follow:
		return "follow " + a.Incarnation
	case placement.Unfollow:
		return "unfollow " + a.Incarnation
	default:
		return ""
	}
}

// step gives a core an event. A member is known to live.
func step(c *placement.Core, e placement.Event) []placement.Action {
	all := c.Step(0, e)
	if m, ok := e.(placement.MemberSet); ok {
		all = append(all, c.Step(0, placement.Lives{Incarnation: m.Member.Incarnation})...)
	}
	return all
}

// run gives a core events, and returns what it wants done.
func run(c *placement.Core, events ...placement.Event) []string {
	var all []string
	for _, e := range events {
		for _, a := range step(c, e) {
			if t := text(a); t != "" && !strings.Contains(t, "follow") {
				all = append(all, t)
			}
		}
	}
	return all
}

// starts are the orders among what is to be done, by child.
func starts(all []placement.Action) map[string]string {
	on := map[string]string{}
	for _, a := range all {
		if s, ok := a.(placement.Start); ok {
			on[s.Name] = s.On
		}
	}
	return on
}

func TestStories(t *testing.T) {
	t.Parallel()
	red := member("red")
	red.Labels = map[string]string{"role": "worker", "zone": "a"}
	own := member("own")
	own.Types, own.Own = nil, map[string]bool{"a": true}
	leaving := member("n1")
	leaving.Leaving = true
	with := func(change func(*placement.Spec)) placement.SpecSet {
		s := spec("a")
		change(&s)
		return placement.SpecSet{Spec: s}
	}
	begin := func(members ...placement.Member) []placement.Event {
		var all []placement.Event
		for _, m := range members {
			all = append(all, placement.MemberSet{Member: m})
		}
		return append(all, placement.Begun{})
	}
	a := placement.SpecSet{Spec: spec("a")}
	for _, tc := range []struct {
		name   string
		events []placement.Event
		want   []string
		state  placement.State
	}{
		{
			"placed", append(begin(member("n1")), a),
			[]string{"start a on n1-1"},
			placement.State{Phase: placement.Starting, On: "n1-1"},
		},
		{
			"nothing before all is known",
			[]placement.Event{placement.MemberSet{Member: member("n1")}, a},
			nil,
			placement.State{},
		},
		{
			"adopted",
			[]placement.Event{
				placement.MemberSet{Member: member("n1")},
				placement.MemberSet{Member: member("n2")},
				placement.Owned{Name: "a", Incarnation: "n2-1", Seq: 7},
				a,
				placement.Begun{},
			},
			nil,
			placement.State{Phase: placement.Running, On: "n2-1"},
		},
		{
			"adopted from one that takes no children", append(begin(member("n1")), placement.Owned{Name: "a", Incarnation: "old", Seq: 7}, a),
			nil,
			placement.State{Phase: placement.Running, On: "old"},
		},
		{
			"its node ends", append(begin(member("n1"), member("n2")), placement.Owned{Name: "a", Incarnation: "n2-1", Seq: 7}, a, placement.MemberGone{Incarnation: "n2-1"}),
			[]string{"start a on n1-1"},
			placement.State{Phase: placement.Starting, On: "n1-1"},
		},
		{
			"pinned", append(begin(member("n1"), member("n2")), with(func(s *placement.Spec) { s.Node = "n2" })),
			[]string{"start a on n2-1"},
			placement.State{Phase: placement.Starting, On: "n2-1"},
		},
		{
			"pinned to nobody, who comes", append(begin(member("n1")), with(func(s *placement.Spec) { s.Node = "n2" }), placement.MemberSet{Member: member("n2")}),
			[]string{"start a on n2-1"},
			placement.State{Phase: placement.Starting, On: "n2-1"},
		},
		{
			"pinned to nobody", append(begin(member("n1")), with(func(s *placement.Spec) { s.Node = "n2" })),
			nil,
			placement.State{Phase: placement.Unplaceable, Reason: "node n2, to which it is pinned, is not there"},
		},
		{
			"by its labels", append(begin(member("n1"), red), with(func(s *placement.Spec) { s.Labels = map[string]string{"role": "worker"} })),
			[]string{"start a on red-1"},
			placement.State{Phase: placement.Starting, On: "red-1"},
		},
		{
			"other labels", append(begin(red), with(func(s *placement.Spec) { s.Labels = map[string]string{"role": "boss", "zone": "a"} })),
			nil,
			placement.State{Phase: placement.Unplaceable, Reason: "no node has the labels role=boss,zone=a"},
		},
		{
			"another type", append(begin(member("n1")), with(func(s *placement.Spec) { s.Type = "U" })),
			nil,
			placement.State{Phase: placement.Unplaceable, Reason: "no node that may run it has the type U"},
		},
		{
			"bound to its program", append(begin(member("n1"), own), with(func(s *placement.Spec) { s.Bound = true })),
			[]string{"start a on own-1"},
			placement.State{Phase: placement.Starting, On: "own-1"},
		},
		{
			"bound to a program that is not there", append(begin(member("n1")), with(func(s *placement.Spec) { s.Bound = true })),
			nil,
			placement.State{Phase: placement.Unplaceable, Reason: "no node has it in its own tree, and its config can't leave its program"},
		},
		{
			"stopped stays stopped", append(begin(member("n1")), with(func(s *placement.Spec) { s.Stopped = true }), placement.MemberSet{Member: member("n2")}),
			nil,
			placement.State{Phase: placement.Stopped},
		},
		{
			"its node leaves", append(begin(member("n1")), a,
				placement.Owned{Name: "a", Incarnation: "n1-1", Seq: 7}, placement.Started{Name: "a", Attempt: 1},
				placement.MemberSet{Member: member("n2")}, placement.MemberSet{Member: leaving}, placement.Freed{Name: "a", Seq: 8}),
			[]string{"start a on n1-1", "start a on n2-1"},
			placement.State{Phase: placement.Starting, On: "n2-1"},
		},
		{
			"freed by one that lives", append(begin(member("n1")), a,
				placement.Owned{Name: "a", Incarnation: "n1-1", Seq: 7}, placement.Started{Name: "a", Attempt: 1}, placement.Freed{Name: "a", Seq: 8}),
			[]string{"start a on n1-1"}, // and some time later again
			placement.State{},
		},
		{
			"an old record", append(begin(member("n1")), a,
				placement.Owned{Name: "a", Incarnation: "n1-1", Seq: 7}, placement.Started{Name: "a", Attempt: 1},
				placement.Owned{Name: "a", Incarnation: "n0-1", Seq: 5}, placement.Freed{Name: "a", Seq: 6}),
			[]string{"start a on n1-1"},
			placement.State{Phase: placement.Running, On: "n1-1"},
		},
		{
			"failed to start", append(begin(member("n1")), a, placement.StartFailed{Name: "a", Attempt: 1, Reason: "no luck", Crash: true}),
			[]string{"start a on n1-1", "read a"},
			placement.State{Phase: placement.Waiting, Reason: "no luck"},
		},
		{
			"a late answer", append(begin(member("n1")), a, placement.MemberGone{Incarnation: "n1-1"},
				placement.MemberSet{Member: member("n2")}, placement.StartFailed{Name: "a", Attempt: 1, Reason: "no luck"}),
			[]string{"start a on n1-1", "start a on n2-1"},
			placement.State{Phase: placement.Starting, On: "n2-1"},
		},
		{
			"a spec that goes leaves what runs", append(begin(member("n1")), a,
				placement.Owned{Name: "a", Incarnation: "n1-1", Seq: 7}, placement.Started{Name: "a", Attempt: 1},
				placement.SpecGone{Name: "a"}, placement.MemberSet{Member: member("n2")}, a),
			[]string{"start a on n1-1"},
			placement.State{Phase: placement.Running, On: "n1-1"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := placement.New("")
			if diff := cmp.Diff(tc.want, run(c, tc.events...)); diff != "" {
				t.Errorf("actions: want -, got +\n%s", diff)
			}
			if got, _ := c.State("a"); got != tc.state {
				t.Errorf("state: got %+v, want %+v", got, tc.state)
			}
		})
	}
}

// What a crashed node offers is on record still, so none is taken before its node
// is known to live.
func TestOnlyTheLivingTakeChildren(t *testing.T) {
	t.Parallel()
	c := placement.New("")
	offer := placement.MemberSet{Member: member("n1")}
	for _, e := range []placement.Event{placement.Lives{Incarnation: "n1-1"}, offer, placement.SpecSet{Spec: spec("a")}, placement.Begun{}} {
		if at := starts(c.Step(0, e)); len(at) > 0 {
			t.Errorf("after %+v: got %v, want no start", e, at)
		}
	}
	if c.Lives("n1-1") {
		t.Error("got it alive, want nothing known before it was told")
	}
	at := starts(c.Step(0, placement.Lives{Incarnation: "n1-1"}))
	if at["a"] != "n1-1" || !c.Lives("n1-1") {
		t.Errorf("heard of: got %v, alive %v, want a start on n1-1", at, c.Lives("n1-1"))
	}
	c.Step(0, placement.MemberGone{Incarnation: "n1-1"})
	if at := starts(c.Step(0, offer)); len(at) > 0 || c.Lives("n1-1") {
		t.Errorf("after its end: got %v, alive %v, want no start", at, c.Lives("n1-1"))
	}
}

// The node that leads knows of itself that it lives: what it can run is never
// unplaceable, not even for a moment.
func TestTheLeaderLives(t *testing.T) {
	t.Parallel()
	c := placement.New("n1-1")
	got := c.Step(0, placement.Begun{})
	got = append(got, c.Step(0, placement.MemberSet{Member: member("n1")})...)
	got = append(got, c.Step(0, placement.SpecSet{Spec: spec("a")})...)
	want := []placement.Action{placement.Start{Name: "a", On: "n1-1", Attempt: 1}, placement.Changed{Name: "a"}}
	if diff := cmp.Diff(want, got); diff != "" || !c.Lives("n1-1") {
		t.Errorf("a child, and nobody to follow: want -, got +\n%s", diff)
	}
}

// A child that fails is tried elsewhere first, later and later.
func TestBackoff(t *testing.T) {
	t.Parallel()
	c := placement.New("")
	run(c, placement.MemberSet{Member: member("n1")}, placement.MemberSet{Member: member("n2")}, placement.Begun{})
	var now time.Duration
	var waits []time.Duration
	var on []string
	next := c.Step(now, placement.SpecSet{Spec: spec("a")})
	for range 9 {
		i := slices.IndexFunc(next, func(a placement.Action) bool { _, ok := a.(placement.Start); return ok })
		if i < 0 {
			t.Fatalf("after %v: got no start", now)
		}
		start := next[i].(placement.Start)
		on = append(on, start.On)
		c.Step(now, placement.StartFailed{Name: "a", Attempt: start.Attempt, Reason: "no luck", Crash: true})
		if early := starts(c.Step(now+time.Millisecond, placement.Tick{})); len(early) > 0 {
			t.Fatalf("after %v: got a start before its time", now)
		}
		at, ok := c.Next()
		if !ok {
			t.Fatalf("after %v: got no time to wait for", now)
		}
		waits = append(waits, (at - now).Round(time.Second))
		now = at
		next = c.Step(now, placement.Tick{})
	}
	want := []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60}
	for i := range want {
		want[i] *= time.Second
	}
	if diff := cmp.Diff(want, waits); diff != "" {
		t.Errorf("waits: want -, got +\n%s", diff)
	}
	for i := range on[1:] {
		if on[i] == on[i+1] {
			t.Errorf("attempts %d and %d: both on %s, want one after the other", i, i+1, on[i])
		}
	}
}

// A child that was given up waits although its name is freed, and a stop and
// start by hand ends that.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	for _, reportFirst := range []bool{true, false} {
		c := placement.New("")
		run(c, placement.MemberSet{Member: member("n1")}, placement.Begun{}, placement.SpecSet{Spec: spec("a")},
			placement.Owned{Name: "a", Incarnation: "n1-1", Seq: 3}, placement.Started{Name: "a", Attempt: 1})
		report, freed := placement.GaveUp{Name: "a", Incarnation: "n1-1", Reason: "crashes"}, placement.Freed{Name: "a", Seq: 4}
		events := []placement.Event{report, freed}
		if !reportFirst {
			slices.Reverse(events)
		}
		if got := run(c, append(events, placement.Tick{})...); slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "start") }) {
			t.Errorf("report first %v: got %v, want no start yet", reportFirst, got)
		}
		if s, _ := c.State("a"); s.Phase != placement.Waiting || s.Reason != "crashes" {
			t.Errorf("report first %v: got %+v, want it waiting for it crashes", reportFirst, s)
		}
		stopped := spec("a")
		stopped.Stopped = true
		got := run(c, placement.SpecSet{Spec: stopped}, placement.SpecSet{Spec: spec("a")})
		if diff := cmp.Diff([]string{"start a on n1-1"}, got); diff != "" {
			t.Errorf("started by hand: want -, got +\n%s", diff)
		}
	}
}

// A child that runs though it is down on purpose is stopped where it runs, again and
// again, but not before whoever stops it may have done so.
func TestStopped(t *testing.T) {
	t.Parallel()
	c := placement.New("")
	run(c, placement.MemberSet{Member: member("n1")}, placement.SpecSet{Spec: spec("a")},
		placement.Owned{Name: "a", Incarnation: "n1-1", Seq: 3}, placement.Begun{})
	stopped := spec("a")
	stopped.Stopped = true
	if got := run(c, placement.SpecSet{Spec: stopped}); got != nil {
		t.Errorf("at once: got %v, want nothing yet", got)
	}
	var now time.Duration
	for range 3 {
		at, ok := c.Next()
		if !ok || at <= now || at > now+5*time.Second {
			t.Fatalf("at %v: got %v, %v to wait for, want some seconds at most", now, at, ok)
		}
		now = at
		all := c.Step(now, placement.Tick{})
		if len(all) != 1 || text(all[0]) != "stop a on n1-1" {
			t.Errorf("at %v: got %v, want it stopped", now, all)
		}
	}
	c.Step(now, placement.Freed{Name: "a", Seq: 4})
	for at, ok := c.Next(); ok; at, ok = c.Next() {
		for _, a := range c.Step(at, placement.Tick{}) {
			t.Errorf("at %v: got %q, want nothing for one that is down", at, text(a))
		}
	}
	if s, _ := c.State("a"); s.Phase != placement.Stopped {
		t.Errorf("got %+v, want it stopped", s)
	}
}

// Ten thousand children go to their nodes evenly, and so do those of one that ends.
func TestBalance(t *testing.T) {
	t.Parallel()
	const many = 10_000
	c := placement.New("")
	for _, n := range []string{"n1", "n2", "n3", "n4"} {
		step(c, placement.MemberSet{Member: member(n)})
	}
	for i := range many {
		c.Step(0, placement.SpecSet{Spec: spec(fmt.Sprintf("s%d", i))})
	}
	began := time.Now()
	at := starts(c.Step(0, placement.Begun{}))
	level(t, at, 4)
	if len(at) != many {
		t.Fatalf("got %d started, want %d", len(at), many)
	}
	for name, on := range starts(c.Step(0, placement.MemberGone{Incarnation: "n3-1"})) {
		if at[name] != "n3-1" {
			t.Errorf("%s: got it started anew, want it left on %s", name, at[name])
		}
		at[name] = on
	}
	level(t, at, 3)
	if took := time.Since(began); took > 10*time.Second { // some 50 ms; what is quadratic takes minutes
		t.Errorf("placing %d took %v", many, took)
	}
}

func level(t *testing.T, at map[string]string, nodes int) {
	t.Helper()
	load := map[string]int{}
	for _, on := range at {
		load[on]++
	}
	least, most := len(at), 0
	for _, n := range load {
		least, most = min(least, n), max(most, n)
	}
	if len(load) != nodes || most-least > 1 {
		t.Errorf("load: got %v, want %d nodes that differ by 1 at most", load, nodes)
	}
}

// In whatever order a core learns of the same, it places the same.
func TestOrderOfNewsDoesNotMatter(t *testing.T) {
	t.Parallel()
	var news []placement.Event
	for i := range 5 {
		news = append(news, placement.MemberSet{Member: member(fmt.Sprintf("n%d", i))})
	}
	for i := range 40 {
		news = append(news, placement.SpecSet{Spec: spec(fmt.Sprintf("s%d", i))})
		if i%3 == 0 {
			news = append(news, placement.Owned{Name: fmt.Sprintf("s%d", i), Incarnation: fmt.Sprintf("n%d-1", i%7), Seq: uint64(i + 1)})
		}
	}
	place := func() map[string]string {
		c := placement.New("")
		for _, e := range news {
			step(c, e)
		}
		return starts(c.Step(0, placement.Begun{}))
	}
	want := place()
	random := newRandom(t)
	for range 50 {
		random.Shuffle(len(news), func(i, j int) { news[i], news[j] = news[j], news[i] })
		if diff := cmp.Diff(want, place()); diff != "" {
			t.Fatalf("another order: want -, got +\n%s", diff)
		}
	}
}
