package genserver_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

func TestCallTimeouts(t *testing.T) {
	t.Parallel()
	sec := time.Second
	for _, tc := range []struct {
		name    string
		timeout func(context.Context) (context.Context, context.CancelFunc)
		opts    []genserver.Option
		want    time.Duration
		is      error // besides ErrTimeout
	}{
		{"default", nil, nil, 5 * sec, nil},
		{"option", nil, []genserver.Option{genserver.WithTimeout(2 * sec)}, 2 * sec, nil},
		{"longer option", nil, []genserver.Option{genserver.WithTimeout(time.Minute)}, time.Minute, nil},
		{"deadline", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, sec)
		}, nil, sec, context.DeadlineExceeded},
		{"deadline beyond the default", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 9*sec)
		}, nil, 5 * sec, nil},
		{"no timeout but the deadline", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Hour)
		}, []genserver.Option{genserver.WithTimeout(0)}, time.Hour, context.DeadlineExceeded},
		{"cancel", func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(3*sec, cancel)
			return ctx, cancel
		}, nil, 3 * sec, context.Canceled},
	} {
		for _, queued := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/queued=%v", tc.name, queued), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newSystem(t, genserver.Config{})
					start(t, s, "slow", Puppet.With(hooks{}))
					var release func()
					if queued {
						release = hold(t, s, "slow")
					}
					ctx := t.Context()
					if tc.timeout != nil {
						var cancel context.CancelFunc
						ctx, cancel = tc.timeout(ctx)
						defer cancel()
					}
					leave := make(chan struct{})
					ran := false
					began := time.Now()
					_, err := genserver.Call(ctx, s.Ref("slow"), Do{Fn: func(*genserver.Context) (Done, error) {
						ran = true
						<-leave
						return Done{}, nil
					}}, tc.opts...)
					if got := time.Since(began); got != tc.want {
						t.Errorf("got an end after %v, want %v", got, tc.want)
					}
					wantErr(t, "call", err, genserver.ErrTimeout, queued)
					for _, is := range []error{context.Canceled, context.DeadlineExceeded} {
						if got, want := errors.Is(err, is), is == tc.is; got != want {
							t.Errorf("got errors.Is(%v, %v) = %v, want %v", err, is, got, want)
						}
					}
					close(leave)
					if queued {
						release()
					}
					flush(t, s, "slow")
					if ran == queued {
						t.Errorf("got handler ran = %v, want %v", ran, !queued)
					}
					want := genserver.Stats{Expired: 1}
					if !queued {
						want = genserver.Stats{LateReplies: 1}
					}
					if got := s.Stats(); got != want {
						t.Errorf("got stats %+v, want %+v", got, want)
					}
				})
			})
		}
	}
}

func TestCallWithAnEndedContextIsNotSent(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
		s := newSystem(t, genserver.Config{})
		start(t, s, "p", typ.With(hooks{}))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := genserver.Call(ctx, s.Ref("p"), Do{Fn: func(*genserver.Context) (Done, error) {
			t.Error("got a handler that ran, want none")
			return Done{}, nil
		}})
		wantErr(t, "call", err, genserver.ErrTimeout, true)
		wantErr(t, "call", err, context.Canceled, true)
		flush(t, s, "p")
	})
}

// A handler whose own caller has left calls nobody with its context.
func TestCallWithAnAbandonedHandlersContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		start(t, s, "a", Puppet.With(hooks{}))
		start(t, s, "b", FastPuppet.With(hooks{}))
		nested := make(chan error, 1)
		_, err := genserver.Call(t.Context(), s.Ref("a"), Do{Fn: func(c *genserver.Context) (Done, error) {
			pass(2 * time.Second)
			_, err := genserver.Call(c, c.Ref("b"), Do{Fn: func(*genserver.Context) (Done, error) {
				t.Error("got a handler that ran, want none")
				return Done{}, nil
			}})
			nested <- err
			return Done{}, nil
		}}, genserver.WithTimeout(time.Second))
		wantErr(t, "outer call", err, genserver.ErrTimeout, false)
		wantErr(t, "nested call", <-nested, genserver.ErrTimeout, true)
	})
}

