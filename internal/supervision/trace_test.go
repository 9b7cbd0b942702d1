package supervision

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the traces in testdata")

// TestTraces replays the stories in testdata: commands above the line, what
// the core answers below. testdata/README.md explains the commands.
func TestTraces(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("got traces %v, %v, want some", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := replay(string(want))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s: the trace differs (-want +got); -update accepts it:\n%s", file, diff)
			}
		})
	}
}

// replay runs a trace and returns it with the answers filled in.
func replay(text string) (string, error) {
	var out strings.Builder
	tr := &trace{spec: Spec{MaxRestarts: 3, Window: 5 * time.Second}}
	answers := false // reading old answers, to be replaced
	for n, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		switch {
		case line == "----":
			answers = true
			fmt.Fprintf(&out, "----\n%s", tr.answers())
			continue
		case line == "":
			answers = false
		case answers:
			continue
		case !strings.HasPrefix(line, "#"):
			if err := tr.command(strings.Fields(line)); err != nil {
				return "", fmt.Errorf("line %d: %q: %w", n+1, line, err)
			}
		}
		out.WriteString(line + "\n")
	}
	return out.String(), nil
}

// trace is a core under replay, with its clock and timers.
type trace struct {
	spec   Spec
	core   *Core
	now    time.Duration
	timers map[uint64]time.Duration // when they are due
	token  uint64                   // of the last request
	out    strings.Builder
}

func (tr *trace) answers() string {
	text := tr.out.String()
	tr.out.Reset()
	if text == "" {
		return "(nothing)\n"
	}
	return text
}

func (tr *trace) command(words []string) error {
	verb, args := words[0], words[1:]
	switch verb {
	case "spec":
		return tr.parseSpec(args)
	case "child":
		ch, err := parseChild(args)
		tr.spec.Children = append(tr.spec.Children, ch)
		return err
	}
	if tr.core == nil {
		core, err := New(tr.spec)
		if err != nil {
			return err
		}
		tr.core, tr.timers = core, map[uint64]time.Duration{}
	}
	switch {
	case verb == "start":
		tr.step(Start{})
	case verb == "stop":
		tr.step(Stop{Reason: reason(args)})
	case verb == "add" && len(args) > 0:
		ch, err := parseChild(args)
		if err != nil {
			return err
		}
		tr.step(AddChild{Token: tr.next(), Child: ch})
	case verb == "terminate" && len(args) == 1:
		tr.step(TerminateChild{Token: tr.next(), ID: args[0]})
	case verb == "restart" && len(args) == 1:
		tr.step(RestartChild{Token: tr.next(), ID: args[0]})
	case verb == "delete" && len(args) == 1:
		tr.step(DeleteChild{Token: tr.next(), ID: args[0]})
	case verb == "phase":
		fmt.Fprintln(&tr.out, tr.core.Phase())
	case verb == "children":
		tr.list()
	case verb == "wait" && len(args) == 1:
		d, err := time.ParseDuration(args[0])
		if err != nil {
			return err
		}
		tr.wait(d)
	case verb == "fire" && len(args) == 1:
		token, err := strconv.ParseUint(args[0], 10, 64)
		if err != nil {
			return err
		}
		tr.step(TimerFired{Token: token})
	case verb == "up" && len(args) == 1:
		id, generation := tr.child(args[0])
		tr.step(ChildStarted{ID: id, Generation: generation})
	case verb == "fail" && len(args) > 1:
		id, generation := tr.child(args[0])
		tr.step(StartFailed{ID: id, Generation: generation, Reason: reason(args[1:])})
	case verb == "exit" && len(args) > 1:
		tr.step(tr.exit(args[0], args[1:]))
	case verb == "lost" && len(args) > 1:
		var lost ChildrenLost
		for _, name := range args[:len(args)-1] {
			lost.Exits = append(lost.Exits, tr.exit(name, args[len(args)-1:]))
		}
		tr.step(lost)
	default:
		return errors.New("unknown command, or wrong arguments")
	}
	return nil
}

func (tr *trace) next() uint64 {
	tr.token++
	fmt.Fprintf(&tr.out, "request %d\n", tr.token)
	return tr.token
}

func (tr *trace) step(e Event) {
	for _, a := range tr.core.Step(tr.now, e) {
		fmt.Fprintln(&tr.out, a)
		switch a := a.(type) {
		case StartTimer:
			tr.timers[a.Token] = tr.now + a.Delay
		case CancelTimer:
			delete(tr.timers, a.Token)
		}
	}
}

