package supervision

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestNewNamesTheField(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		edit func(*Spec)
		want string // in the error; empty for none
	}{
		{"sound", func(*Spec) {}, ""},
		{"no restarts need no window", func(s *Spec) { s.MaxRestarts, s.Window = 0, 0 }, ""},
		{"strategy", func(s *Spec) { s.Strategy = 9 }, "strategy"},
		{"max restarts", func(s *Spec) { s.MaxRestarts = -1 }, "max restarts"},
		{"window", func(s *Spec) { s.Window = 0 }, "window"},
		{"negative window", func(s *Spec) { s.MaxRestarts, s.Window = 0, -1 }, "window"},
		{"growth", func(s *Spec) { s.Backoff.Growth = 9 }, "backoff: growth"},
		{"growth left out", func(s *Spec) { s.Backoff.Base = 1 }, "backoff: growth"},
		{"base", func(s *Spec) { s.Backoff.Growth = Linear }, "backoff: base"},
		{"cap", func(s *Spec) { s.Backoff = Backoff{Growth: Linear, Base: 2, Max: 1} }, "backoff: max"},
		{"jitter", func(s *Spec) {
			s.Backoff = Backoff{Growth: Linear, Base: 2, Jitter: 0.26}
			s.Rand = func() float64 { return 0 }
		}, "backoff: jitter"},
		{"rand", func(s *Spec) { s.Backoff = Backoff{Growth: Linear, Base: 2, Jitter: 0.2} }, "rand"},
		{"empty id", func(s *Spec) { s.Children[1].ID = "" }, "children[1]: id"},
		{"same id", func(s *Spec) { s.Children[1].ID = "a" }, `children[1]: id "a"`},
		{"restart", func(s *Spec) { s.Children[1].Restart = 9 }, `children[1] "b": restart`},
		{"alone", func(s *Spec) { s.Strategy, s.Children[1].Alone = OneForAll, true }, `children[1] "b": alone`},
		{"shutdown", func(s *Spec) { s.Children[1].Shutdown = -2 }, `children[1] "b": shutdown`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			spec := Spec{MaxRestarts: 3, Window: time.Second, Children: []Child{{ID: "a"}, {ID: "b"}}}
			tt.edit(&spec)
			_, err := New(spec)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// TestCanEscalate asks the core itself: a child that crashes as soon as it is
// up escalates if, and only if, the spec says that it can.
func TestCanEscalate(t *testing.T) {
	t.Parallel()
	const s = time.Second
	tests := []struct {
		name    string
		max     int
		window  time.Duration
		backoff Backoff
		want    bool
	}{
		{"no backoff", 3, 5 * s, Backoff{}, true},
		{"max 0", 0, s, Backoff{Growth: Constant, Base: 9 * s}, true},
		{"short waits", 3, 5 * s, Backoff{Growth: Constant, Base: s}, true},
		{"just in the window", 5, 5 * s, Backoff{Growth: Constant, Base: s}, true},
		{"just out of it", 5, 5*s - 1, Backoff{Growth: Constant, Base: s}, false},
		{"long waits", 3, 5 * s, Backoff{Growth: Constant, Base: 2 * s}, false},
		{"growing waits", 3, 5 * s, Backoff{Growth: Exponential, Base: s}, false},
		{"capped waits", 3, 5 * s, Backoff{Growth: Exponential, Base: s, Max: s}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			spec := Spec{MaxRestarts: tt.max, Window: tt.window, Backoff: tt.backoff, Children: []Child{{ID: "a"}}}
			if got := spec.CanEscalate(); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if got := escalates(t, spec); got != tt.want {
				t.Errorf("the core escalates: got %v, want %v", got, tt.want)
			}
		})
	}
}

func escalates(t *testing.T, spec Spec) bool {
	t.Helper()
	core, err := New(spec)
	if err != nil {
		t.Fatal(err)
	}
	var now time.Duration
	todo := core.Step(now, Start{})
	for range 200 { // waits of a year must not add up to an overflow
		if len(todo) == 0 {
			break
		}
		a := todo[0]
		todo = todo[1:]
		switch a := a.(type) {
		case StartChild:
			todo = append(todo, core.Step(now, ChildExited{ID: a.ID, Generation: a.Generation})...)
		case StartTimer:
			now += a.Delay
			todo = append(todo, core.Step(now, TimerFired{Token: a.Token})...)
		case Escalate:
			return true
		}
	}
	return false
}

// TestReasonsChain follows an escalation through two supervisors to the crash
// that began it.
func TestReasonsChain(t *testing.T) {
	t.Parallel()
	cause := errors.New("no such table")
	inner := &Exhausted{Child: "worker", Restarts: 4, MaxRestarts: 3, Window: 5 * time.Second, Reason: cause}
	outer := error(&Exhausted{Child: "inner", Restarts: 1, Window: time.Minute, Reason: inner})
	if !errors.Is(outer, cause) || !errors.Is(outer, inner) {
		t.Errorf("got %v, want the inner reasons found in it", outer)
	}
	want := "restart limit broken by inner: 1 in 1m0s, 0 allowed: " +
		"restart limit broken by worker: 4 in 5s, 3 allowed: no such table"
	if got := outer.Error(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