// The handler learns that its caller has left, by any of three ways.
func TestCallersLeavingCancelsTheHandler(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(context.Context, genserver.Ref, Do) error{
		"typed": func(ctx context.Context, r genserver.Ref, m Do) error {
			_, err := genserver.Call(ctx, r, m, genserver.WithTimeout(time.Second))
			return err
		},
		"cancelled": func(ctx context.Context, r genserver.Ref, m Do) error {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			_, err := genserver.Call(ctx, r, m)
			return err
		},
		"deadline": func(ctx context.Context, r genserver.Ref, m Do) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			_, err := genserver.Call(ctx, r, m)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t, genserver.Config{})
				start(t, s, "p", Puppet.With(hooks{}))
				cause := make(chan error, 1)
				err := call(t.Context(), s.Ref("p"), Do{Fn: func(c *genserver.Context) (Done, error) {
					<-c.Done()
					cause <- context.Cause(c)
					return Done{}, c.Err()
				}})
				wantErr(t, "call", err, genserver.ErrTimeout, false)
				if got := <-cause; !errors.Is(got, genserver.ErrTimeout) && !errors.Is(got, context.DeadlineExceeded) {
					t.Errorf("got cause %v, want the caller's", got)
				}
				flush(t, s, "p")
			})
		})
	}
}

// The same for a caller whose request goes through the codec.
func TestErasedCallersLeavingCancelsTheHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		ended := make(chan error, 1)
		typ := genserver.Define("test.Waits", func(*genserver.Context, struct{}) (*struct{}, error) { return &struct{}{}, nil },
			genserver.HandleCall(func(_ *struct{}, c *genserver.Context, _ Ask) (Done, error) {
				<-c.Done()
				ended <- c.Err()
				return Done{}, nil
			}))
		start(t, s, "p", typ.With(struct{}{}))
		_, err := genserver.Call(t.Context(), s.Ref("p"), genserver.Map{"type": "ask"}, genserver.WithTimeout(time.Second))
		wantErr(t, "call", err, genserver.ErrTimeout, false)
		if got := <-ended; !errors.Is(got, context.Canceled) {
			t.Errorf("got %v, want context canceled", got)
		}
		synctest.Wait()
		if got, want := s.Stats(), (genserver.Stats{LateReplies: 1}); got != want {
			t.Errorf("got stats %+v, want %+v", got, want)
		}
	})
}

// An erased call whose deadline is over while it is queued never runs, and its
// caller knows it.
func TestErasedCallExpiresInTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		p := start(t, s, "p", orderTypes["typed"].With(struct{}{}))
		gate := make(chan struct{})
		blocker := genserver.Define("test.Blocker", func(*genserver.Context, struct{}) (*struct{}, error) {
			<-gate
			return &struct{}{}, nil
		}, genserver.HandleCall(func(*struct{}, *genserver.Context, Ask) (Done, error) {
			t.Error("got a handler that ran, want none")
			return Done{}, nil
		}))
		q, err := s.Spawn("blocked", blocker.With(struct{}{}), genserver.SpawnOptions{})
		noErr(t, "spawn", err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = genserver.Call(ctx, q.Ref(), genserver.Map{"type": "ask"})
		wantErr(t, "call", err, genserver.ErrTimeout, true)
		close(gate)
		synctest.Wait()
		if got, want := s.Stats().Expired, uint64(1); got != want {
			t.Errorf("got %d expired, want %d", got, want)
		}
		_ = p
	})
}

