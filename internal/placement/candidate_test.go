package placement_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/civitas-go/civitas/internal/placement"
)

func TestCandidate(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	living := []string{"a", "b", "c", "z"}
	saw := func(holder string, seq uint64) func(*placement.Candidate, time.Duration) {
		return func(c *placement.Candidate, _ time.Duration) { c.Saw(holder, seq) }
	}
	looked := func(holder string, seq uint64) func(*placement.Candidate, time.Duration) {
		return func(c *placement.Candidate, now time.Duration) {
			c.Saw(holder, seq)
			c.Looked(now, true)
		}
	}
	silence := func(c *placement.Candidate, now time.Duration) { c.Looked(now, false) }
	ended := func(who string) func(*placement.Candidate, time.Duration) {
		return func(c *placement.Candidate, now time.Duration) { c.Ended(now, who, living) }
	}
	took := func(seq uint64) func(*placement.Candidate, time.Duration) {
		return func(c *placement.Candidate, now time.Duration) { c.Took(now, seq, seq > 0) }
	}
	later := func(*placement.Candidate, time.Duration) {}
	type event struct {
		at     time.Duration
		happen func(*placement.Candidate, time.Duration)
	}
	for _, tc := range []struct {
		name   string
		events []event
		want   placement.LeadStep
		leader string
	}{
		{"looks first", nil, placement.LeadStep{Do: placement.LookAtLead}, ""},
		{"nobody leads", []event{{0, looked("", 0)}}, placement.LeadStep{Do: placement.TakeLead}, ""},
		{"its own old record", []event{{0, looked("c", 4)}}, placement.LeadStep{Do: placement.TakeLead}, "c"},
		{"another leads", []event{{0, looked("a", 4)}}, placement.LeadStep{Do: placement.FollowLead, Holder: "a", At: 5 * time.Second}, "a"},
		{"looks again", []event{{0, looked("a", 4)}, {5 * time.Second, later}}, placement.LeadStep{Do: placement.LookAtLead}, "a"},
		{
			"nothing new",
			[]event{{0, looked("a", 4)}, {5 * time.Second, looked("a", 4)}},
			placement.LeadStep{Do: placement.FollowLead, Holder: "a", At: 10 * time.Second},
			"a",
		},
		{"no answer", []event{{0, silence}}, placement.LeadStep{Do: placement.AwaitTurn, At: 500 * ms}, ""},
		{"an old read", []event{{0, saw("a", 9)}, {0, looked("", 4)}}, placement.LeadStep{Do: placement.FollowLead, Holder: "a", At: 5 * time.Second}, "a"},
		{"the leader has ended", []event{{0, looked("a", 4)}, {10 * ms, ended("a")}}, placement.LeadStep{Do: placement.AwaitTurn, At: 60 * ms}, ""},
		{"its turn", []event{{0, looked("a", 4)}, {10 * ms, ended("a")}, {60 * ms, later}}, placement.LeadStep{Do: placement.TakeLead}, ""},
		{"another has", []event{{0, looked("a", 4)}, {0, ended("b")}}, placement.LeadStep{Do: placement.FollowLead, Holder: "a", At: 5 * time.Second}, "a"},
		{"another was faster", []event{{0, looked("a", 4)}, {0, ended("a")}, {20 * ms, saw("b", 5)}}, placement.LeadStep{Do: placement.LookAtLead}, "b"},
		{"given back", []event{{0, looked("a", 4)}, {0, saw("", 5)}}, placement.LeadStep{Do: placement.LookAtLead}, ""},
		{"in vain", []event{{0, looked("", 0)}, {10 * ms, took(0)}}, placement.LeadStep{Do: placement.AwaitTurn, At: 110 * ms}, ""},
		{"leads", []event{{0, looked("", 0)}, {0, took(5)}}, placement.LeadStep{Do: placement.Lead, Seq: 5}, "c"},
		{"leads by the newest", []event{{0, looked("", 0)}, {0, saw("a", 6)}, {0, took(5)}}, placement.LeadStep{Do: placement.LookAtLead}, "a"},
		{"old news", []event{{0, looked("", 0)}, {0, took(5)}, {0, saw("a", 4)}}, placement.LeadStep{Do: placement.Lead, Seq: 5}, "c"},
		{"leads no more", []event{{0, looked("", 0)}, {0, took(5)}, {0, saw("a", 6)}}, placement.LeadStep{Do: placement.LookAtLead}, "a"},
		{"leads again", []event{{0, looked("", 0)}, {0, took(5)}, {0, saw("", 6)}, {0, looked("", 6)}, {0, took(7)}}, placement.LeadStep{Do: placement.Lead, Seq: 7}, "c"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := placement.NewCandidate("c")
			now := time.Duration(0)
			for _, e := range tc.events {
				now = e.at
				c.Next(now)
				e.happen(c, now)
			}
			if diff := cmp.Diff(tc.want, c.Next(now)); diff != "" {
				t.Errorf("step: want -, got +\n%s", diff)
			}
			if got, _ := c.Leader(); got != tc.leader {
				t.Errorf("leader: got %q, want %q", got, tc.leader)
			}
		})
	}
}

// Those who live have their turns one after the other.
func TestTurns(t *testing.T) {
	t.Parallel()
	living := []string{"n0", "n1", "n2", "n3"}
	turns := map[time.Duration]string{}
	for _, self := range living[1:] {
		c := placement.NewCandidate(self)
		c.Saw("n0", 1)
		c.Looked(0, true)
		c.Ended(0, "n0", living)
		step := c.Next(0)
		if step.Do == placement.TakeLead {
			step.At = 0
		}
		turns[step.At] = self
	}
	if want := "map[0s:n1 50ms:n2 100ms:n3]"; fmt.Sprint(turns) != want {
		t.Errorf("got %v, want %v", turns, want)
	}
}
