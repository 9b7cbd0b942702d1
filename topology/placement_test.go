package topology_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/civitas-go/civitas/supervisor"
	"github.com/civitas-go/civitas/topology"
)

func TestPlacement(t *testing.T) {
	t.Parallel()
	top, err := topology.Load(strings.NewReader(`
supervision:
  children:
    - {name: a, type: myapp.agents.WorkerAgent, placement: {node: n1}}
    - {name: b, type: myapp.agents.WorkerAgent, placement: {labels: {role: worker, zone: eu-1}}}
    - name: p
      placement: {labels: {role: worker}}
      children:
        - {name: c, type: myapp.agents.WorkerAgent}
    - {name: d, type: myapp.agents.WorkerAgent}
`), worker)
	if err != nil {
		t.Fatal(err)
	}
	var got []supervisor.Placement
	for _, c := range top.Tree.Children {
		got = append(got, c.Placement)
	}
	want := []supervisor.Placement{
		{Node: "n1"},
		{Labels: map[string]string{"role": "worker", "zone": "eu-1"}},
		{Labels: map[string]string{"role": "worker"}},
		{},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("placements: want -, got +\n%s", diff)
	}
	var shown []string
	for _, f := range top.Root.Children[1].Fields {
		if strings.HasPrefix(f.Key, "placement") {
			shown = append(shown, f.Key+"="+f.Value)
		}
	}
	if diff := cmp.Diff([]string{"placement.labels.role=worker", "placement.labels.zone=eu-1"}, shown); diff != "" {
		t.Errorf("view: want -, got +\n%s", diff)
	}
}
