package genserver_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

func TestFuturesAreAwaitedInAnyOrder(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
		synctest.Test(t, func(t *testing.T) {
			s := newSystem(t, genserver.Config{})
			start(t, s, "p", typ.With(hooks{}))
			var futures []*genserver.Future[Done]
			order := 0
			for i := range 100 {
				futures = append(futures, genserver.CallAsync(t.Context(), s.Ref("p"), Do{Fn: func(*genserver.Context) (Done, error) {
					if order != i {
						t.Errorf("got call %d at %d, want them in order", i, order)
					}
					order++
					if i == 7 {
						return Done{}, errNoSeat
					}
					return Done{i}, nil
				}}))
			}
			for i := 99; i >= 0; i-- {
				for range 2 {
					rep, err := futures[i].Await(t.Context())
					if i == 7 {
						wantErr(t, "call 7", err, errNoSeat, false)
					} else if rep.N != i || err != nil {
						t.Errorf("got %v, %v, want %d", rep, err, i)
					}
				}
			}
			untyped := genserver.CallAsync(t.Context(), s.Ref("p"), genserver.Map{"type": "do"})
			<-untyped.Done()
			if rep, err := untyped.Await(t.Context()); err != nil || len(rep) != 1 {
				t.Errorf("got %v, %v, want a Map", rep, err)
			}
			pass(time.Hour)
		})
	})
}

func TestFutureRefusals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		p := start(t, s, "p", TinyPuppet.With(hooks{}))
		await := func(ctx context.Context, r genserver.Ref) error {
			_, err := genserver.CallAsync(ctx, r, Do{}).Await(t.Context())
			return err
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		wantErr(t, "no server", await(t.Context(), s.Ref("nobody")), genserver.ErrNoProcess, true)
		wantErr(t, "the zero Ref", await(t.Context(), genserver.Ref{}), genserver.ErrNoProcess, true)
		wantErr(t, "an ended context", await(gone, s.Ref("p")), genserver.ErrTimeout, true)
		inside(t, s, "p", func(c *genserver.Context) {
			wantErr(t, "itself", await(c, c.Self()), genserver.ErrCallCycle, true)
		})
		_, err := genserver.CallAsync(t.Context(), s.Ref("p"), Unknown{}).Await(t.Context())
		wantErr(t, "an unknown op", err, genserver.ErrUnknownOp, true)

		leave := make(chan struct{})
		running := genserver.CallAsync(t.Context(), s.Ref("p"), Do{Fn: func(*genserver.Context) (Done, error) { <-leave; return Done{}, nil }})
		synctest.Wait()
		var queued []*genserver.Future[Done]
		for range 3 {
			queued = append(queued, genserver.CallAsync(t.Context(), s.Ref("p"), Do{}))
		}
		wantErr(t, "a full mailbox", await(t.Context(), s.Ref("p")), genserver.ErrOverloaded, true)
		began := time.Now()
		p.Kill()
		_, err = running.Await(t.Context())
		wantErr(t, "running", err, genserver.ErrExit, false)
		for _, f := range queued {
			_, err = f.Await(t.Context())
			wantErr(t, "queued", err, genserver.ErrExit, true)
		}
		if got := time.Since(began); got != 0 {
			t.Errorf("got them told after %v, want at once", got)
		}
		close(leave)
	})
}

func TestFutureTimeoutAndCancel(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(cancelCtx func(), fs ...*genserver.Future[Done]){
		"timeout": func(func(), ...*genserver.Future[Done]) {},
		"context": func(cancel func(), _ ...*genserver.Future[Done]) { cancel() },
		"cancel": func(_ func(), fs ...*genserver.Future[Done]) {
			for _, f := range fs {
				f.Cancel()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t, genserver.Config{})
				start(t, s, "p", Puppet.With(hooks{}))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				began, cancelled := time.Now(), false
				running := genserver.CallAsync(ctx, s.Ref("p"), Do{Fn: func(c *genserver.Context) (Done, error) {
					<-c.Done()
					cancelled = true
					pass(time.Second)
					return Done{1}, nil
				}}, genserver.WithTimeout(3*time.Second))
				queued := genserver.CallAsync(ctx, s.Ref("p"), Do{Fn: func(*genserver.Context) (Done, error) {
					t.Error("got a call handled that was given up")
					return Done{}, nil
				}}, genserver.WithTimeout(3*time.Second))
				synctest.Wait()

				soon, stop := context.WithTimeout(t.Context(), time.Second)
				defer stop()
				_, err := running.Await(soon)
				wantErr(t, "await", err, genserver.ErrTimeout, false)
				end(cancel, running, queued)
				_, err = running.Await(t.Context())
				wantErr(t, "running", err, genserver.ErrTimeout, false)
				_, err = queued.Await(t.Context())
				wantErr(t, "queued", err, genserver.ErrTimeout, true)
				want := time.Second
				if name == "timeout" {
					want = 3 * time.Second
				}
				if got := time.Since(began); got != want {
					t.Errorf("got the end after %v, want %v", got, want)
				}
				pass(time.Minute)
				if got := s.Stats(); !cancelled || got.LateReplies != 1 || got.Expired != 1 {
					t.Errorf("got the handler cancelled %v, %d late replies, %d expired; want true, 1, 1", cancelled, got.LateReplies, got.Expired)
				}
				flush(t, s, "p")
			})
		})
	}
}

func TestNoWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		p := startCluster(t, s, "p", Puppet.With(hooks{}))
		_, err := genserver.Call(t.Context(), s.Ref("p"), Do{}, genserver.NoWait())
		noErr(t, "call of the living", err)
		noErr(t, "stop", p.Stop(t.Context(), nil))
		began := time.Now()
		_, err = genserver.Call(t.Context(), s.Ref("p"), Do{}, genserver.NoWait())
		wantErr(t, "call", err, genserver.ErrNoProcess, true)
		_, err = genserver.CallAsync(t.Context(), s.Ref("p"), Do{}, genserver.NoWait()).Await(t.Context())
		wantErr(t, "async call", err, genserver.ErrNoProcess, true)
		wantErr(t, "strict cast", s.Ref("p").Cast(t.Context(), Tell{}, genserver.NoWait(), genserver.Strict()), genserver.ErrNoProcess, true)
		noErr(t, "cast", s.Ref("p").Cast(t.Context(), Tell{}, genserver.NoWait()))
		if got := time.Since(began); got != 0 || s.Stats().Dropped != 2 {
			t.Errorf("got %v and %d dropped, want at once and 2", got, s.Stats().Dropped)
		}
		waiting := genserver.CallAsync(t.Context(), s.Ref("p"), Do{})
		startCluster(t, s, "p", Puppet.With(hooks{}))
		_, err = waiting.Await(t.Context())
		noErr(t, "call that waited", err)
	})
}

func TestFutureOfAnotherNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{Node: "n1", Router: &fakeRouter{request: func(ctx context.Context, _ *genserver.Outgoing) (genserver.Body, error) {
			<-ctx.Done()
			return nil, genserver.ErrTimeout
		}}})
		for name, end := range map[string]func(*genserver.Future[Done]){
			"timeout": func(*genserver.Future[Done]) {},
			"cancel":  (*genserver.Future[Done]).Cancel,
		} {
			f := genserver.CallAsync(t.Context(), s.Ref("far"), Do{}, genserver.WithTimeout(time.Second))
			synctest.Wait()
			end(f)
			_, err := f.Await(t.Context())
			wantErr(t, name, err, genserver.ErrTimeout, false)
		}
	})
}
