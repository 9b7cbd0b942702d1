package topology_test

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
	"github.com/civitas-go/civitas/topology"
)

func TestEveryKeyCounts(t *testing.T) {
	t.Parallel()
	top := mustLoad(t, goodFiles(t)["every_key.yaml"])
	want := supervisor.Spec{
		Strategy: supervisor.RestForOne, MaxRestarts: supervisor.NoRestarts, RestartWindow: 90 * time.Second,
		Backoff:    supervisor.Backoff{Growth: supervisor.Exponential, Base: 500 * time.Millisecond, Max: 30 * time.Second, Jitter: 0.1},
		StopWithin: 20 * time.Second, AutoShutdown: supervisor.AnySignificant, Types: []genserver.Type{worker},
		Children: []supervisor.Child{
			{
				Name: "limiter", Restart: supervisor.Transient, Shutdown: 2500 * time.Millisecond, Scope: supervisor.Cluster, Significant: true,
				Run: limiter.With(limiterConfig{Capacity: 100, Every: time.Second, Tags: []string{"a", "b"}}).Watchdog(0, time.Minute),
			},
			{
				Name: "cache", Restart: supervisor.Temporary, Shutdown: supervisor.BrutalKill,
				Run: limiter.With(limiterConfig{}).Watchdog(2*time.Second, 16*time.Second), // missed at 2, 9 and 16 s
			},
			{
				Name: "pool", Restart: supervisor.Permanent, Shutdown: supervisor.Infinity,
				Run: supervisor.Spec{Strategy: supervisor.OneForAll, MaxRestarts: 3, RestartWindow: time.Minute},
			},
			{
				Name: "jobs", Restart: supervisor.Transient, Shutdown: 30 * time.Second, Significant: true,
				Run: supervisor.Dynamic{
					MaxChildren: 20, MaxSpawns: 1000, MaxRestarts: 5, RestartWindow: 10 * time.Second,
					Backoff:    supervisor.Backoff{Growth: supervisor.Linear, Base: time.Second, Max: time.Minute},
					StopWithin: time.Minute, AutoShutdown: supervisor.AllSignificant, Types: []genserver.Type{worker},
				},
			},
		},
	}
	if !reflect.DeepEqual(top.Tree, want) {
		t.Errorf("got %+v\nwant %+v", top.Tree, want)
	}
	transport := topology.Transport{Type: "nats", Servers: []string{"nats://a.example.com:4222", "tls://b.example.com"}, Credentials: "n1.creds"}
	if top.Node != "n1" || top.Cluster != "prod" || !reflect.DeepEqual(top.Transport, transport) {
		t.Errorf("got node %q, cluster %q, transport %+v, want n1, prod, %+v", top.Node, top.Cluster, top.Transport, transport)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	top := mustLoad(t, `supervision: {children: [
		{name: exp, backoff: exponential, children: []},
		{name: long, backoff: constant, backoff_base: 90, children: []},
		{name: dyn, type: dynamic_supervisor},
		{name: beat, type: myapp.agents.WorkerAgent, heartbeat_interval: 10}]}`)
	for i, want := range []genserver.Runnable{
		supervisor.Spec{MaxRestarts: 3, RestartWindow: time.Minute, Backoff: supervisor.Backoff{Growth: supervisor.Exponential, Base: time.Second, Max: time.Minute, Jitter: 0.25}},
		supervisor.Spec{MaxRestarts: 3, RestartWindow: time.Minute, Backoff: supervisor.Backoff{Growth: supervisor.Constant, Base: 90 * time.Second, Max: 90 * time.Second}},
		supervisor.Dynamic{MaxRestarts: 3, RestartWindow: time.Minute, Types: []genserver.Type{limiter, worker}},
		worker.With(struct{}{}).Watchdog(2*time.Second, 26*time.Second),
	} {
		if got := top.Tree.Children[i].Run; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", top.Tree.Children[i].Name, got, want)
		}
	}
	if !reflect.DeepEqual(top.Transport, topology.Transport{}) || top.Node != "" || top.Cluster != "" {
		t.Errorf("got %+v, want the settings left open", top)
	}
	if got := mustLoad(t, "transport: {}\nsupervision: {children: []}").Transport.Type; got != "in_process" {
		t.Errorf("got transport %q, want in_process", got)
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ written, want string }{
		{"a", "a"},
		{"${X}", "x"},
		{"a-${X}.${Y}-b", "a-x.y-b"},
		{"${NO:-d}", "d"},
		{"${EMPTY:-d}", "d"},
		{"${NO:-}", ""},
		{"${EMPTY}", ""},
		{"${X:-d}", "x"},
		{"$$", "$"},
		{"$${X}", "${X}"},
		{"$$$$${X}", "$$x"},
		{"${FIVE}", "5"},
		{"${NO:-a:-b}", "a:-b"},
		{"${NO:-5}", "5"},
	} {
		text := "supervision: {children: [{name: a, type: myapp.services.RateLimiter, config: {tags: [\"" + tc.written + "\"]}}]}"
		top := mustLoad(t, text, "X", "x", "Y", "y", "EMPTY", "", "FIVE", "5")
		want := limiter.With(limiterConfig{Tags: []string{tc.want}})
		if got := top.Tree.Children[0].Run; !reflect.DeepEqual(got, genserver.Runnable(want)) {
			t.Errorf("%s: got %+v, want %+v", tc.written, got, want)
		}
	}
	top := mustLoad(t, `
supervision:
  strategy: ${STRATEGY}
  max_restarts: ${RESTARTS}
  restart_window: "${WINDOW:-2m}"
  children:
    - name: limiter_${REGION}
      type: ${PACKAGE}.RateLimiter
      shutdown: ${SHUTDOWN}
      significant: ${NO:-false}
      config:
        capacity: "${CAPACITY}"
        every: ${EVERY}
`, "STRATEGY", "ONE_FOR_ALL", "RESTARTS", "7", "REGION", "eu", "PACKAGE", "myapp.services", "SHUTDOWN", "infinity", "CAPACITY", "12", "EVERY", "0.25")
	want := supervisor.Spec{
		Strategy: supervisor.OneForAll, MaxRestarts: 7, RestartWindow: 2 * time.Minute,
		Children: []supervisor.Child{{
			Name: "limiter_eu", Restart: supervisor.Permanent, Shutdown: supervisor.Infinity, Scope: supervisor.Cluster,
			Run: limiter.With(limiterConfig{Capacity: 12, Every: 250 * time.Millisecond}),
		}},
	}
	if !reflect.DeepEqual(top.Tree, want) {
		t.Errorf("got %+v\nwant %+v", top.Tree, want)
	}
}

func TestFilesHaveNames(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "t.yaml")
	if err := os.WriteFile(path, []byte("supervision: 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = topology.Load(f)
	wantMistakes(t, err, path+":1:14: the root supervisor is a mapping of keys to values, got 5")
}
