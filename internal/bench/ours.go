package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/node/embedded"
	"github.com/civitas-go/civitas/supervisor"
)

// timed are the rows that take time; memory is the other one.
func timed() []pair {
	return []pair{
		{"local call, one caller", "ns", localCall(plain), callBaseline},
		{"128 callers, 1 server", "ns", manyCallers(1), manyBaseline(1)},
		{"128 callers, 1000 servers", "ns", manyCallers(1000), manyBaseline(1000)},
		{"NonBlocking local call", "ns", localCall(nonBlocking), callBaseline},
		{"local cast", "ns", localCast, castBaseline},
		{"spawn and stop", "ns", spawn, spawnBaseline},
		{"remote call, one caller", "ns", remoteCall(1), requestBaseline(1)},
		{"remote call, 256 callers", "ns", remoteCall(256), requestBaseline(256)},
		{"remote cast, 64 B", "ns", remoteCast, publishBaseline},
	}
}

type add struct {
	genserver.Returns[sum]
	genserver.OneWay
	N int `json:"n"`
}

type sum struct {
	Total int `json:"total"`
}

type flush struct{ genserver.Returns[sum] }

// Op names the message.
func (add) Op() string { return "add" }

// Op names the message.
func (flush) Op() string { return "flush" }

type counter struct{ total int }

func newCounter(*genserver.Context, struct{}) (*counter, error) { return &counter{}, nil }

func (c *counter) call(_ *genserver.Context, m add) (sum, error) {
	c.total += m.N
	return sum{c.total}, nil
}

func (c *counter) cast(_ *genserver.Context, m add) error {
	c.total += m.N
	return nil
}

func (c *counter) flush(*genserver.Context, flush) (sum, error) { return sum{c.total}, nil }

var (
	plain = genserver.Define("bench.Counter", newCounter,
		genserver.HandleCall((*counter).call),
		genserver.HandleCall((*counter).flush),
		genserver.HandleCast((*counter).cast))
	nonBlocking = genserver.Define("bench.NonBlocking", newCounter,
		genserver.HandleCall((*counter).call),
		genserver.NonBlocking[counter]())
	// patient is a server whose senders wait for room.
	patient = genserver.Define("bench.Patient", newCounter,
		genserver.HandleCall((*counter).flush),
		genserver.HandleCast((*counter).cast),
		genserver.BlockCasts[counter]())
)

var quiet = slog.New(slog.DiscardHandler)

// local is a System with one server, as most rows need it.
func local(ctx context.Context, typ *genserver.TypeOf[struct{}]) (genserver.Ref, func(), error) {
	sys := genserver.NewSystem(genserver.Config{Logger: quiet})
	_, err := sys.Start(ctx, "server", typ.With(struct{}{}), genserver.SpawnOptions{})
	return sys.Ref("server"), func() { _ = sys.Stop(ctx) }, err
}

// localCall calls with a context that can't end, as the baseline has none; the
// default timeout is there.
func localCall(typ *genserver.TypeOf[struct{}]) side {
	return func(ctx context.Context) (func(int) error, func(), error) {
		ref, done, err := local(ctx, typ)
		ctx = context.Background()
		run := func(n int) error {
			for range n {
				if _, err := genserver.Call(ctx, ref, add{N: 1}); err != nil {
					return err
				}
			}
			return nil
		}
		return run, done, err
	}
}

// manyCallers call servers in turns from 128 goroutines.
func manyCallers(servers int) side {
	return func(ctx context.Context) (func(int) error, func(), error) {
		sys := genserver.NewSystem(genserver.Config{Logger: quiet})
		refs := make([]genserver.Ref, servers)
		for i := range refs {
			p, err := sys.Start(ctx, fmt.Sprintf("server-%d", i), plain.With(struct{}{}), genserver.SpawnOptions{})
			if err != nil {
				return nil, nil, err
			}
			refs[i] = p.Ref()
		}
		call := context.Background()
		run := func(n int) error {
			return parallel(manyCallersAtOnce, n, func(i int) error {
				_, err := genserver.Call(call, refs[i%servers], add{N: 1})
				return err
			})
		}
		return run, func() { _ = sys.Stop(ctx) }, nil
	}
}

const manyCallersAtOnce = 128