func TestUnknownName(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{Node: "n1"})
	var zero genserver.Ref
	for name, ref := range map[string]genserver.Ref{
		"unknown": s.Ref("nobody"), "other node": s.Ref("nobody").On("n2"), "this node": s.Ref("nobody").On("n1"), "zero": zero,
	} {
		t.Run(name, func(t *testing.T) {
			before := s.Stats().Dropped
			_, err := genserver.Call(t.Context(), ref, Do{})
			wantErr(t, "call", err, genserver.ErrNoProcess, true)
			_, err = genserver.Call(t.Context(), ref, genserver.Map{"type": "do"})
			wantErr(t, "untyped call", err, genserver.ErrNoProcess, true)
			wantErr(t, "strict cast", ref.Cast(t.Context(), Tell{}, genserver.Strict()), genserver.ErrNoProcess, true)
			wantErr(t, "stop", ref.Stop(t.Context(), nil), genserver.ErrNoProcess, true)
			if name == "zero" {
				return // there is no System that could count
			}
			noErr(t, "cast", ref.Cast(t.Context(), Tell{}))
			noErr(t, "send", ref.Send(t.Context(), Note{}))
			if got, want := s.Stats().Dropped-before, uint64(3); got != want {
				t.Errorf("got %d dropped, want %d", got, want)
			}
		})
	}
}

type (
	Unknown     struct{ genserver.Returns[Done] }
	UnknownCast struct{ genserver.OneWay }
	UnknownInfo struct{ genserver.Signal }
)

func (Unknown) Op() string     { return "unknown" }
func (UnknownCast) Op() string { return "unknown" }
func (UnknownInfo) Op() string { return "unknown" }

func TestUnknownOp(t *testing.T) {
	t.Parallel()
	book := &logBook{}
	s := newSystem(t, genserver.Config{Logger: book.logger()})
	p := start(t, s, "p", Puppet.With(hooks{}))
	release := hold(t, s, "p") // a busy server answers this too
	_, err := genserver.Call(t.Context(), s.Ref("p"), Unknown{})
	wantErr(t, "call", err, genserver.ErrUnknownOp, true)
	_, err = genserver.Call(t.Context(), s.Ref("p"), genserver.Map{"type": "tell"}) // a cast's op
	wantErr(t, "call of a cast's op", err, genserver.ErrUnknownOp, true)
	release()
	noErr(t, "cast", s.Ref("p").Cast(t.Context(), UnknownCast{}))
	noErr(t, "send", s.Ref("p").Send(t.Context(), UnknownInfo{}))
	wantErr(t, "strict cast", s.Ref("p").Cast(t.Context(), UnknownCast{}, genserver.Strict()), genserver.ErrUnknownOp, true)
	if !p.Signal(UnknownInfo{}) {
		t.Error("got Signal = false, want true: the server lives")
	}
	flush(t, s, "p")
	if got, want := s.Stats(), (genserver.Stats{Dropped: 4, UnknownOps: 6}); got != want {
		t.Errorf("got stats %+v, want %+v", got, want)
	}
	if got := book.String(); strings.Count(got, "message dropped") != 1 {
		t.Errorf("got log %q, want one line a second", got)
	}
}

var errNoSeat = genserver.NewError("booking.no_seat", "no seat left")

