package topology_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
	"github.com/civitas-go/civitas/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type nothing struct{}

type limiterConfig struct {
	Capacity int           `json:"capacity"`
	Every    time.Duration `json:"every"`
	Tags     []string      `json:"tags"`
}

var (
	limiter = genserver.Define("myapp.services.RateLimiter", func(*genserver.Context, limiterConfig) (*nothing, error) { return &nothing{}, nil })
	worker  = genserver.Define("myapp.agents.WorkerAgent", func(*genserver.Context, struct{}) (*nothing, error) { return &nothing{}, nil })
)

// load reads a text with both Types and the variables given as pairs.
func load(text string, vars ...string) (*topology.Topology, error) {
	return topology.Loader{Types: []genserver.Type{limiter, worker}, File: "t.yaml", Lookup: lookup(vars...)}.Load(strings.NewReader(text))
}

func lookup(vars ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(vars); i += 2 {
			if vars[i] == name {
				return vars[i+1], true
			}
		}
		return "", false
	}
}

func mustLoad(t *testing.T, text string, vars ...string) *topology.Topology {
	t.Helper()
	top, err := load(text, vars...)
	if err != nil {
		t.Fatalf("got %v, want no mistakes in:\n%s", err, text)
	}
	return top
}

// wantMistakes checks the whole text of a Load's error.
func wantMistakes(t *testing.T, err error, want string) {
	t.Helper()
	var mistakes topology.Mistakes
	if !errors.As(err, &mistakes) {
		t.Fatalf("got %v, want Mistakes", err)
	}
	if diff := cmp.Diff(strings.TrimSpace(want), err.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTenPlantedMistakes(t *testing.T) {
	t.Parallel()
	_, err := load(`supervision:
  name: root
  strategy: ONE_FOR_TWO
  max_restart: 5
  children:
    - name: limiter
      type: myapp.services.RateLimter
    - name: cache
      type: myapp.services.RateLimiter
      config: {capacity: many, evry: 5s}
      restart: never
    - name: cache
      type: myapp.agents.WorkerAgent
      shutdown: -1
    - name: my worker
      type: myapp.agents.WorkerAgent
      handle_timeout: 5 minutes
`)
	wantMistakes(t, err, `
t.yaml:3:13: strategy: "ONE_FOR_TWO" is none of one_for_one, one_for_all, rest_for_one (did you mean "one_for_one"?)
t.yaml:4:3: unknown key "max_restart" of the root supervisor; it may have name, strategy, max_restarts, restart_window, backoff, backoff_base, backoff_max, backoff_jitter, stop_within, auto_shutdown, types, children (did you mean "max_restarts"?)
t.yaml:7:13: unknown type "myapp.services.RateLimter"; the program has myapp.services.RateLimiter, myapp.agents.WorkerAgent (did you mean "myapp.services.RateLimiter"?)
t.yaml:10:26: capacity: want a whole number, got "many"
t.yaml:10:32: unknown key "evry" of config; it may have every, tags, capacity (did you mean "every"?)
t.yaml:11:16: restart: "never" is none of permanent, transient, temporary (did you mean "temporary"?)
t.yaml:12:13: name: "cache" is taken, at line 8 (names are unique in a tree, those of supervisors too)
t.yaml:14:17: shutdown: -1 is negative (write infinity for no limit)
t.yaml:15:13: name "my worker": byte ' ' at 2 is not allowed; a name is one or more tokens of [A-Za-z0-9_-] joined by dots, at most 200 bytes, not beginning with '_' ("my_worker" would do)
t.yaml:17:23: handle_timeout: want a duration as in 5s or 1m30s, or a number of seconds, got "5 minutes" (write 5m)
`)
}

func TestThePagesTopology(t *testing.T) {
	t.Parallel()
	top := mustLoad(t, `supervision:
  name: root
  strategy: ONE_FOR_ONE
  children:
    - name: rate_limiter
      type: myapp.services.RateLimiter
    - name: worker
      type: myapp.agents.WorkerAgent
`)
	got := top.Tree
	for i, want := range []supervisor.Child{
		{Name: "rate_limiter", Run: limiter.With(limiterConfig{}), Restart: supervisor.Permanent, Scope: supervisor.Cluster},
		{Name: "worker", Run: worker.With(struct{}{}), Restart: supervisor.Permanent, Scope: supervisor.Cluster},
	} {
		if !reflect.DeepEqual(got.Children[i], want) {
			t.Errorf("got child %+v, want %+v", got.Children[i], want)
		}
	}
	if got.MaxRestarts != 3 || got.RestartWindow != time.Minute || got.Strategy != supervisor.OneForOne || got.Backoff != (supervisor.Backoff{}) {
		t.Errorf("got %+v, want one_for_one, 3 restarts in a minute, no backoff", got)
	}
}
