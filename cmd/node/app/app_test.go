package app_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/civitas-go/civitas/cmd/node/app"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

func TestMain(m *testing.M) {
	testscript.Main(withoutLeaks{m}, map[string]func(){
		"civitas": func() { os.Exit(app.Main(app.Options{})) },
		// A program of a user's, with a server whose handler takes its time.
		"myapp": func() {
			os.Exit(app.Main(app.Options{Name: "myapp", Version: "1.2.3", Tree: slowTree, Types: []genserver.Type{slowType}}))
		},
	})
}

type withoutLeaks struct{ m *testing.M }

func (w withoutLeaks) Run() int {
	dir, err := os.MkdirTemp("", "civitas-test")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	os.Setenv("XDG_CONFIG_HOME", dir) // where NATS contexts are
	os.Setenv("CIVITAS_TEST_HUSH", "hush")
	code := w.m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// Sleep is a call that takes a while, and says on stderr that it has begun.
type Sleep struct {
	genserver.Returns[Slept]
	Millis int `json:"millis"`
}

type Slept struct {
	OK bool `json:"ok"`
}

func (Sleep) Op() string { return "sleep" }

var slowType = genserver.Define("myapp.Slow",
	func(*genserver.Context, struct{}) (*struct{}, error) { return &struct{}{}, nil },
	genserver.HandleCall(func(_ *struct{}, _ *genserver.Context, s Sleep) (Slept, error) {
		fmt.Fprintln(os.Stderr, "the handler has begun")
		<-time.After(time.Duration(s.Millis) * time.Millisecond)
		return Slept{OK: true}, nil
	}))

var slowTree = supervisor.Spec{Strategy: supervisor.RestForOne, Children: []supervisor.Child{
	{Name: "slow", Scope: supervisor.Cluster, Run: slowType.With(struct{}{})},
	{Name: "below", Run: supervisor.Spec{Children: []supervisor.Child{
		{Name: "own", Run: genserver.Define("myapp.Own",
			func(*genserver.Context, struct{}) (*struct{}, error) { return &struct{}{}, nil }).With(struct{}{})},
	}}},
}}

func TestScripts(t *testing.T) {
	t.Parallel()
	checkout, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Values[nodesKey{}] = map[string]*process{}
			e.Values[collectorsKey{}] = map[string]*collector{}
			e.Setenv("TMPDIR", e.WorkDir)
			// What `init` makes is built as on this machine, with its module proxy.
			e.Setenv("CIVITAS", checkout)
			e.Setenv("GOFLAGS", "-mod=mod")
			for _, key := range []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB", "GONOSUMDB"} {
				value, err := exec.Command("go", "env", key).Output()
				if err != nil {
					return err
				}
				e.Setenv(key, strings.TrimSpace(string(value)))
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start": cmdStart, "await": cmdAwait, "end": cmdEnd, "exits": cmdExits, "json": cmdJSON, "freeport": cmdFreePort,
			"get": cmdGet, "eventually": cmdEventually, "signal": cmdSignal, "collector": cmdCollector, "collected": cmdCollected,
		},
	})
}

// readyTime is how soon a node must be ready.
const readyTime = 20 * time.Second

type nodesKey struct{}

// process is a command in the background.
type process struct {
	*exec.Cmd
	stdout, stderr *output
	waited         chan error
}

// output keeps what a process wrote, and says when there is more.
type output struct {
	mu    sync.Mutex
	text  strings.Builder
	lines chan string
}

