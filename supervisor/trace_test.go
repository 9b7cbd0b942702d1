package supervisor_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

var update = flag.Bool("update", false, "rewrite the traces in testdata")

// TestTraces compares what a story leads to, as servers and the log tell it,
// with the trace in testdata. The core's own decisions are traced in
// internal/supervision; here is what comes of them.
func TestTraces(t *testing.T) {
	for name, story := range map[string]func(*story){
		"crash_rest_for_one": func(s *story) {
			s.start(supervisor.Spec{Strategy: supervisor.RestForOne, Children: []supervisor.Child{
				s.w.child("config"),
				s.w.child("db"),
				{Name: "web", Run: supervisor.Spec{Children: s.w.children("http", "metrics")}},
			}})
			s.after(time.Second).crash("db", "connection lost")
			s.after(time.Second).stop()
		},
		"escalate_to_root": func(s *story) {
			s.start(supervisor.Spec{MaxRestarts: 1, Children: []supervisor.Child{
				s.w.child("config"),
				{Name: "pool", Run: supervisor.Spec{
					Strategy: supervisor.OneForAll, MaxRestarts: 1, Children: s.w.children("w1", "w2"),
				}},
			}})
			for range 4 {
				s.after(time.Second).crash("w1", "error")
			}
		},
		"backoff_and_recovery": func(s *story) {
			db := s.w.child("db")
			s.w.onInit["db"] = func(_ *genserver.Context, life int) error {
				if life == 1 || life > 4 {
					return nil
				}
				return fmt.Errorf("dial: %w", errBroken)
			}
			s.start(supervisor.Spec{
				MaxRestarts: 5, RestartWindow: time.Minute,
				Backoff:  supervisor.Backoff{Growth: supervisor.Exponential, Base: time.Second, Max: 10 * time.Second},
				Children: []supervisor.Child{db, s.w.child("cache")},
			})
			s.after(time.Second).crash("db", "connection lost")
			s.after(time.Minute).crash("db", "connection lost again")
			s.after(time.Minute).stop()
		},
		"stuck_child": func(s *story) {
			slow := s.w.child("slow")
			slow.Shutdown = 2 * time.Second
			s.start(supervisor.Spec{Strategy: supervisor.OneForAll, Children: []supervisor.Child{slow, s.w.child("fast")}})
			s.after(time.Second).say("a call to slow hangs")
			s.w.stuck("slow")
			s.crash("fast", "oops")
			s.after(10 * time.Second).say("the call goes on, and is not heard")
			s.w.open()
			s.after(time.Hour).stop()
		},
		"stop_overdue": func(s *story) {
			s.start(supervisor.Spec{StopWithin: 3 * time.Second, Children: []supervisor.Child{
				s.w.child("config"),
				{Name: "pool", Run: supervisor.Spec{Children: s.w.children("w1", "w2")}},
				s.w.child("web"),
			}})
			s.w.onTerminate["w2"] = func() { <-s.w.gate }
			s.after(time.Second).stop()
		},
		"start_fails": func(s *story) {
			s.w.onInit["w2"] = func(*genserver.Context, int) error { return errBroken }
			s.start(supervisor.Spec{Children: []supervisor.Child{
				s.w.child("config"),
				{Name: "pool", Run: supervisor.Spec{Children: s.w.children("w1", "w2", "w3")}},
				s.w.child("web"),
			}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got string
			t.Run("bubble", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { got = tell(t, story) })
			})
			file := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s: the trace differs (-want +got); -update accepts it:\n%s", file, diff)
			}
		})
	}
}

// story acts in a world. What it does is traced with a > before it.
type story struct {
	w    *world
	root *genserver.Process
}

func tell(t *testing.T, act func(*story)) string {
	s := &story{}
	w := newWorld(t, genserver.Config{Logger: slog.New(&noter{s: s})})
	s.w = w
	act(s)
	synctest.Wait()
	w.mu.Lock()
	text := strings.Join(w.lines, "\n") + "\n"
	w.mu.Unlock()
	w.close()
	return strings.TrimPrefix(text, "\n")
}

func (s *story) say(format string, args ...any) {
	s.w.note("")
	s.w.note("> %v: %s", s.w.now(), fmt.Sprintf(format, args...))
}

func (s *story) start(spec supervisor.Spec) {
	s.say("start root")
	root, err := s.w.sys.Start(context.Background(), "root", spec, genserver.SpawnOptions{})
	if err != nil {
		s.w.note("%v", err)
	}
	s.root = root
	synctest.Wait()
}

func (s *story) after(d time.Duration) *story {
	<-time.After(d)
	synctest.Wait()
	return s
}

func (s *story) crash(name, how string) {
	s.say("%s: %s", name, how)
	_ = s.w.crash(name, how)
}

func (s *story) stop() {
	s.say("stop root")
	s.w.stop(s.root)
	synctest.Wait()
}

// noter notes what the runtime logs, as far as it makes a story.
type noter struct{ s *story }

func (n *noter) Enabled(context.Context, slog.Level) bool { return true }
func (n *noter) WithAttrs([]slog.Attr) slog.Handler       { return n }
func (n *noter) WithGroup(string) slog.Handler            { return n }

func (n *noter) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "zombie") {
		return nil // when a handler returns is no part of the story
	}
	var line strings.Builder
	fmt.Fprintf(&line, "%-5v %s:", r.Level, r.Message)
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "servers", "stop_within", "server", "generation", "reason", "restarts", "supervisor", "shutdown":
			fmt.Fprintf(&line, " %s=%v", a.Key, a.Value)
		}
		return true
	})
	n.s.w.note("%v %s", n.s.w.now(), line.String())
	return nil
}
