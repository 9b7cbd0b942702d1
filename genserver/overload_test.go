package genserver_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

var Patient = genserver.Define("test.Patient", newPuppet, puppetHandlers(genserver.Mailbox[puppet](2), genserver.BlockCasts[puppet]())...)

func TestBlockedCastsKeepTheirOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		p := start(t, s, "p", Patient.With(hooks{}))
		release := hold(t, s, "p")
		var got, want []int
		var sent atomic.Int32
		for i := range 10 {
			go func() {
				noErr(t, "cast", p.Ref().Cast(t.Context(), Tell{Fn: func(*genserver.Context) error { got = append(got, i); return nil }}, genserver.Strict()))
				sent.Add(1)
			}()
			synctest.Wait()
			want = append(want, i)
		}
		pass(time.Hour)
		if sent.Load() != 2 || p.Waiting() != 2 {
			t.Errorf("got %d sent and %d waiting, want 2: as many as there is room for", sent.Load(), p.Waiting())
		}
		_, err := genserver.Call(t.Context(), p.Ref(), Do{})
		wantErr(t, "call", err, genserver.ErrOverloaded, true)
		release()
		synctest.Wait()
		if !slices.Equal(got, want) || sent.Load() != 10 || s.Stats().Dropped != 0 {
			t.Errorf("got %v, %d sent, %d dropped; want all ten in order", got, sent.Load(), s.Stats().Dropped)
		}
	})
}

func TestBlockedCastEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		p := start(t, s, "p", Patient.With(hooks{}))
		began := time.Now()
		release := hold(t, s, "p")
		for range 2 {
			noErr(t, "cast", p.Ref().Cast(t.Context(), Tell{}))
		}
		never := Tell{Fn: func(*genserver.Context) error { t.Error("got a message handled that was given up"); return nil }}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantErr(t, "cast with a deadline", p.Ref().Cast(ctx, never, genserver.Strict()), genserver.ErrOverloaded, true)
		if got := time.Since(began); got != time.Second {
			t.Errorf("got it refused after %v, want 1s", got)
		}

		// What another node sends doesn't wait.
		s.Deliver(&genserver.Incoming{Envelope: &genserver.Envelope{To: "p", Kind: genserver.KindCast, Op: "tell"}})
		if got := s.Stats().Dropped; got != 2 {
			t.Errorf("got %d dropped, want 2", got)
		}

		ended := make(chan error, 1)
		go func() { ended <- p.Ref().Cast(t.Context(), never, genserver.Strict()) }()
		synctest.Wait()
		p.Kill()
		wantErr(t, "cast to one that ended", <-ended, genserver.ErrNoProcess, true)
		release()
	})
}

func TestServersNeverWaitForTheirOwnRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		start(t, s, "p", Patient.With(hooks{}))
		inside(t, s, "p", func(c *genserver.Context) {
			for i := range 3 {
				err := c.Self().Send(c, Note{}, genserver.Strict())
				if i < 2 {
					noErr(t, "send", err)
				} else {
					wantErr(t, "send", err, genserver.ErrOverloaded, true)
				}
			}
		})
	})
}