func newOutput(r io.Reader) *output {
	o := &output{lines: make(chan string, 1000)}
	go func() {
		for s := bufio.NewScanner(r); s.Scan(); {
			o.mu.Lock()
			o.text.WriteString(s.Text() + "\n")
			o.mu.Unlock()
			o.lines <- s.Text()
		}
		close(o.lines)
	}()
	return o
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// awaitLine waits for a line that has the text in it.
func (o *output) awaitLine(text string, d time.Duration) (string, bool) {
	late := time.After(d)
	for {
		select {
		case line, ok := <-o.lines:
			if !ok {
				return "", false
			}
			if strings.Contains(line, text) {
				return line, true
			}
		case <-late:
			return "", false
		}
	}
}

// cmdStart is `start NAME COMMAND ARG…`: it runs a command in the background.
func cmdStart(ts *testscript.TestScript, _ bool, args []string) {
	cmd := exec.Command(args[1], args[2:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = os.Environ()
	for _, key := range []string{"TMPDIR", "NATS_URL", "NATS", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER"} {
		cmd.Env = append(cmd.Env, key+"="+ts.Getenv(key))
	}
	stdout, err := cmd.StdoutPipe()
	ts.Check(err)
	stderr, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	p := &process{Cmd: cmd, stdout: newOutput(stdout), stderr: newOutput(stderr), waited: make(chan error, 1)}
	go func() { // Cmd.Wait would close the pipes before they are read to their ends
		state, err := cmd.Process.Wait()
		cmd.ProcessState = state
		p.waited <- err
	}()
	ts.Value(nodesKey{}).(map[string]*process)[args[0]] = p
	ts.Defer(func() { _ = cmd.Process.Kill() })
}

// cmdAwait is `await NAME ready`, which sets $NAME_URL, $NAME_HTTP and $NAME_ADDR, or `await NAME stderr
// TEXT`, or the same with stdout.
func cmdAwait(ts *testscript.TestScript, _ bool, args []string) {
	p := ts.Value(nodesKey{}).(map[string]*process)[args[0]]
	if out, ok := map[string]*output{"stdout": p.stdout, "stderr": p.stderr}[args[1]]; ok {
		if _, ok := out.awaitLine(args[2], time.Minute); !ok {
			ts.Fatalf("%s of %s: got %q, want %q in it", args[1], args[0], out, args[2])
		}
		return
	}
	began := time.Now()
	line, ok := p.stdout.awaitLine("", 20*time.Second)
	var ready struct{ Event, NATS, HTTP string }
	if !ok || json.Unmarshal([]byte(line), &ready) != nil || ready.Event != "ready" {
		ts.Fatalf("%s: got %q as its first line, and on stderr %q; want a ready event", args[0], line, p.stderr)
	}
	took := time.Since(began)
	ts.Logf("%s is ready after %v", args[0], took)
	if took > readyTime {
		ts.Fatalf("%s: got ready after %v, want at most %v", args[0], took, readyTime)
	}
	ts.Setenv(args[0]+"_URL", ready.NATS)
	ts.Setenv(args[0]+"_HTTP", ready.HTTP)
	ts.Setenv(args[0]+"_ADDR", strings.TrimPrefix(ready.HTTP, "http://"))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".json"), []byte(line), 0o600))
}

// cmdSignal is `signal NAME TERM`.
func cmdSignal(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(ts.Value(nodesKey{}).(map[string]*process)[args[0]].Process.Signal(signals[args[1]]))
}

var signals = map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL}

// cmdEnd is `end NAME SIGNAL CODE`: it sends the signal, or none for "-", and
// wants the code. TERM… sends SIGTERM until the process has ended. The code of
// a process that a signal ended is -1. NAME.out and NAME.err are what it wrote.
func cmdEnd(ts *testscript.TestScript, _ bool, args []string) {
	p := ts.Value(nodesKey{}).(map[string]*process)[args[0]]
	signal := signals[strings.TrimSuffix(args[1], "…")]
	var again <-chan time.Time
	if strings.HasSuffix(args[1], "…") {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		again = tick.C
	}
	if args[1] != "-" {
		ts.Check(p.Process.Signal(signal))
	}
	late := time.After(15 * time.Second)
	for ended := false; !ended; {
		select {
		case err := <-p.waited:
			ts.Check(err)
			ended = true
		case <-again:
			_ = p.Process.Signal(signal)
		case <-late:
			ts.Fatalf("%s: got no end within 15s of %s, stderr %q", args[0], args[1], p.stderr)
		}
	}
	p.stdout.awaitLine("\x00", time.Second) // until the pipes end
	p.stderr.awaitLine("\x00", time.Second)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".out"), []byte(p.stdout.String()), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".err"), []byte(p.stderr.String()), 0o600))
	if got := strconv.Itoa(p.ProcessState.ExitCode()); got != args[2] {
		ts.Fatalf("%s after %s: got exit code %s, want %s; stderr %q", args[0], args[1], got, args[2], p.stderr)
	}
}

// cmdExits is `exits CODE COMMAND ARG…`; the command must end by itself, and soon.
func cmdExits(ts *testscript.TestScript, _ bool, args []string) {
	began := time.Now()
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if want := args[0]; strconv.Itoa(code) != want {
		ts.Fatalf("%s: got exit code %d, want %s", strings.Join(args[1:], " "), code, want)
	}
	if took := time.Since(began); took > 30*time.Second {
		ts.Fatalf("%s: took %v, want an end at once", strings.Join(args[1:], " "), took)
	}
}

// cmdJSON is `json FILE KEY…`: the file, or stdout, is one line that holds one
// JSON object with just these keys.
func cmdJSON(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	var object map[string]any
	if err := json.Unmarshal([]byte(text), &object); err != nil || strings.Count(strings.TrimSpace(text), "\n") > 0 {
		ts.Fatalf("%s: got %q, want one line of JSON", args[0], text)
	}
	for _, key := range args[1:] {
		if _, ok := object[key]; !ok {
			ts.Fatalf("%s: got %s, want a %q", args[0], text, key)
		}
		delete(object, key)
	}
	if len(object) > 0 {
		ts.Fatalf("%s: got %v besides what is wanted", args[0], object)
	}
}

// cmdFreePort is `freeport NAME`: it sets $NAME to a port that nobody has.
func cmdFreePort(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	ts.Check(err)
	ts.Check(l.Close())
	ts.Setenv(args[0], port)
}
