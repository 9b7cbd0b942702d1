package placement_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/civitas-go/civitas/internal/placement"
)

func revised(name string, revision uint64) placement.SpecSet {
	s := spec(name)
	s.Revision = revision
	return placement.SpecSet{Spec: s}
}

func ownedBy(node, name string, seq, revision uint64) placement.Owned {
	return placement.Owned{Name: name, Incarnation: node + "-1", Seq: seq, Child: name, Revision: revision}
}

// What runs by an older spec is stopped, and placed anew at once; what runs by the
// newest that is known, or by one that is not known yet, is left alone.
func TestNewerSpec(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		before []placement.Event
		told   placement.Event
		want   []string
	}{
		{"changed", []placement.Event{revised("a", 0), ownedBy("n1", "a", 1, 0), placement.Begun{}}, revised("a", 5), []string{"stop a on n1-1"}},
		{"told again", []placement.Event{revised("a", 5), ownedBy("n1", "a", 1, 5), placement.Begun{}}, revised("a", 5), nil},
		{"older than what runs", []placement.Event{ownedBy("n1", "a", 1, 7), placement.Begun{}}, revised("a", 5), nil},
		{"not before all is known", []placement.Event{revised("a", 5)}, ownedBy("n1", "a", 1, 0), nil},
		{"nor where nobody lives", []placement.Event{revised("a", 5), placement.Begun{}}, ownedBy("n9", "a", 1, 0), nil},
		{"taken out of the tree", []placement.Event{revised("a", 0), ownedBy("n1", "a", 1, 0), placement.Begun{}}, placement.SpecSet{Spec: placement.Spec{Name: "a", Owned: "a", Type: "T", Revision: 5, Stopped: true}}, []string{"stop a on n1-1"}},
	} {
		c := placement.New("")
		run(c, placement.MemberSet{Member: member("n1")})
		c.Step(time.Minute, placement.Tick{}) // long after anything
		run(c, tt.before...)
		c.Step(2*time.Minute, placement.Tick{})
		if diff := cmp.Diff(tt.want, run(c, tt.told)); diff != "" {
			t.Errorf("%s: want -, got +\n%s", tt.name, diff)
		}
	}
}

// A new leader finishes what an old one began.
func TestNewLeaderFindsAnOlderOne(t *testing.T) {
	t.Parallel()
	c := placement.New("")
	run(c, placement.MemberSet{Member: member("n1")}, revised("a", 5), ownedBy("n1", "a", 1, 0), placement.Begun{})
	at, ok := c.Next()
	if !ok {
		t.Fatal("got no time to wait for, want the child stopped soon")
	}
	if got := c.Step(at, placement.Tick{}); len(got) != 1 || text(got[0]) != "stop a on n1-1" {
		t.Fatalf("got %v, want it stopped", got)
	}
	if s, _ := c.State("a"); s.Phase != placement.Running || s.Revision != 0 {
		t.Errorf("got %+v, want it running still by revision 0", s)
	}
	if got := starts(c.Step(at, placement.Freed{Name: "a", Seq: 2})); got["a"] != "n1-1" {
		t.Errorf("freed: got %v, want it placed at once", got)
	}
	c.Step(at, ownedBy("n1", "a", 3, 5))
	c.Step(at, placement.Started{Name: "a", Attempt: 1})
	if s, _ := c.State("a"); s.Phase != placement.Running || s.Revision != 5 {
		t.Errorf("got %+v, want it running by revision 5", s)
	}
}

// How often an older spec failed does not count.
func TestNewerSpecIsTriedAtOnce(t *testing.T) {
	t.Parallel()
	c := placement.New("")
	run(c, placement.MemberSet{Member: member("n1")}, placement.Begun{}, revised("a", 0))
	crash := func(attempt uint64) placement.StartFailed {
		return placement.StartFailed{Name: "a", Attempt: attempt, Reason: "no luck", Crash: true}
	}
	run(c, crash(1))
	if s, _ := c.State("a"); s.Phase != placement.Waiting {
		t.Fatalf("got %+v, want it waiting", s)
	}
	if diff := cmp.Diff([]string{"start a on n1-1"}, run(c, revised("a", 1))); diff != "" {
		t.Errorf("changed while it waits: want -, got +\n%s", diff)
	}
	run(c, revised("a", 2))
	if diff := cmp.Diff([]string{"read a", "start a on n1-1"}, run(c, crash(2))); diff != "" {
		t.Errorf("changed while it starts: want -, got +\n%s", diff)
	}
	run(c, crash(3))
	if s, _ := c.State("a"); s.Phase != placement.Waiting || s.Reason != "no luck" {
		t.Errorf("got %+v, want the newest waiting once it has failed", s)
	}
}

// A child that is found by another of its names from now on is stopped where it
// runs by the older spec, whichever news come first.
func TestNewerSpecWithAnotherName(t *testing.T) {
	t.Parallel()
	older, newer := placement.Spec{Name: "sup", Owned: "a", Type: "T", Bound: true}, placement.Spec{Name: "sup", Owned: "b", Type: "T", Bound: true, Revision: 5}
	own := member("n1")
	own.Own = map[string]bool{"sup": true}
	runs := placement.Owned{Name: "a", Incarnation: "n1-1", Seq: 1, Child: "sup"}
	for name, news := range map[string][]placement.Event{
		"while it leads": {placement.SpecSet{Spec: older}, runs, placement.Begun{}, placement.SpecSet{Spec: newer}},
		"a new leader":   {runs, placement.SpecSet{Spec: newer}, placement.Begun{}},
		"the other way":  {placement.SpecSet{Spec: newer}, runs, placement.Begun{}},
	} {
		c := placement.New("")
		run(c, placement.MemberSet{Member: own})
		got := run(c, news...)
		for at, ok := c.Next(); ok && at < 2*time.Second; at, ok = c.Next() {
			for _, a := range c.Step(at, placement.Tick{}) {
				got = append(got, text(a))
			}
		}
		stops := 0
		for _, a := range got {
			if a == "stop sup on n1-1" {
				stops++
			}
		}
		if stops != 1 {
			t.Errorf("%s: got %v, want it stopped once", name, got)
		}
	}
}