// localCast sends as fast as the mailbox takes, and waits for room when it is full,
// as the baseline does: what is measured is handled, not dropped.
func localCast(ctx context.Context) (func(int) error, func(), error) {
	ref, done, err := local(ctx, patient)
	ctx = context.Background() // as for localCall
	run := func(n int) error {
		for i := range n {
			if err := ref.Cast(ctx, add{N: i}); err != nil {
				return err
			}
		}
		for {
			_, err := genserver.Call(ctx, ref, flush{})
			if !errors.Is(err, genserver.ErrOverloaded) {
				return err
			}
			runtime.Gosched()
		}
	}
	return run, done, err
}

func spawn(ctx context.Context) (func(int) error, func(), error) {
	sys := genserver.NewSystem(genserver.Config{Logger: quiet})
	run := func(n int) error {
		for range n {
			p, err := sys.Start(ctx, "server", plain.With(struct{}{}), genserver.SpawnOptions{})
			if err != nil {
				return err
			}
			if err := p.Stop(ctx, genserver.Normal); err != nil {
				return err
			}
		}
		return nil
	}
	return run, func() { _ = sys.Stop(ctx) }, nil
}

// remoteCall is from one node to another, both over TCP to one NATS server.
func remoteCall(callers int) side {
	return func(ctx context.Context) (run func(int) error, done func(), err error) {
		nodes, stop, err := pairOfNodes(ctx, plain)
		if err != nil {
			return nil, nil, err
		}
		ref := nodes[1].Ref("server")
		run = func(n int) error {
			return parallel(callers, n, func(int) error {
				_, err := genserver.Call(ctx, ref, add{N: 1})
				return err
			})
		}
		return run, stop, nil
	}
}

// remoteCast sends bursts, as large as the mailbox takes, from one node to
// another; after each, a call makes sure that all of it was handled.
func remoteCast(ctx context.Context) (func(int) error, func(), error) {
	nodes, stop, err := pairOfNodes(ctx, sink)
	if err != nil {
		return nil, nil, err
	}
	ref := nodes[1].Ref("server")
	m := drop{Pad: strings.Repeat("x", castBytes)}
	run := func(n int) error {
		for i := range n {
			if err := ref.Cast(ctx, m); err != nil {
				return err
			}
			if i%castBurst == castBurst-1 {
				if _, err := genserver.Call(ctx, ref, flush{}); err != nil {
					return err
				}
			}
		}
		_, err := genserver.Call(ctx, ref, flush{})
		return err
	}
	return run, stop, nil
}

const (
	castBytes = 64
	castBurst = 10_000
)

// drop is a cast of some size.
type drop struct {
	genserver.OneWay
	Pad string `json:"pad"`
}

// Op names the message.
func (drop) Op() string { return "drop" }

func (c *counter) drop(*genserver.Context, drop) error {
	c.total++
	return nil
}

// sink is a server with room for a burst.
var sink = genserver.Define("bench.Sink", newCounter,
	genserver.HandleCall((*counter).flush),
	genserver.HandleCast((*counter).drop),
	genserver.Mailbox[counter](2*castBurst))

// pairOfNodes are two nodes, both over TCP to one NATS server; the first has
// the server.
func pairOfNodes(ctx context.Context, typ *genserver.TypeOf[struct{}]) ([]*node.Node, func(), error) {
	link, err := embedded.Server{}.Connect(ctx, node.LinkOptions{Node: "nats", Cluster: "bench", Logger: quiet})
	if err != nil {
		return nil, nil, err
	}
	nodes := make([]*node.Node, 2)
	trees := []supervisor.Spec{{Children: []supervisor.Child{
		{Name: "server", Run: typ.With(struct{}{}), Scope: supervisor.Cluster},
	}}, {}}
	for i := range nodes {
		nodes[i], err = node.Start(ctx, node.Config{
			Name: fmt.Sprintf("n%d", i), Cluster: "bench", NATS: node.URL(link.URL), Tree: trees[i], Logger: quiet,
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return nodes, func() { _, _, _ = nodes[1].Stop(ctx), nodes[0].Stop(ctx), link.Close(ctx) }, nil
}

// parallel does the work n times from several callers at once; the work is
// told which one it is.
func parallel(callers, n int, work func(i int) error) error {
	if callers == 1 {
		for i := range n {
			if err := work(i); err != nil {
				return err
			}
		}
		return nil
	}
	var (
		wg     sync.WaitGroup
		left   atomic.Int64
		failed atomic.Pointer[error]
	)
	left.Store(int64(n))
	for range callers {
		wg.Go(func() {
			for {
				i := left.Add(-1)
				if i < 0 {
					return
				}
				if err := work(int(i)); err != nil {
					failed.Store(&err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}
