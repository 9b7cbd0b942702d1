package topology_test

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/topology"
)

var update = flag.Bool("update", false, "rewrite schema.json and the golden files")

func TestSchemaIsCommitted(t *testing.T) {
	t.Parallel()
	want := topology.Schema()
	if *update {
		if err := os.WriteFile("schema.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("schema.json is not what Schema makes: run go test ./topology -run TestSchemaIsCommitted -update")
	}
}

// validator checks files against the schema of these Types.
func validator(t *testing.T, types ...genserver.Type) func(text string) error {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(topology.Schema(types...)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft7)
	if err := c.AddResource("topology.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("topology.json")
	if err != nil {
		t.Fatal(err)
	}
	return func(text string) error {
		var v any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			return err
		}
		return s.Validate(v)
	}
}

func TestSchemaAcceptsWhatLoads(t *testing.T) {
	t.Parallel()
	anyType, known := validator(t), validator(t, limiter, worker)
	for name, text := range goodFiles(t) {
		for what, check := range map[string]func(string) error{"without types": anyType, "with types": known} {
			if err := check(text); err != nil {
				t.Errorf("%s, %s: got %v, want it accepted", name, what, err)
			}
		}
	}
}

func TestSchemaRefuses(t *testing.T) {
	t.Parallel()
	anyType, known := validator(t), validator(t, limiter, worker)
	const child = "supervision: {children: [{name: a, type: myapp.services.RateLimiter%s}]}"
	with := func(keys string) string { return strings.Replace(child, "%s", keys, 1) }
	if err := anyType(with("")); err != nil {
		t.Fatalf("got %v, want the child accepted", err)
	}
	for _, text := range []string{
		"{}",
		"[]",
		"supervision: {}",
		"supervision: {children: {}}",
		"supervision: {children: [], strategy: one_for_two}",
		"supervision: {children: [], max_restarts: -1}",
		"supervision: {children: [], max_restarts: 1.5}",
		"supervision: {children: [], max_restart: 1}",
		"supervision: {children: [], restart_window: 0}",
		"supervision: {children: [], restart_window: 5 seconds}",
		"supervision: {children: [], backoff: quick}",
		"supervision: {children: [], backoff_jitter: 0.5}",
		"supervision: {children: [], spread: true}",
		"supervision: {children: []}\nstate: {}",
		"supervision: {children: []}\ntransport: {type: zmq}",
		"supervision: {children: []}\nnode: a.b",
		"supervision: {children: [{name: a}]}",
		"supervision: {children: [{type: x}]}",
		"supervision: {children: [{name: a b, type: x}]}",
		"supervision: {children: [{name: _a, type: x}]}",
		"supervision: {children: [{name: a, type: supervisor}]}",
		"supervision: {children: [{agent: {name: a}}]}",
		"supervision: {children: [{agent: {name: a, type: x}, name: b}]}",
		"supervision: {children: [{supervisor: {name: a, type: x, children: []}}]}",
		"supervision: {children: [{name: a, type: dynamic_supervisor, max_children: 0}]}",
		with(", restart: never"),
		with(", shutdown: 0"),
		with(", shutdown: -1s"),
		with(", significant: 1"),
		with(", scope: global"),
		with(", children: []"),
	} {
		if anyType(text) == nil {
			t.Errorf("%s: got it accepted, want it refused", text)
		}
		if _, err := load(text); err == nil {
			t.Errorf("%s: got it loaded, want it refused by Load too", text)
		}
	}
	for _, text := range []string{
		"supervision: {children: [{name: a, type: myapp.Other}]}",
		with(", config: {capacity: x}"),
		with(", config: {capacty: 1}"),
		with(", config: {every: soon}"),
		with(", config: {tags: a}"),
	} {
		if anyType(text) != nil || known(text) == nil {
			t.Errorf("%s: want it accepted without the Types, and refused with them", text)
		}
	}
}

func TestTheDocsFileIsAsTheySay(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../docs/topology.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(doc), "```yaml\n")
	text, _, ok := strings.Cut(text, "```")
	if !ok {
		t.Fatal("docs/topology.md shows no file")
	}
	top, err := topology.Loader{AnyType: true, Lookup: lookup("CREDS", "n1.creds")}.Load(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := len(top.Root.Children); got != 3 {
		t.Errorf("got %d children, want 3", got)
	}
	if err := validator(t)(text); err != nil {
		t.Errorf("got %v, want the schema to accept it", err)
	}
}
