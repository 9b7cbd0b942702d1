package genserver_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

// turnstile finds two handlers at once: the race detector sees plain, and the
// counter sees the rest.
type turnstile struct {
	inside  atomic.Int32
	crowded atomic.Int32
	turns   atomic.Int64
	plain   int // guarded by nothing but the promise under test
}

func (s *turnstile) pass() {
	if s.inside.Add(1) > 1 {
		s.crowded.Add(1)
	}
	s.plain++
	s.turns.Add(1)
	s.inside.Add(-1)
}

func TestOneHandlerAtATime(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, typ *genserver.TypeOf[hooks]) {
		s := newSystem(t, genserver.Config{})
		var gate turnstile
		p := start(t, s, "one", typ.With(hooks{
			init:      func(*genserver.Context) error { gate.pass(); return nil },
			terminate: func(*genserver.Context, error) { gate.pass() },
		}))
		call := Do{Fn: func(c *genserver.Context) (Done, error) {
			gate.pass()
			if rand.IntN(8) == 0 {
				c.SendAfter(time.Duration(rand.IntN(50))*time.Microsecond, Note{Fn: func(*genserver.Context) error { gate.pass(); return nil }})
			}
			return Done{}, nil
		}}
		cast := Tell{Fn: func(*genserver.Context) error { gate.pass(); return nil }}
		info := Note{Fn: cast.Fn}
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				for i := range 30 {
					switch i % 5 {
					case 0:
						_ = s.Ref("one").Cast(t.Context(), cast)
					case 1:
						_ = s.Ref("one").Send(t.Context(), info)
					case 2:
						p.Signal(info)
					default:
						if _, err := genserver.Call(t.Context(), s.Ref("one"), call); err != nil {
							t.Errorf("call: got %v, want nil", err)
						}
					}
				}
			})
		}
		wg.Wait()
		noErr(t, "stop", p.Stop(t.Context(), nil))
		if got := gate.crowded.Load(); got != 0 {
			t.Errorf("got %d handlers that ran beside another, want 0", got)
		}
		if got, want := int64(gate.plain), gate.turns.Load(); got != want {
			t.Errorf("got an unguarded count of %d, want %d", got, want)
		}
	})
}

type (
	Ask struct {
		genserver.Returns[Done]
		From int `json:"from"`
		N    int `json:"n"`
	}
	Say struct {
		genserver.OneWay
		From int `json:"from"`
		N    int `json:"n"`
	}
	Hint struct {
		genserver.Signal
		From int `json:"from"`
		N    int `json:"n"`
	}
)

func (Ask) Op() string  { return "ask" }
func (Say) Op() string  { return "say" }
func (Hint) Op() string { return "hint" }

type ledger struct{ last map[int]int }

func (l *ledger) enter(from, n int) error {
	if n != l.last[from]+1 {
		return fmt.Errorf("sender %d: got message %d after %d", from, n, l.last[from])
	}
	l.last[from] = n
	return nil
}

func (l *ledger) enterMap(m genserver.Map) error {
	return l.enter(toInt(m["from"]), toInt(m["n"]))
}

func toInt(v any) int {
	switch v := v.(type) {
	case int:
		return v
	case int64:
		return int(v)
	default:
		return -1
	}
}

func newLedger(*genserver.Context, struct{}) (*ledger, error) {
	return &ledger{last: map[int]int{}}, nil
}

func typedLedger(more ...genserver.Handler[ledger]) []genserver.Handler[ledger] {
	return append(more,
		genserver.HandleCall(func(l *ledger, _ *genserver.Context, m Ask) (Done, error) {
			return Done{m.N}, l.enter(m.From, m.N)
		}),
		genserver.HandleCast(func(l *ledger, _ *genserver.Context, m Say) error { return l.enter(m.From, m.N) }),
		genserver.HandleInfo(func(l *ledger, _ *genserver.Context, m Hint) error { return l.enter(m.From, m.N) }),
	)
}

var orderTypes = map[string]*genserver.TypeOf[struct{}]{
	"typed":        genserver.Define("test.Ledger", newLedger, typedLedger()...),
	"typed inline": genserver.Define("test.FastLedger", newLedger, typedLedger(genserver.NonBlocking[ledger]())...),
	"map": genserver.Define("test.MapLedger", newLedger,
		genserver.HandleCall(func(l *ledger, _ *genserver.Context, m genserver.Map) (genserver.Map, error) {
			return genserver.Map{}, l.enterMap(m)
		}),
		genserver.HandleCast(func(l *ledger, _ *genserver.Context, m genserver.Map) error { return l.enterMap(m) }),
		genserver.HandleInfo(func(l *ledger, _ *genserver.Context, m genserver.Map) error { return l.enterMap(m) }),
		genserver.NonBlocking[ledger]()),
}

// Every sender's messages must be handled in the order they were sent,
// whatever their kinds and on whichever path each of them goes.
func TestOrderPerSender(t *testing.T) {
	t.Parallel()
	for name, typ := range orderTypes {
		t.Run(name, func(t *testing.T) {
			s := newSystem(t, genserver.Config{})
			p := start(t, s, "ledger", typ.With(struct{}{}))
			ref, ctx := s.Ref("ledger"), t.Context()
			var wg sync.WaitGroup
			for from := range 16 {
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(uint64(from), 7))
					for n := 1; n <= 200; n++ {
						var err error
						switch rng.IntN(6) {
						case 0:
							_, err = genserver.Call(ctx, ref, Ask{From: from, N: n})
						case 1:
							_, err = genserver.Call(ctx, ref, genserver.Map{"type": "ask", "from": from, "n": n})
						case 2:
							err = ref.Cast(ctx, Say{From: from, N: n}, genserver.Strict())
						case 3:
							err = ref.Cast(ctx, genserver.Map{"type": "say", "from": from, "n": n}, genserver.Strict())
						case 4:
							err = ref.Send(ctx, Hint{From: from, N: n}, genserver.Strict())
						case 5:
							err = ref.Send(ctx, genserver.Map{"type": "hint", "from": from, "n": n}, genserver.Strict())
						}
						if err != nil {
							t.Errorf("sender %d, message %d: got %v, want nil", from, n, err)
							return
						}
						if n%50 == 0 { // keeps the mailbox from filling up
							if _, err := genserver.Call(ctx, ref, Ask{From: 1000 + from, N: n / 50}); err != nil {
								t.Errorf("sender %d: got %v, want nil", from, err)
								return
							}
						}
					}
				})
			}
			wg.Wait()
			noErr(t, "stop", p.Stop(context.Background(), nil))
			if got := p.Reason(); got != genserver.Normal {
				t.Errorf("got reason %v, want normal", got)
			}
		})
	}
}

// A busy server lets others run: its turn budget ends.
func TestLongQueueIsHandledInOrder(t *testing.T) {
	t.Parallel()
	s := newSystem(t, genserver.Config{})
	start(t, s, "queue", Puppet.With(hooks{}))
	release := hold(t, s, "queue")
	var got []int
	var want []int
	for i := range 900 {
		want = append(want, i)
		err := s.Ref("queue").Cast(t.Context(), Tell{Fn: func(*genserver.Context) error { got = append(got, i); return nil }}, genserver.Strict())
		noErr(t, "cast", err)
	}
	release()
	flush(t, s, "queue")
	if !slices.Equal(got, want) {
		t.Errorf("got order %v, want 0 to 899", got)
	}
}
