package topology_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/topology"
)

func TestMistakes(t *testing.T) {
	t.Parallel()
	// child is a file with one server, its last keys open.
	child := func(keys string) string {
		return "supervision:\n  children:\n    - {name: a, type: myapp.agents.WorkerAgent" + keys + "}\n"
	}
	root := func(keys string) string { return "supervision: {children: []" + keys + "}\n" }
	cases := []struct{ name, text string }{
		// The file as a whole.
		{"empty", ""},
		{"comments alone", "# nothing\n"},
		{"null", "---\n...\n"},
		{"a text", "hello"},
		{"a list", "- a"},
		{"no supervision", "node: n1"},
		{"supervisor", "supervisor: {}"},
		{"not YAML", "supervision:\n  name: a: b\n"},
		{"tabs", "supervision:\n\tname: a\n"},
		{"not closed", "supervision: ["},
		{"a bare reference", "node: n1\nsupervision: {name: ${X}}\n"},
		{"unknown anchor", "supervision: *x"},
		{"two documents", root("") + "---\nnode: n1\n"},
		{"second is not YAML", root("") + "---\na: b: c\n"},
		{"not UTF-8", "node: n1\nsupervision: \xff"},
		{"control characters", "node: \x00"},
		{"too large", strings.Repeat("#", 1<<20+1)},
		{"too deep", strings.Repeat("[", 200)},
		{"a bomb", bomb()},
		{"a cycle", "node: &a [*a]"},
		{"a key twice", root("") + "node: a\nnode: b\n"},
		{"a key is no word", root("") + "[a]: b\n"},
		{"merge of a text", root("") + "<<: a\n"},
		{"state", root("") + "state: {type: sqlite}\n"},
		{"plugins", root("") + "plugins: {}\n"},
		{"node", root("") + "node: a.b\n"},
		{"cluster", root("") + "cluster: agent\n"},

		// The transport.
		{"zmq", root("") + "transport: {type: zmq}\n"},
		{"jetstream", root("") + "transport: {type: nats, jetstream: true}\n"},
		{"servers alone", root("") + "transport: {servers: nats://a}\n"},
		{"servers in process", root("") + "transport: {type: in_process, servers: a}\n"},
		{"no URL", root("") + "transport: {type: nats, servers: [\"http://a\", 1, {}, \"nats://\"]}\n"},
		{"no servers", root("") + "transport: {type: nats, servers: []}\n"},
		{"transport a word", root("") + "transport: nats\n"},

		// Supervisors.
		{"no children", "supervision: {name: a}"},
		{"children a mapping", "supervision: {children: {a: b}}"},
		{"children nothing", "supervision:\n  children:\n"},
		{"supervision nothing", "supervision:\n"},
		{"strategy", root(", strategy: one_for_one_for_all")},
		{"strategy a list", root(", strategy: []")},
		{"strategy nothing", root(", strategy: ")},
		{"restarts a text", root(", max_restarts: three")},
		{"restarts negative", root(", max_restarts: -1")},
		{"restarts a part", root(", max_restarts: 1.5")},
		{"restarts many", root(", max_restarts: 99999999999")},
		{"restarts no number", root(", max_restarts: 99999999999999999999")},
		{"window zero", root(", restart_window: 0")},
		{"window negative", root(", restart_window: -5s")},
		{"window in words", root(", restart_window: 5 min")},
		{"window quoted", root(`, restart_window: "60"`)},
		{"window in days", root(", restart_window: 2d")},
		{"window infinite", root(", restart_window: .inf")},
		{"window no number", root(", restart_window: .nan")},
		{"window true", root(", restart_window: true")},
		{"backoff", root(", backoff: EXPONENTIALLY")},
		{"base without", root(", backoff_base: 1")},
		{"base above max", root(", backoff: linear, backoff_base: 10, backoff_max: 5s")},
		{"jitter", root(", backoff: linear, backoff_jitter: 0.5")},
		{"spread", root(", spread: true")},
		{"restart of the root", root(", restart: permanent")},
		{"type of supervisor", "supervision: {children: [{supervisor: {name: p, type: myapp.agents.WorkerAgent, children: []}}]}"},
		{"scope of supervisor", "supervision: {children: [{name: p, scope: cluster, children: []}]}"},
		{"nested no children", "supervision: {children: [{supervisor: {name: p}}]}"},
		{"limit zero", "supervision: {children: [{name: p, type: dynamic_supervisor, max_children: 0}]}"},
		{"dynamic strategy", "supervision: {children: [{name: p, type: dynamic_supervisor, strategy: one_for_all}]}"},
		{"limit twice", "supervision: {children: [{name: p, type: dynamic_supervisor, max_children: 5, config: {max_children: 6}}]}"},
		{"dynamic config", "supervision: {children: [{name: p, type: dynamic_supervisor, config: 5}]}"},
		{"types", root(", types: [myapp.services.RateLimiter, RateLimiter, [], myapp.agents.Worker]")},

		// Children.
		{"child a word", "supervision: {children: [worker]}"},
		{"no name", "supervision: {children: [{type: myapp.agents.WorkerAgent}]}"},
		{"no type", "supervision: {children: [{name: a}]}"},
		{"name of the root", "supervision:\n  name: a\n  children:\n    - {name: a, children: []}\n"},
		{"name taken", "supervision:\n  children:\n    - {name: a, type: myapp.agents.WorkerAgent}\n    - {name: p, children: [{name: a, scope: local, type: myapp.agents.WorkerAgent}]}\n"},
		{"name of runtime", "supervision: {children: [{name: _a, children: []}]}"},
		{"name empty", "supervision: {children: [{name: '', children: []}]}"},
		{"name a number", "supervision: {children: [{name: 5, children: []}]}"},
		{"type unknown", "supervision: {children: [{name: a, type: some.Other}]}"},
		{"type a list", "supervision: {children: [{name: a, type: []}]}"},
		{"two kinds", "supervision: {children: [{agent: {name: a, type: myapp.agents.WorkerAgent}, server: {}}]}"},
		{"agent not indented", "supervision:\n  children:\n    - agent:\n      name: a\n      type: myapp.agents.WorkerAgent\n"},
		{"agent alone", "supervision: {children: [{agent: }]}"},
		{"module and class", "supervision: {children: [{name: a, type: gen_server, module: m, class: C}]}"},
		{"restart", child(", restart: permanently")},
		{"shutdown", child(", shutdown: forever")},
		{"shutdown zero", child(", shutdown: 0")},
		{"shutdown a word", child(", shutdown: kill")},
		{"scope", child(", scope: global")},
		{"public but local", child(", scope: local, public: true")},
		{"not public", child(", public: false")},
		{"public a number", child(", public: 1")},
		{"significant", child(", significant: true")},
		{"significant alone", child(", significant: true, restart: transient")},
		{"two watchdogs", child(", handle_timeout: 5, heartbeat_interval: 5")},
		{"missed", child(", missed_heartbeats_threshold: 0")},
		{"missed beyond time", child(", heartbeat_interval: 1000000h, missed_heartbeats_threshold: 2000000000")},
		{"heartbeats short", child(", missed_heartbeats: 2")},
		{"on_partition", child(", on_partition: stay")},
		{"on_partition of a local server", child(", scope: local, on_partition: keep")},
		{"placement a word", child(", placement: n1")},
		{"placement of a local server", child(", scope: local, placement: {node: n1}")},
		{"placement on a node", child(", placement: {node: n.1}")},
		{"placement by labels", child(", placement: {labels: [role]}")},
		{"placement by odd labels", child(", placement: {labels: {role: a b, ' x': y, zone: [a]}}")},
		{"placement's keys", child(", placement: {nodes: n1}")},
		{"placement of the root", "supervision: {placement: {node: n1}, children: []}"},
		{"placement below", "supervision: {children: [{name: p, children: [{name: a, type: myapp.agents.WorkerAgent, placement: {node: n1}}]}]}"},
		{"process", child(", process: worker")},
		{"children", child(", children: []")},
		{"config of none", child(", config: {a: 1}")},
		{"config a list", child(", config: []")},

		// References.
		{"not set", root(", name: \"${NAME}\"")},
		{"two not set", root(", name: \"${A}${B}\"")},
		{"a shell's", root(", name: $NAME")},
		{"a dollar", root(", name: a$")},
		{"not ended", root(", name: \"${NAME\"")},
		{"no variable", root(", name: \"${a-b}\"")},
		{"not a number", root(", max_restarts: \"${FIVE:-five}\"")},
		{"too much text", root(", name: \"" + strings.Repeat("${BIG}", 3) + "\"")},
	}
	var got strings.Builder
	for _, tc := range cases {
		_, err := load(tc.text, "BIG", strings.Repeat("x", 1<<19))
		var mistakes topology.Mistakes
		if !errors.As(err, &mistakes) {
			t.Errorf("%s: got %v, want Mistakes", tc.name, err)
		}
		fmt.Fprintf(&got, "== %s\n%s\n", tc.name, pointed(tc.text, mistakes))
	}
	golden(t, "mistakes.txt", got.String())
}

