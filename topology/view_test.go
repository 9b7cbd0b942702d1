package topology_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/civitas-go/civitas/topology"
)

// golden compares a text with a file of testdata, or rewrites it.
func golden(t *testing.T, file, got string) {
	t.Helper()
	path := "testdata/" + file
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestTreesAreDrawn(t *testing.T) {
	t.Parallel()
	for name, text := range goodFiles(t) {
		top := mustLoad(t, text)
		golden(t, "good/"+strings.TrimSuffix(name, ".yaml")+".txt", top.String())
		untyped, err := topology.Loader{AnyType: true}.Load(strings.NewReader(text))
		if err != nil {
			t.Errorf("%s with AnyType: got %v, want no mistakes", name, err)
			continue
		}
		if diff := cmp.Diff(top.Root, untyped.Root); diff != "" {
			t.Errorf("%s: the tree differs with AnyType:\n%s", name, diff)
		}
		if len(untyped.Tree.Children) != 0 {
			t.Errorf("%s: got a Tree with AnyType, want an empty one", name)
		}
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	top := mustLoad(t, `
transport: {type: nats, servers: ["nats://u:hunter2@h:4222", "${URL}", nats://t0ken@h], credentials: "${CREDS}"}
supervision: {children: [{name: a, type: myapp.services.RateLimiter, config: {tags: ["${SECRET}"]}}]}`,
		"URL", "nats://u:hunter2@b", "CREDS", "hunter2", "SECRET", "hunter2")
	if text := top.String(); strings.Contains(text, "hunter2") || strings.Contains(text, "t0ken") {
		t.Errorf("got a secret in:\n%s", text)
	}
	if got, want := top.Transport, (topology.Transport{Type: "nats", Servers: []string{"nats://u:hunter2@h:4222", "nats://u:hunter2@b", "nats://t0ken@h"}, Credentials: "hunter2"}); !cmp.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	_, err := load(`
transport: {type: nats, servers: "${URL}"}
supervision: {max_restarts: "${SECRET}", children: [{name: a, type: myapp.services.RateLimiter, shutdown: "${SECRET}", config: {capacity: "${SECRET}", every: "${SECRET}"}}]}`,
		"URL", "gopher://hunter2", "SECRET", "hunter2")
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v, want mistakes without the secret", err)
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	a := mustLoad(t, diffBefore)
	b := mustLoad(t, diffAfter)
	golden(t, "diff.txt", topology.Diff(a, b).String())
	for name, top := range map[string]*topology.Topology{"before": a, "after": b} {
		if got := topology.Diff(top, top); len(got) != 0 {
			t.Errorf("%s: got %v, want a topology to be equal to itself", name, got)
		}
	}
	want := topology.Changes{
		{Kind: "changed", Field: "transport.type", Old: "nats", New: "in_process"},
		{Kind: "changed", Field: "transport.servers", Old: "nats://a", New: ""},
	}
	if diff := cmp.Diff(want, topology.Diff(a, b)[:2]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

const diffBefore = `
transport: {type: nats, servers: nats://a}
supervision:
  max_restarts: 3
  children:
    - {name: first, type: myapp.agents.WorkerAgent}
    - {name: second, type: myapp.agents.WorkerAgent}
    - {name: third, type: myapp.services.RateLimiter, config: {capacity: 10, tags: [a]}}
    - supervisor:
        name: pool
        children:
          - {name: w1, type: myapp.agents.WorkerAgent}
          - {name: w2, type: myapp.agents.WorkerAgent}
    - supervisor:
        name: gone
        children:
          - {name: w3, type: myapp.agents.WorkerAgent}
          - {name: w4, type: myapp.agents.WorkerAgent}
    - {name: kind, type: myapp.agents.WorkerAgent}
`

const diffAfter = `
transport: {type: in_process}
supervision:
  name: app
  strategy: rest_for_one
  max_restarts: 3
  restart_window: 1m
  children:
    - {name: third, type: myapp.services.RateLimiter, config: {capacity: 20}}
    - {name: first, type: myapp.services.RateLimiter}
    - {name: second, type: myapp.agents.WorkerAgent}
    - supervisor:
        name: pool
        backoff: constant
        children:
          - {name: w2, type: myapp.agents.WorkerAgent}
          - {name: w1, type: myapp.agents.WorkerAgent, restart: transient}
          - {name: w3, type: myapp.agents.WorkerAgent, scope: local}
          - {name: w5, type: myapp.agents.WorkerAgent}
    - supervisor: {name: kind, children: []}
    - supervisor:
        name: new
        children: [{name: w6, type: myapp.agents.WorkerAgent}]
`
