package ratelimit_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/services/ratelimit"
	"github.com/civitas-go/civitas/supervisor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limiter starts a limiter in virtual time and hands the test its Ref.
func limiter(t *testing.T, run genserver.Runnable, test func(t *testing.T, limiter genserver.Ref)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		sys := genserver.NewSystem(genserver.Config{Logger: slog.New(slog.DiscardHandler)})
		root := supervisor.Spec{Children: []supervisor.Child{{Name: "limiter", Run: run}}}
		p, err := sys.Start(t.Context(), "root", root, genserver.SpawnOptions{})
		if err != nil {
			t.Fatalf("start: got %v, want nil", err)
		}
		test(t, sys.Ref("limiter"))
		if err := p.Stop(context.Background(), genserver.Shutdown); err != nil {
			t.Errorf("stop: got %v, want nil", err)
		}
	})
}

func acquire(t *testing.T, ref genserver.Ref, n int, want ratelimit.Grant) {
	t.Helper()
	got, err := genserver.Call(context.Background(), ref, ratelimit.Acquire{N: n})
	if err != nil || got != want {
		t.Errorf("acquire %d: got %+v, %v; want %+v", n, got, err, want)
	}
}

// sleep lets virtual time pass, and what is due then happen.
func sleep(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestDefaults(t *testing.T) {
	limiter(t, ratelimit.Limiter.With(ratelimit.Config{}), func(t *testing.T, ref genserver.Ref) {
		acquire(t, ref, 50, ratelimit.Grant{OK: true, Remaining: 50})
		sleep(time.Second - time.Nanosecond)
		acquire(t, ref, 51, ratelimit.Grant{Remaining: 50})
		sleep(time.Nanosecond)
		acquire(t, ref, 0, ratelimit.Grant{OK: true, Remaining: 59}) // 0 counts as 1
		sleep(3 * time.Second)
		acquire(t, ref, 1, ratelimit.Grant{OK: true, Remaining: 88})
		sleep(time.Hour)
		acquire(t, ref, 100, ratelimit.Grant{OK: true}) // and no more than that
		acquire(t, ref, 1, ratelimit.Grant{})
	})
}

func TestAcquireIsAllOrNone(t *testing.T) {
	limiter(t, ratelimit.Limiter.With(ratelimit.Config{Capacity: 5, Refill: 3, Interval: time.Minute}), func(t *testing.T, ref genserver.Ref) {
		acquire(t, ref, 4, ratelimit.Grant{OK: true, Remaining: 1})
		acquire(t, ref, 2, ratelimit.Grant{Remaining: 1})
		acquire(t, ref, 1, ratelimit.Grant{OK: true})
		sleep(time.Minute)
		acquire(t, ref, 3, ratelimit.Grant{OK: true})
	})
}

func TestRefusedAcquires(t *testing.T) {
	limiter(t, ratelimit.Limiter.With(ratelimit.Config{Capacity: 5}), func(t *testing.T, ref genserver.Ref) {
		for _, c := range []struct {
			n    int
			want error
		}{{-1, ratelimit.ErrNegative}, {6, ratelimit.ErrTooMany}} {
			_, err := genserver.Call(t.Context(), ref, ratelimit.Acquire{N: c.n})
			if e, ok := c.want.(interface{ Is(error) bool }); !ok || !e.Is(err) {
				t.Errorf("acquire %d: got %v, want %v", c.n, err, c.want)
			}
		}
		acquire(t, ref, 5, ratelimit.Grant{OK: true})
	})
}

func TestReset(t *testing.T) {
	limiter(t, ratelimit.Limiter.With(ratelimit.Config{Capacity: 5, Refill: 1}), func(t *testing.T, ref genserver.Ref) {
		acquire(t, ref, 5, ratelimit.Grant{OK: true})
		if err := ref.Cast(t.Context(), ratelimit.Reset{}); err != nil {
			t.Errorf("reset: got %v, want nil", err)
		}
		acquire(t, ref, 1, ratelimit.Grant{OK: true, Remaining: 4})
		sleep(time.Second) // the refills go on as before
		acquire(t, ref, 1, ratelimit.Grant{OK: true, Remaining: 4})
	})
}

// A restart begins with a full bucket, and the old one's refill is gone.
func TestRestart(t *testing.T) {
	limiter(t, ratelimit.Limiter.With(ratelimit.Config{Capacity: 10, Refill: 5}), func(t *testing.T, ref genserver.Ref) {
		acquire(t, ref, 10, ratelimit.Grant{OK: true})
		sleep(900 * time.Millisecond)
		if err := ref.Stop(context.Background(), context.DeadlineExceeded); err != nil {
			t.Errorf("crash: got %v, want nil", err)
		}
		synctest.Wait()
		acquire(t, ref, 10, ratelimit.Grant{OK: true})
		sleep(100 * time.Millisecond) // when the old one would have refilled
		acquire(t, ref, 1, ratelimit.Grant{})
		sleep(900 * time.Millisecond)
		acquire(t, ref, 1, ratelimit.Grant{OK: true, Remaining: 4})
	})
}

func TestAsMap(t *testing.T) {
	limiter(t, ratelimit.Limiter.With(ratelimit.Config{}), func(t *testing.T, ref genserver.Ref) {
		got, err := genserver.Call(t.Context(), ref, genserver.Map{"type": "acquire", "n": 40})
		if err != nil || got["ok"] != true || got["remaining"] != int64(60) {
			t.Errorf("acquire as Map: got %v, %v; want ok and 60 remaining", got, err)
		}
		if err := ref.Cast(t.Context(), genserver.Map{"type": "reset"}); err != nil {
			t.Errorf("reset as Map: got %v, want nil", err)
		}
		acquire(t, ref, 1, ratelimit.Grant{OK: true, Remaining: 99})
	})
}

func TestConfigFromJSON(t *testing.T) {
	if got := ratelimit.Limiter.Name(); got != "ratelimit.Limiter" {
		t.Errorf("Type: got name %s, want ratelimit.Limiter", got)
	}
	spec, err := ratelimit.Limiter.WithDecoded(func(cfg any) error {
		return json.Unmarshal([]byte(`{"capacity":3,"refill":2,"interval":500000000}`), cfg)
	})
	if err != nil {
		t.Fatalf("decode: got %v, want nil", err)
	}
	limiter(t, spec, func(t *testing.T, ref genserver.Ref) {
		acquire(t, ref, 3, ratelimit.Grant{OK: true})
		sleep(500 * time.Millisecond)
		acquire(t, ref, 1, ratelimit.Grant{OK: true, Remaining: 1})
	})
}

func TestBadConfigIsRefused(t *testing.T) {
	for field, cfg := range map[string]ratelimit.Config{
		"capacity": {Capacity: -1}, "refill": {Refill: -1}, "interval": {Interval: 5}, // 5 ns, meant as 5 s
	} {
		sys := genserver.NewSystem(genserver.Config{Logger: slog.New(slog.DiscardHandler)})
		_, err := sys.Start(t.Context(), "limiter", ratelimit.Limiter.With(cfg), genserver.SpawnOptions{})
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("start with a bad %s: got %v, want an error that names it", field, err)
		}
	}
}

