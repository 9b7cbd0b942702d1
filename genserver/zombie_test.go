package genserver_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/civitas-go/civitas/genserver"
)

// hangHere is what a stack must show.
//
//go:noinline
func hangHere(leave <-chan struct{}) { <-leave }

// counts is how often each text is in the log.
func (l *logBook) counts(texts ...string) (n []int) {
	for _, text := range texts {
		n = append(n, strings.Count(l.String(), text))
	}
	return n
}

func TestZombieIsReportedAndCounted(t *testing.T) {
	t.Parallel()
	for what, hang := range map[string]func(s *genserver.System, typ *genserver.TypeOf[hooks], leave chan struct{}) *genserver.Process{
		`call \"do\"`: func(s *genserver.System, typ *genserver.TypeOf[hooks], leave chan struct{}) *genserver.Process {
			p := start(t, s, "p", typ.With(hooks{}))
			callAsync(context.Background(), p.Ref(), Do{Fn: func(*genserver.Context) (Done, error) { hangHere(leave); return Done{}, nil }})
			return p
		},
		`cast \"tell\"`: func(s *genserver.System, typ *genserver.TypeOf[hooks], leave chan struct{}) *genserver.Process {
			p := start(t, s, "p", typ.With(hooks{}))
			noErr(t, "cast", p.Ref().Cast(context.Background(), Tell{Fn: func(*genserver.Context) error { hangHere(leave); panic("late") }}))
			return p
		},
		"init": func(s *genserver.System, typ *genserver.TypeOf[hooks], leave chan struct{}) *genserver.Process {
			p, err := s.Spawn("p", typ.With(hooks{init: func(*genserver.Context) error { hangHere(leave); return errBroken }}), genserver.SpawnOptions{})
			noErr(t, "spawn", err)
			return p
		},
		"terminate": func(s *genserver.System, typ *genserver.TypeOf[hooks], leave chan struct{}) *genserver.Process {
			p := start(t, s, "p", typ.With(hooks{terminate: func(*genserver.Context, error) { hangHere(leave) }}))
			p.RequestStop(nil)
			return p
		},
	} {
		t.Run(what, func(t *testing.T) {
			bothPaths(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
				synctest.Test(t, func(t *testing.T) {
					book := &logBook{}
					s := newSystem(t, genserver.Config{Logger: book.logger()})
					start(t, s, "bystander", typ.With(hooks{}))
					bystander := make(chan struct{})
					callAsync(t.Context(), s.Ref("bystander"), Do{Fn: func(*genserver.Context) (Done, error) { <-bystander; return Done{}, nil }})
					leave := make(chan struct{})
					p := hang(s, typ, leave)
					synctest.Wait()
					p.Kill()
					p.Kill()
					next := start(t, s, "p", typ.With(hooks{}))
					if got := s.Stats(); got.Zombies != 1 || got.ZombiesTotal != 1 {
						t.Errorf("got %d zombies of %d, want 1 of 1", got.Zombies, got.ZombiesTotal)
					}
					log := book.String()
					for _, want := range []string{"level=WARN", "server=p ", fmt.Sprintf("generation=%d ", p.Generation()), "type=" + typ.Name(), what, "hangHere", "zombie_test.go"} {
						if strings.Count(log, want) == 0 {
							t.Errorf("got report %q, want %q in it", log, want)
						}
					}
					close(leave)
					synctest.Wait()
					if got := s.Stats(); got.Zombies != 0 || got.ZombiesTotal != 1 {
						t.Errorf("got %d zombies of %d after the return, want 0 of 1", got.Zombies, got.ZombiesTotal)
					}
					if got, want := fmt.Sprint(book.counts("has not returned", "has returned")), "[1 1]"; got != want {
						t.Errorf("got reports of the zombie and its end %v, want %v", got, want)
					}
					noErr(t, "stop", next.Stop(t.Context(), nil))
					close(bystander)
				})
			})
		})
	}
}

func TestKillOfTheIdleMakesNoZombie(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
		synctest.Test(t, func(t *testing.T) {
			book := &logBook{}
			s := newSystem(t, genserver.Config{Logger: book.logger()})
			p := start(t, s, "p", typ.With(hooks{}))
			flush(t, s, "p")
			synctest.Wait()
			p.Kill()
			if got := s.Stats(); got.ZombiesTotal != 0 || book.String() != "" {
				t.Errorf("got %d zombies and log %q, want none", got.ZombiesTotal, book.String())
			}
		})
	})
}
