package genserver_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

// Later is a call that the broker answers when it is told to.
type Later struct {
	genserver.Returns[Done]
	Now bool `json:"now,omitempty"` // fail at once
}

func (Later) Op() string { return "later" }

// broker keeps the calls it has put off.
type broker struct{ waiting []genserver.Reply[Done] }

var errNotNow = genserver.NewError("broker.not_now", "not now")

var Broker = genserver.Define("test.Broker", func(*genserver.Context, struct{}) (*broker, error) { return &broker{}, nil },
	genserver.NonBlocking[broker](),
	genserver.HandleCallLater(func(b *broker, _ *genserver.Context, a Later, r genserver.Reply[Done]) error {
		if a.Now {
			return errNotNow
		}
		b.waiting = append(b.waiting, r)
		return nil
	}),
	genserver.HandleCast(func(b *broker, c *genserver.Context, m Tell) error { return m.Fn(c) }),
	// A Map call settles the first that waits, twice.
	genserver.HandleCall(func(b *broker, _ *genserver.Context, m genserver.Map) (genserver.Map, error) {
		first := b.waiting[0]
		b.waiting = b.waiting[1:]
		if m["type"] == "fail" {
			first.Fail(errNotNow)
		} else {
			first.Send(Done{N: 7})
		}
		first.Send(Done{N: 8})
		return genserver.Map{}, nil
	}))

func askLater(ctx context.Context, s *genserver.System, m Later, opts ...genserver.Option) <-chan result {
	done := make(chan result, 1)
	go func() {
		d, err := genserver.Call(ctx, s.Ref("broker"), m, opts...)
		done <- result{d.N, err}
	}()
	return done
}

type result struct {
	n   int
	err error
}

func TestCallLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, genserver.Config{})
		start(t, s, "broker", Broker.With(struct{}{}))
		settle := func(how string) {
			_, err := genserver.Call(t.Context(), s.Ref("broker"), genserver.Map{"type": how})
			noErr(t, how, err)
		}

		first := askLater(t.Context(), s, Later{})
		synctest.Wait()
		second := askLater(t.Context(), s, Later{})
		synctest.Wait()
		pass(time.Second) // and the server serves on
		settle("send")
		if got := <-first; got.n != 7 || got.err != nil {
			t.Errorf("put off and sent: got %v, want 7", got)
		}
		settle("fail")
		got := <-second
		wantErr(t, "put off and failed", got.err, errNotNow, false)
		if late := s.Stats().LateReplies; late != 2 {
			t.Errorf("got %d late replies, want the 2 second answers", late)
		}
		got = <-askLater(t.Context(), s, Later{Now: true})
		wantErr(t, "failed by the handler", got.err, errNotNow, false)

		// The caller gives up: the answer is late.
		impatient := askLater(t.Context(), s, Later{}, genserver.WithTimeout(time.Second))
		got = <-impatient
		wantErr(t, "timeout", got.err, genserver.ErrTimeout, false)
		settle("send")
		if late := s.Stats().LateReplies; late != 4 {
			t.Errorf("got %d late replies, want 4", late)
		}
	})
}

// Callers whose answer was put off learn of the server's end at once, as all
// others do, and its old Replies do nothing to calls of the next generation.
func TestCallLaterAndTheServersEnd(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"kill", "crash", "stop"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, genserver.Config{})
			p := start(t, s, "broker", Broker.With(struct{}{}))
			done := make(chan result, 3)
			for range 3 {
				go func() {
					r := <-askLater(context.Background(), s, Later{}, genserver.WithTimeout(time.Hour))
					done <- r
				}()
			}
			waitPending(t, p, 3)
			switch end {
			case "kill":
				p.Kill()
			case "crash":
				noErr(t, "crash", s.Ref("broker").Cast(t.Context(), Tell{Fn: func(*genserver.Context) error { return errors.New("boom") }}))
			case "stop":
				p.RequestStop(nil)
			}
			for range 3 {
				wantErr(t, end, (<-done).err, genserver.ErrExit, false)
			}
		})
	}
}

// waitPending waits until n calls have been put off.
func waitPending(t *testing.T, p *genserver.Process, n int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); genserver.Pending(p) != n; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("got %d calls put off in 10s, want %d", genserver.Pending(p), n)
		}
	}
}

// A call from another node can be put off too.
func TestDeliveredCallLater(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{})
	p := start(t, s, "broker", Broker.With(struct{}{}))
	reply := newAnswer()
	s.Deliver(&genserver.Incoming{
		Envelope: &genserver.Envelope{To: "broker", Kind: genserver.KindCall, Op: "later"}, Body: jsonBody(`{}`), Reply: reply,
	})
	waitPending(t, p, 1)
	_, err := genserver.Call(t.Context(), s.Ref("broker"), genserver.Map{"type": "send"})
	noErr(t, "send", err)
	got, err, n := reply.once()
	if got != (Done{N: 7}) || err != nil || n != 1 {
		t.Errorf("got %v, %v, %d times, want 7 once", got, err, n)
	}
}
