package genserver_test

import (
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/civitas-go/civitas/genserver"
)

// login and session have secrets; only one of them says what may be seen.
type (
	login struct {
		genserver.OneWay
		User, Password string
		fail           func() error
	}
	session struct{ user, token string }
	vault   struct{ key string }
)

func (login) Op() string { return "login" }

func (l login) LogValue() slog.Value { return slog.GroupValue(slog.String("user", l.User)) }

func (s *session) LogValue() slog.Value { return slog.StringValue("session of " + s.user) }

func TestCrashReportShowsWhatTypesShow(t *testing.T) {
	t.Parallel()
	var (
		open = genserver.Define("test.Session",
			func(*genserver.Context, struct{}) (*session, error) {
				return &session{user: "ann", token: "secret"}, nil
			},
			genserver.HandleCast(func(_ *session, _ *genserver.Context, m login) error { return m.fail() }),
			genserver.HandleTerminate(func(s *session, _ *genserver.Context, _ error) { s.user = "nobody" }))
		closed = genserver.Define("test.Vault",
			func(*genserver.Context, struct{}) (*vault, error) { return &vault{key: "secret"}, nil },
			genserver.HandleInfo(func(_ *vault, _ *genserver.Context, m Note) error { return m.Fn(nil) }))
	)
	for name, fail := range map[string]func() error{
		"error":  func() error { return errBroken },
		"panic":  func() error { panic("boom") },
		"Goexit": func() error { runtime.Goexit(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, tc := range []struct {
				typ  genserver.Runnable
				send func(genserver.Ref) error
				want []string
			}{
				{open.With(struct{}{}), func(r genserver.Ref) error {
					return r.Cast(t.Context(), login{User: "bob", Password: "secret", fail: fail})
				}, []string{`handling="cast \"login\""`, "message.user=bob", `state="session of ann"`}},
				{closed.With(struct{}{}), func(r genserver.Ref) error {
					return r.Send(t.Context(), Note{Fn: func(*genserver.Context) error { return fail() }})
				}, []string{`handling="info \"note\""`, "message=genserver_test.Note", "state=*genserver_test.vault"}},
			} {
				book := &logBook{}
				s := newSystem(t, genserver.Config{Logger: book.logger()})
				p := start(t, s, "p", tc.typ)
				noErr(t, "send", tc.send(p.Ref()))
				wait(t, "the end", p.Exited())
				log := book.String()
				for _, want := range append(tc.want, "server crashed", "reason=") {
					if strings.Count(log, want) != 1 {
						t.Errorf("got report %q, want %q in it once", log, want)
					}
				}
				if strings.Count(log, "secret") > 0 {
					t.Errorf("got report %q with a secret in it", log)
				}
			}
		})
	}
}

func TestCrashIsReportedOnceHoweverTerminateEnds(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		terminate func(leave chan struct{})
		reports   int
	}{
		"killed": {func(leave chan struct{}) { <-leave }, 1},
		"panics": {func(chan struct{}) { panic("at the end") }, 2},
		"Goexit": {func(chan struct{}) { runtime.Goexit() }, 2},
		"fine":   {func(chan struct{}) {}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				book := &logBook{}
				s := newSystem(t, genserver.Config{Logger: book.logger()})
				leave := make(chan struct{})
				p := start(t, s, "p", Puppet.With(hooks{terminate: func(*genserver.Context, error) { tc.terminate(leave) }}))
				noErr(t, "cast", p.Ref().Cast(t.Context(), Tell{Fn: func(*genserver.Context) error { return errBroken }}))
				synctest.Wait()
				p.Kill()
				close(leave)
				synctest.Wait()
				if got := book.counts("server crashed", `reason="it broke"`, "state=*genserver_test.puppet"); got[0] != tc.reports || got[1] != 1 || got[2] != 1 {
					t.Errorf("got %d reports, %d of the crash, %d with the state, want %d, 1, 1: %s", got[0], got[1], got[2], tc.reports, book)
				}
			})
		})
	}
}
