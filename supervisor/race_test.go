package supervisor_test

import (
	"context"
	"io"
	"log/slog"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/supervisor"
)

// realWorld is a System in real time, where goroutines really race.
func realWorld() *genserver.System {
	return genserver.NewSystem(genserver.Config{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
}

// bornType hands each of its processes to a channel, from its init.
var bornType = genserver.Define("test.Born", func(ctx *genserver.Context, born chan *genserver.Process) (*struct{}, error) {
	select {
	case born <- ctx.Process():
		return &struct{}{}, nil
	case <-ctx.Done(): // stopped, and nobody listens any more
		return nil, context.Cause(ctx)
	}
})

// A kill may hit a child while its init returns: whether it has started then is
// a matter of luck, but the next one must come.
func TestKillAsInitReturns(t *testing.T) {
	t.Parallel()
	sys := realWorld()
	born := make(chan *genserver.Process)
	started := make(chan error, 1)
	var root *genserver.Process
	go func() {
		var err error
		root, err = sys.Start(context.Background(), "root", supervisor.Spec{
			MaxRestarts: math.MaxInt32,
			Children:    []supervisor.Child{{Name: "a", Run: bornType.With(born)}},
		}, genserver.SpawnOptions{})
		started <- err
	}()
	<-born
	if err := <-started; err != nil {
		t.Fatalf("start: got %v, want nil", err)
	}
	_ = sys.Ref("a").Stop(context.Background(), errBroken)
	for range 500 {
		select {
		case p := <-born:
			p.Kill()
		case <-time.After(10 * time.Second):
			t.Fatal("got no restart in 10s, want one")
		}
	}
	<-born
	if err := root.Stop(context.Background(), genserver.Shutdown); err != nil {
		t.Errorf("stop: got %v, want nil", err)
	}
}

// A supervisor that is killed while its children come and go leaves none.
func TestKillWhileRestarting(t *testing.T) {
	t.Parallel()
	for range 100 {
		sys := realWorld()
		born := make(chan *genserver.Process, 1)
		inner := supervisor.Spec{
			Strategy: supervisor.OneForAll, MaxRestarts: math.MaxInt32,
			Children: []supervisor.Child{{Name: "a", Run: Counter.With(0)}, {Name: "b", Run: bornType.With(born)}},
		}
		root, err := sys.Start(context.Background(), "root", supervisor.Spec{
			MaxRestarts: math.MaxInt32, Children: []supervisor.Child{{Name: "sub", Run: inner}},
		}, genserver.SpawnOptions{})
		if err != nil {
			t.Fatalf("start: got %v, want nil", err)
		}
		<-born
		var all sync.WaitGroup
		all.Go(func() {
			for range 20 {
				_ = sys.Ref("a").Stop(context.Background(), errBroken)
				select {
				case <-born:
				case <-root.Exited():
				}
			}
		})
		all.Go(func() {
			for range 3 {
				_ = sys.Ref("b").Stop(context.Background(), errBroken)
			}
			root.Kill()
		})
		all.Wait()
		for _, name := range []string{"root", "sub", "a", "b"} {
			if err := sys.Ref(name).Stop(context.Background(), nil); !isNoProcess(err) {
				t.Errorf("stop %s: got %v, want ErrNoProcess", name, err)
			}
		}
	}
}