// wait lets time pass and fires the timers that fall due, in order.
func (tr *trace) wait(d time.Duration) {
	end := tr.now + d
	for {
		due, token := end+1, uint64(0)
		for t, at := range tr.timers {
			if at < due || at == due && t < token {
				due, token = at, t
			}
		}
		if token == 0 {
			break
		}
		tr.now = due
		delete(tr.timers, token)
		fmt.Fprintf(&tr.out, "timer %d fires\n", token)
		tr.step(TimerFired{Token: token})
	}
	tr.now = end
}

func (tr *trace) list() {
	w := tabwriter.NewWriter(&tr.out, 0, 0, 1, ' ', 0)
	for _, s := range tr.core.Children() {
		last := ""
		if s.LastReason != nil {
			last = fmt.Sprintf("\tlast: %v", s.LastReason)
		}
		fmt.Fprintf(w, "%s#%d\t%v\trestarts: %d%s\n", s.ID, s.Generation, s.Status, s.Restarts, last)
	}
	w.Flush()
}

func (tr *trace) exit(name string, words []string) ChildExited {
	id, generation := tr.child(name)
	e := ChildExited{ID: id, Generation: generation, Reason: reason(words)}
	switch words[0] {
	case "normal":
		e.Class = ClassNormal
	case "shutdown":
		e.Class = ClassShutdown
	case "fenced", "fenced:":
		e.Class = ClassFenced
	}
	return e
}

// child reads a#2, or a for its last generation.
func (tr *trace) child(name string) (id string, generation uint64) {
	id, number, explicit := strings.Cut(name, "#")
	if explicit {
		generation, _ = strconv.ParseUint(number, 10, 64)
		return id, generation
	}
	for _, s := range tr.core.Children() {
		if s.ID == id {
			return id, s.Generation
		}
	}
	return id, 0
}

func reason(words []string) error {
	if len(words) == 0 {
		words = []string{"shutdown"}
	}
	return errors.New(strings.Join(words, " "))
}

func (tr *trace) parseSpec(args []string) (err error) {
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		switch key {
		case "within":
			tr.spec.StopWithin, err = time.ParseDuration(value)
		case "auto":
			tr.spec.AutoShutdown, err = parse(value, AnySignificant, AllSignificant)
		case "dynamic":
			tr.spec.Dynamic = true
		case "children":
			tr.spec.MaxChildren, err = strconv.Atoi(value)
		case "spawns":
			tr.spec.MaxSpawns, err = strconv.Atoi(value)
		case "max":
			tr.spec.MaxRestarts, err = strconv.Atoi(value)
		case "window":
			tr.spec.Window, err = time.ParseDuration(value)
		case "backoff":
			err = tr.parseBackoff(strings.Split(value, ":"))
		case "jitter":
			tr.spec.Backoff.Jitter, err = strconv.ParseFloat(value, 64)
		case "rand":
			var r float64
			r, err = strconv.ParseFloat(value, 64)
			tr.spec.Rand = func() float64 { return r }
		default:
			tr.spec.Strategy, err = parse(key, OneForOne, OneForAll, RestForOne)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (tr *trace) parseBackoff(parts []string) (err error) {
	b := &tr.spec.Backoff
	if b.Growth, err = parse(parts[0], Constant, Linear, Exponential); err != nil {
		return err
	}
	for i, to := range []*time.Duration{&b.Base, &b.Max} {
		if i+1 < len(parts) && err == nil {
			*to, err = time.ParseDuration(parts[i+1])
		}
	}
	return err
}

func parseChild(args []string) (ch Child, err error) {
	ch = Child{ID: args[0], Shutdown: Shutdown(5 * time.Second)}
	for _, arg := range args[1:] {
		switch arg {
		case "brutal":
			ch.Shutdown = Brutal
		case "significant":
			ch.Significant = true
		case "alone":
			ch.Alone = true
		case "told":
			ch.Told = true
		case "infinite":
			ch.Shutdown = Infinite
		default:
			if ch.Restart, err = parse(arg, Permanent, Transient, Temporary); err != nil {
				return ch, err
			}
		}
	}
	return ch, nil
}

// parse finds the value that prints as the word.
func parse[T fmt.Stringer](word string, values ...T) (T, error) {
	i := slices.IndexFunc(values, func(v T) bool { return v.String() == word })
	if i < 0 {
		var zero T
		return zero, fmt.Errorf("got %q, want one of %v", word, values)
	}
	return values[i], nil
}
