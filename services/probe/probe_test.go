package probe_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/services/probe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type (
	ping struct{ genserver.Returns[pong] }
	pong struct {
		OK bool `json:"ok"`
	}
)

func (ping) Op() string { return "ping" }

// Target answers after a while, which its config says; a negative one is a
// failure.
var Target = genserver.Define("test.Target",
	func(_ *genserver.Context, takes time.Duration) (*time.Duration, error) { return &takes, nil },
	genserver.HandleCallLater(func(takes *time.Duration, _ *genserver.Context, _ ping, to genserver.Reply[pong]) error {
		if *takes < 0 {
			return genserver.NewError("test.refused", "not today")
		}
		time.AfterFunc(*takes, func() { to.Send(pong{true}) })
		return nil
	}))

// world runs a prober in virtual time.
func world(t *testing.T, cfg probe.Config, test func(ctx context.Context, sys *genserver.System, prober genserver.Ref)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		sys := genserver.NewSystem(genserver.Config{Logger: slog.New(slog.DiscardHandler)})
		if _, err := sys.Start(ctx, "probe", probe.Prober.With(cfg), genserver.SpawnOptions{}); err != nil {
			t.Fatalf("start: got %v, want nil", err)
		}
		test(ctx, sys, sys.Ref("probe"))
		if err := sys.Stop(ctx); err != nil {
			t.Errorf("stop: got %v, want nil", err)
		}
	})
}

func status(ctx context.Context, t *testing.T, prober genserver.Ref) probe.Status {
	t.Helper()
	s, err := genserver.Call(ctx, prober, probe.Check{})
	if err != nil {
		t.Fatalf("status: got %v, want nil", err)
	}
	return s
}

// pass lets virtual time pass, and what is due then happen.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestProbes(t *testing.T) {
	world(t, probe.Config{Target: "target", Every: 2 * time.Second}, func(ctx context.Context, sys *genserver.System, prober genserver.Ref) {
		synctest.Wait()
		s := status(ctx, t, prober)
		if s.Up || s.Failed != 1 || !strings.Contains(s.LastError, "no such process") {
			t.Errorf("without a target: got %+v, want one failure that says so", s)
		}
		if _, err := sys.Start(ctx, "target", Target.With(30*time.Millisecond), genserver.SpawnOptions{}); err != nil {
			t.Fatal(err)
		}
		pass(2*time.Second + 30*time.Millisecond)
		s = status(ctx, t, prober)
		if !s.Up || s.Answered != 1 || s.LastMS != 30 {
			t.Errorf("with a target: got %+v, want one answer after 30 ms", s)
		}
		pass(20 * time.Second) // the answer's time is not added to the interval
		if s = status(ctx, t, prober); s.Answered != 11 {
			t.Errorf("20 s later: got %d answers, want 11", s.Answered)
		}
		if err := prober.Cast(ctx, probe.Reset{}); err != nil {
			t.Fatal(err)
		}
		if s = status(ctx, t, prober); s != (probe.Status{Target: "target", Up: true}) {
			t.Errorf("after reset: got %+v, want nothing counted", s)
		}
	})
}

func TestASilentTargetKeepsNobodyWaiting(t *testing.T) {
	world(t, probe.Config{Target: "target", Timeout: time.Minute}, func(ctx context.Context, sys *genserver.System, prober genserver.Ref) {
		if _, err := sys.Start(ctx, "target", Target.With(time.Hour), genserver.SpawnOptions{}); err != nil {
			t.Fatal(err)
		}
		pass(time.Second) // the first probe may have come too early
		pass(30 * time.Second)
		before := time.Now()
		_ = status(ctx, t, prober)
		if waited := time.Since(before); waited > 0 {
			t.Errorf("status took %v while a probe is in flight, want no time", waited)
		}
		pass(time.Minute)
		if s := status(ctx, t, prober); s.Up || !strings.Contains(s.LastError, "no reply in time") {
			t.Errorf("got %+v, want a timeout", s)
		}
	})
}

func TestRefusedByTheTarget(t *testing.T) {
	world(t, probe.Config{Target: "target", Payload: genserver.Map{"type": "ping"}}, func(ctx context.Context, sys *genserver.System, prober genserver.Ref) {
		if _, err := sys.Start(ctx, "target", Target.With(-1), genserver.SpawnOptions{}); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Second)
		if s := status(ctx, t, prober); s.Up || !strings.HasSuffix(s.LastError, "not today") {
			t.Errorf("got %+v, want the target's own error", s)
		}
	})
}

func TestConfigs(t *testing.T) {
	for want, cfg := range map[string]probe.Config{
		"target: ":  {},
		"every: ":   {Target: "x", Every: 5},
		"timeout: ": {Target: "x", Timeout: -time.Second},
	} {
		sys := genserver.NewSystem(genserver.Config{Logger: slog.New(slog.DiscardHandler)})
		_, err := sys.Start(t.Context(), "probe", probe.Prober.With(cfg), genserver.SpawnOptions{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want an error about %s", cfg, err, want)
		}
		if err := sys.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
