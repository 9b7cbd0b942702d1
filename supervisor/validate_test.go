package supervisor_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	ok := probeType.With(nil)
	err := supervisor.Spec{
		Strategy:      9,
		MaxRestarts:   -2,
		RestartWindow: -time.Second,
		Backoff:       supervisor.Backoff{Growth: supervisor.Linear, Max: -1, Jitter: math.NaN()},
		Children: []supervisor.Child{
			{Name: "a", Run: ok},
			{},
			{Name: "_b", Run: genserver.Spec{}, Restart: 4, Shutdown: -3, Scope: 7},
			{Name: "sup", Scope: supervisor.Cluster, Run: supervisor.Spec{
				Backoff: supervisor.Backoff{Base: time.Second},
				Children: []supervisor.Child{
					{Name: "a", Run: ok},
					{Name: "deep", Run: supervisor.Spec{
						MaxRestarts: -7,
						Backoff:     supervisor.Backoff{Growth: supervisor.Constant, Base: time.Second, Max: time.Millisecond},
						Children:    []supervisor.Child{{Name: "a", Run: ok}},
					}},
				},
			}},
			{Name: "odd", Run: supervisor.Spec{Backoff: supervisor.Backoff{Growth: 4, Jitter: 0.3}}},
		},
	}.Validate()
	want := strings.Split(strings.TrimSpace(`
Strategy: 9 is no Strategy
MaxRestarts: -2 is negative; NoRestarts (-1) means none
RestartWindow: -1s is negative
Backoff.Base: 0s is not positive
Backoff.Max: -1ns is negative
Backoff.Jitter: NaN is not in 0 to 0.25
Children[1].Name: name "": empty; a name is one or more tokens of [A-Za-z0-9_-] joined by dots, at most 200 bytes, not beginning with '_'
Children[1].Run: nothing to run
Children[2].Name: name "_b": begins with '_', which is the runtime's; a name is one or more tokens of [A-Za-z0-9_-] joined by dots, at most 200 bytes, not beginning with '_'
Children[2].Restart: 4 is no Restart
Children[2].Shutdown: -3ns is negative; Infinity is -1 and BrutalKill is -2
Children[2].Scope: 7 is no Scope
Children[2].Run: the zero Spec; use a Type's With
Children[3] "sup".Scope: a supervisor's name is its node's; give its children the scope
Children[3] "sup".Backoff.Growth: missing, but other fields are set
Children[3] "sup".Children[0] "a".Name: taken by Children[0] "a"
Children[3] "sup".Children[1] "deep".MaxRestarts: -7 is negative; NoRestarts (-1) means none
Children[3] "sup".Children[1] "deep".Backoff.Max: 1ms is less than Base, 1s
Children[3] "sup".Children[1] "deep".Children[0] "a".Name: taken by Children[0] "a"
Children[4] "odd".Backoff.Growth: 4 is no Growth
Children[4] "odd".Backoff.Jitter: 0.3 is not in 0 to 0.25`), "\n")
	if err == nil {
		t.Fatal("got nil, want faults")
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func TestValidatePlacement(t *testing.T) {
	t.Parallel()
	here := supervisor.Placement{Node: "n1"}
	err := supervisor.Spec{Children: []supervisor.Child{
		{Name: "a", Run: probeType.With(nil), Scope: supervisor.Cluster, Placement: here},
		{Name: "b", Run: probeType.With(nil), Placement: here},
		{Name: "c", Placement: supervisor.Placement{Labels: map[string]string{"zone": "eu-1"}}, Run: supervisor.Spec{
			Children: []supervisor.Child{{Name: "d", Run: probeType.With(nil), Scope: supervisor.Cluster, Placement: here}},
		}},
		{Name: "e", Run: probeType.With(nil), Scope: supervisor.Cluster, Placement: supervisor.Placement{Node: "n.1", Labels: map[string]string{"a b": "c", "d": ""}}},
	}}.Validate()
	var got []string
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			got = append(got, strings.Split(line, "; ")[0])
		}
	}
	want := []string{
		`Children[1].Placement: b has no cluster-wide name, and runs on every node`,
		`Children[2] "c".Children[0].Placement: d is placed with its supervisor`,
		`Children[3].Placement.Node: node name "n.1": byte '.' at 1 is not allowed`,
		`Children[3].Placement.Labels: name "a b": byte ' ' at 1 is not allowed`,
		`Children[3].Placement.Labels: name "": empty`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func TestValidateGood(t *testing.T) {
	t.Parallel()
	for _, spec := range []supervisor.Spec{
		{},
		{MaxRestarts: supervisor.NoRestarts, RestartWindow: time.Hour, Backoff: supervisor.Backoff{Growth: supervisor.Exponential, Base: 1, Jitter: 0.25}},
		{Children: []supervisor.Child{
			{Name: "a.b", Run: probeType.With(nil), Scope: supervisor.Cluster, Shutdown: supervisor.BrutalKill},
			{Name: "c", Run: supervisor.Spec{}, Shutdown: time.Second},
			{Name: "d", Run: supervisor.Spec{}.GenServer()},
		}},
	} {
		if err := spec.Validate(); err != nil {
			t.Errorf("validate %+v: got %v, want nil", spec, err)
		}
	}
}

func TestStartValidates(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		spec := supervisor.Spec{Children: []supervisor.Child{w.child("a"), w.child("a")}}
		_, err := w.sys.Start(context.Background(), "root", spec, genserver.SpawnOptions{})
		const want = `start root: Children[1] "a".Name: taken by Children[0] "a"`
		if err == nil || err.Error() != want {
			t.Errorf("start: got %v, want %s", err, want)
		}
		w.wantNotes()
	})
}

func TestWords(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		supervisor.RestForOne.String():  "rest_for_one",
		supervisor.Transient.String():   "transient",
		supervisor.Exponential.String(): "exponential",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