// pointed is a text with its mistakes below the places that they are at.
func pointed(text string, mistakes topology.Mistakes) string {
	const widest = 120
	var b strings.Builder
	lines := strings.Split(strings.TrimSuffix(text, "\n")+"\n", "\n")
	for i, line := range lines {
		if i == len(lines)-1 && len(mistakes) == 0 {
			break
		}
		b.WriteString("  " + strings.ToValidUTF8(line[:min(len(line), widest)], "?") + "\n")
		for len(mistakes) > 0 && mistakes[0].Line == i+1 {
			at := mistakes[0]
			_, message, _ := strings.Cut(at.Error(), ": ")
			b.WriteString("  " + strings.Repeat(" ", at.Column-1) + "^ " + message + "\n")
			mistakes = mistakes[1:]
		}
	}
	for _, left := range mistakes {
		b.WriteString("  NOWHERE " + left.Error() + "\n")
	}
	return b.String()
}

// bomb is a small file that stands for a large one.
func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 9; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	return b.String()
}

func TestMistakesSayWhere(t *testing.T) {
	t.Parallel()
	_, err := topology.Load(strings.NewReader("supervision:\n  children:\n    - supervisor:\n        name: p\n        children: [{name: a, type: X, restart: y}]\n"), limiter)
	var got topology.Mistakes
	if !errors.As(err, &got) || len(got) != 2 {
		t.Fatalf("got %v, want two Mistakes", err)
	}
	want := topology.Mistakes{
		{File: "topology", Line: 5, Column: 36, Path: "supervision.children[0].supervisor.children[0].type", Message: `unknown type "X"; the program has myapp.services.RateLimiter`},
		{File: "topology", Line: 5, Column: 48, Path: "supervision.children[0].supervisor.children[0].restart", Message: `restart: "y" is none of permanent, transient, temporary`},
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %+v, want %+v", got[i], want[i])
		}
	}
}

func TestManyMistakesAreCounted(t *testing.T) {
	t.Parallel()
	text := "supervision:\n  children:\n" + strings.Repeat("    - {name: a}\n", 500)
	_, err := load(text)
	var got topology.Mistakes
	if !errors.As(err, &got) || len(got) != 201 || got[200].Message != "and 799 mistakes more" {
		t.Errorf("got %d mistakes, the last %v, want 200 and how many more", len(got), got[len(got)-1])
	}
}

func TestProgramErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		types []genserver.Type
		want  string
	}{
		"nil":   {[]genserver.Type{limiter, nil}, "load topology: Types[1] is nil"},
		"twice": {[]genserver.Type{limiter, limiter}, `load topology: two Types named "myapp.services.RateLimiter"`},
	} {
		if _, err := topology.Load(strings.NewReader("supervision: {children: []}"), tc.types...); err == nil || err.Error() != tc.want {
			t.Errorf("%s: got %v, want %s", name, err, tc.want)
		}
	}
	broken := errors.New("broken")
	if _, err := topology.Load(failing{broken}); !errors.Is(err, broken) {
		t.Errorf("got %v, want the reader's error", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
func (f failing) Name() string             { return "f.yaml" }
