package genserver_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/civitas-go/civitas/genserver"
)

func TestMailboxIsBounded(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		typ  *genserver.TypeOf[hooks]
		size int
	}{{"default", Puppet, 1000}, {"Mailbox(3)", TinyPuppet, 3}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t, genserver.Config{})
				p := start(t, s, "p", tc.typ.With(hooks{}))
				release := hold(t, s, "p")
				handled := 0
				count := func(*genserver.Context) error { handled++; return nil }
				for range tc.size {
					noErr(t, "cast", s.Ref("p").Cast(t.Context(), Tell{Fn: count}, genserver.Strict()))
				}
				_, err := genserver.Call(t.Context(), s.Ref("p"), Do{})
				wantErr(t, "call", err, genserver.ErrOverloaded, true)
				_, err = genserver.Call(t.Context(), s.Ref("p"), genserver.Map{"type": "do"})
				wantErr(t, "untyped call", err, genserver.ErrOverloaded, true)
				noErr(t, "cast", s.Ref("p").Cast(t.Context(), Tell{Fn: count}))
				wantErr(t, "strict cast", s.Ref("p").Cast(t.Context(), Tell{Fn: count}, genserver.Strict()), genserver.ErrOverloaded, true)
				wantErr(t, "strict info", s.Ref("p").Send(t.Context(), Note{Fn: count}, genserver.Strict()), genserver.ErrOverloaded, true)
				for range 2 * tc.size { // signals are not held back
					if !p.Signal(Note{Fn: count}) {
						t.Error("got Signal = false, want true")
					}
				}
				release()
				synctest.Wait()
				flush(t, s, "p")
				if got, want := handled, 3*tc.size; got != want {
					t.Errorf("got %d handled, want %d", got, want)
				}
				if got, want := s.Stats(), (genserver.Stats{Dropped: 3}); got != want {
					t.Errorf("got stats %+v, want %+v", got, want)
				}
			})
		})
	}
}

func TestSignalsGoAheadOfTheQueue(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{})
	p := start(t, s, "p", Puppet.With(hooks{}))
	release := hold(t, s, "p")
	var got []string
	say := func(what string) func(*genserver.Context) error {
		return func(*genserver.Context) error { got = append(got, what); return nil }
	}
	for _, what := range []string{"cast 1", "cast 2"} {
		noErr(t, "cast", s.Ref("p").Cast(t.Context(), Tell{Fn: say(what)}))
	}
	for _, what := range []string{"signal 1", "signal 2"} {
		p.Signal(Note{Fn: say(what)})
	}
	release()
	flush(t, s, "p")
	if want := []string{"signal 1", "signal 2", "cast 1", "cast 2"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	noErr(t, "stop", p.Stop(t.Context(), nil))
	if p.Signal(Note{}) {
		t.Error("got Signal = true of a dead process, want false")
	}
}

// What is still queued when a server ends is accounted for.
func TestCastsLeftInTheMailboxAreCounted(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*genserver.Process){
		"stop": func(p *genserver.Process) { p.RequestStop(nil) }, "kill": (*genserver.Process).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			s := newSystem(t, genserver.Config{})
			p := start(t, s, "p", Puppet.With(hooks{}))
			release := hold(t, s, "p")
			for range 5 {
				noErr(t, "cast", s.Ref("p").Cast(t.Context(), Tell{}))
			}
			end(p)
			release()
			wait(t, "the end", p.Exited())
			noErr(t, "stop", s.Stop(t.Context()))
			if got, want := s.Stats().Dropped, uint64(5); got != want {
				t.Errorf("got %d dropped, want %d", got, want)
			}
		})
	}
}