func TestHandlerErrors(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
		s := newSystem(t, genserver.Config{})
		start(t, s, "p", typ.With(hooks{}))
		start(t, s, "dead", typ.With(hooks{}))
		for _, tc := range []struct {
			name string
			err  error
			is   *genserver.Error
			not  []*genserver.Error
			text string
		}{
			{"plain", errors.New("it broke"), genserver.ErrHandler, nil, "p: it broke"},
			{"user's", errNoSeat, errNoSeat, []*genserver.Error{genserver.ErrHandler}, "p: no seat left"},
			{"user's, wrapped", fmt.Errorf("book: %w", errNoSeat), errNoSeat, nil, "p: book: no seat left"},
			{
				"runtime's", &genserver.Error{Code: "overloaded", Server: "other", Undelivered: true}, genserver.ErrHandler,
				[]*genserver.Error{genserver.ErrOverloaded},
				"p: other: mailbox is full",
			},
			{"timeout", fmt.Errorf("ask: %w", genserver.ErrTimeout), genserver.ErrHandler, []*genserver.Error{genserver.ErrTimeout}, "p: ask: no reply in time"},
			{
				"exit", &genserver.Error{Code: "exit", Reason: genserver.Killed}, genserver.ErrHandler,
				[]*genserver.Error{genserver.ErrExit, genserver.Killed},
				"p: server exited: killed",
			},
		} {
			t.Run(tc.name, func(t *testing.T) {
				for path, call := range map[string]func(context.Context) error{
					"call": func(ctx context.Context) error {
						_, err := genserver.Call(ctx, s.Ref("p"), Do{Fn: func(*genserver.Context) (Done, error) { return Done{N: 1}, tc.err }})
						return err
					},
				} {
					err := call(t.Context())
					wantErr(t, path, err, tc.is, false)
					for _, not := range tc.not {
						if errors.Is(err, not) {
							t.Errorf("got errors.Is(%v, %v), want not", err, not)
						}
					}
					if got := err.Error(); got != tc.text {
						t.Errorf("got text %q, want %q", got, tc.text)
					}
					var e *genserver.Error
					if !errors.As(err, &e) || e.Server != "p" {
						t.Errorf("got %#v, want an *Error of server p", err)
					}
				}
				flush(t, s, "p") // it lives on
			})
		}
	})
}

// No reply may reach another call, however calls end. Replies are checked
// against their requests while timeouts, cancellations, kills and crashes
// race with the answers.
func TestLateRepliesNeverLeak(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
		s := newSystem(t, genserver.Config{})
		var current atomic.Pointer[genserver.Process]
		spawn := func() {
			p, err := s.Start(context.Background(), "p", typ.With(hooks{}), genserver.SpawnOptions{})
			if err == nil {
				current.Store(p)
			} else if !errors.Is(err, genserver.ErrNameTaken) {
				t.Errorf("start: got %v, want nil", err)
			}
		}
		spawn()
		stop := make(chan struct{})
		var wg, chaos sync.WaitGroup
		chaos.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				switch rand.IntN(3) {
				case 0:
					current.Load().Kill()
				case 1:
					_ = s.Ref("p").Cast(context.Background(), Tell{Fn: func(*genserver.Context) error { return errors.New("chaos") }})
				case 2:
					_, _ = genserver.Call(context.Background(), s.Ref("p"), Do{Fn: func(*genserver.Context) (Done, error) { panic("chaos") }},
						genserver.WithTimeout(time.Millisecond))
				}
				<-time.After(time.Duration(rand.IntN(300)) * time.Microsecond)
				spawn()
			}
		})
		var answered, failed atomic.Int64
		for caller := range 16 {
			wg.Go(func() {
				for i := 0; i < 400; i++ {
					want := caller*1000 + i
					timeout := time.Duration(1 + rand.IntN(300_000))
					ctx, cancel := context.Background(), context.CancelFunc(func() {})
					if i%3 == 0 {
						ctx, cancel = context.WithTimeout(ctx, time.Duration(1+rand.IntN(300_000)))
					}
					rep, err := genserver.Call(ctx, s.Ref("p"), Do{Fn: func(*genserver.Context) (Done, error) {
						if want%7 == 0 {
							<-time.After(time.Duration(rand.IntN(40)) * time.Microsecond)
						}
						return Done{want}, nil
					}}, genserver.WithTimeout(timeout))
					cancel()
					switch {
					case errors.Is(err, genserver.ErrNoProcess):
						spawn()
						i--
					case err != nil:
						failed.Add(1)
						if rep.N != 0 {
							t.Errorf("got reply %d with error %v, want none", rep.N, err)
						}
					case rep.N != want:
						t.Errorf("got the reply %d, want %d", rep.N, want)
					default:
						answered.Add(1)
					}
				}
			})
		}
		wg.Wait()
		close(stop)
		chaos.Wait()
		if answered.Load() == 0 || failed.Load() == 0 {
			t.Errorf("got %d answered and %d failed calls, want some of each", answered.Load(), failed.Load())
		}
	})
}