// However it is used, there are never more tokens than the capacity, and no
// token is given twice.
func TestTokensAreConserved(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		cfg := ratelimit.Config{
			Capacity: rapid.IntRange(1, 50).Draw(rt, "capacity"),
			Refill:   rapid.IntRange(1, 60).Draw(rt, "refill"),
			Interval: time.Second,
		}
		steps := rapid.SliceOfN(rapid.IntRange(0, 60), 1, 40).Draw(rt, "steps")
		limiter(t, ratelimit.Limiter.With(cfg), func(t *testing.T, ref genserver.Ref) {
			tokens := cfg.Capacity
			for i, n := range steps {
				if i%4 == 3 {
					sleep(time.Second)
					tokens = min(cfg.Capacity, tokens+cfg.Refill)
					continue
				}
				if n > cfg.Capacity {
					continue
				}
				if want := max(n, 1) <= tokens; want {
					tokens -= max(n, 1)
					acquire(t, ref, n, ratelimit.Grant{OK: true, Remaining: tokens})
				} else {
					acquire(t, ref, n, ratelimit.Grant{Remaining: tokens})
				}
			}
		})
	})
}

func TestManyCallersAtOnce(t *testing.T) {
	limiter(t, ratelimit.Limiter.With(ratelimit.Config{Capacity: 100}), func(t *testing.T, ref genserver.Ref) {
		var (
			wg      sync.WaitGroup
			mu      sync.Mutex
			granted int
		)
		for range 300 {
			wg.Go(func() {
				got, err := genserver.Call(context.Background(), ref, ratelimit.Acquire{})
				if err != nil {
					t.Errorf("acquire: got %v, want nil", err)
				}
				mu.Lock()
				defer mu.Unlock()
				if got.OK {
					granted++
				}
			})
		}
		wg.Wait()
		if granted != 100 {
			t.Errorf("300 callers: got %d grants, want 100", granted)
		}
	})
}
