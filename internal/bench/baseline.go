package bench

import (
	"context"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/node/embedded"
)

// This file has all the baselines: the least that anybody who writes the same
// by hand would have to do. Make none of them slower.

// callBaseline is a goroutine with a channel of requests, each with a one-slot
// reply channel that is reused. No timeout, no errors, no names.
func callBaseline(context.Context) (func(int) error, func(), error) {
	type request struct {
		n     int
		reply chan int
	}
	requests := make(chan request, 128)
	var wg sync.WaitGroup
	wg.Go(func() {
		total := 0
		for r := range requests {
			total += r.n
			r.reply <- total
		}
	})
	reply := make(chan int, 1)
	run := func(n int) error {
		for range n {
			requests <- request{1, reply}
			<-reply
		}
		return nil
	}
	return run, func() { close(requests); wg.Wait() }, nil
}

// manyBaseline is callBaseline from 128 callers, each with its own reply
// channel, to as many goroutines as there are servers.
func manyBaseline(servers int) side {
	return func(context.Context) (func(int) error, func(), error) {
		type request struct {
			n     int
			reply chan int
		}
		var wg sync.WaitGroup
		requests := make([]chan request, servers)
		for i := range requests {
			requests[i] = make(chan request, 128)
			wg.Go(func() {
				total := 0
				for r := range requests[i] {
					total += r.n
					r.reply <- total
				}
			})
		}
		replies := sync.Pool{New: func() any { return make(chan int, 1) }}
		run := func(n int) error {
			return parallel(manyCallersAtOnce, n, func(i int) error {
				reply := replies.Get().(chan int)
				requests[i%servers] <- request{1, reply}
				<-reply
				replies.Put(reply)
				return nil
			})
		}
		done := func() {
			for _, c := range requests {
				close(c)
			}
			wg.Wait()
		}
		return run, done, nil
	}
}

// castBaseline is a goroutine that receives from a channel. The channel's bound
// is the mailbox's.
func castBaseline(context.Context) (func(int) error, func(), error) {
	messages := make(chan any, 1000)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		total := 0
		for m := range messages {
			switch m := m.(type) {
			case add:
				total += m.N
			case flush:
				done <- struct{}{}
			}
		}
	})
	run := func(n int) error {
		for i := range n {
			messages <- add{N: i}
		}
		messages <- flush{}
		<-done
		return nil
	}
	return run, func() { close(messages); wg.Wait() }, nil
}

// spawnBaseline is a goroutine under a name in a map, started, known to be up,
// and ended.
func spawnBaseline(context.Context) (func(int) error, func(), error) {
	var mu sync.Mutex
	named := map[string]chan struct{}{}
	run := func(n int) error {
		for range n {
			stop, up, down := make(chan struct{}), make(chan struct{}), make(chan struct{})
			mu.Lock()
			named["server"] = stop
			mu.Unlock()
			go func() { // ended below
				close(up)
				<-stop
				mu.Lock()
				delete(named, "server")
				mu.Unlock()
				close(down)
			}()
			<-up
			close(stop)
			<-down
		}
		return nil
	}
	return run, func() {}, nil
}

// idleBaseline is a goroutine that waits on a channel, under a name in a map:
// what a server is in plain Go.
func idleBaseline(names []string) func() {
	named := make(map[string]chan any)
	var wg sync.WaitGroup
	for _, name := range names {
		messages := make(chan any, 4)
		named[name] = messages
		up := make(chan struct{})
		wg.Go(func() {
			close(up)
			for range messages {
			}
		})
		<-up
	}
	return func() {
		for _, messages := range named {
			close(messages)
		}
		wg.Wait()
	}
}

// publishBaseline is nats.go's publish to a subscription of another connection,
// in bursts as ours, each followed by a request that all of it has come before.
func publishBaseline(ctx context.Context) (run func(int) error, done func(), err error) {
	link, err := embedded.Server{}.Connect(ctx, node.LinkOptions{Node: "bench", Cluster: "bench", Logger: quiet})
	if err != nil {
		return nil, nil, err
	}
	server, err := nats.Connect(link.URL)
	if err != nil {
		return nil, nil, err
	}
	client, err := nats.Connect(link.URL)
	if err != nil {
		return nil, nil, err
	}
	total := 0
	if _, err = server.Subscribe("bench.drop", func(m *nats.Msg) {
		if m.Reply == "" {
			total++
			return
		}
		_ = m.Respond(nil)
	}); err == nil {
		err = server.FlushWithContext(ctx)
	}
	payload := make([]byte, castBytes)
	flush := func() error {
		_, err := client.RequestWithContext(ctx, "bench.drop", nil)
		return err
	}
	run = func(n int) error {
		for i := range n {
			if err := client.Publish("bench.drop", payload); err != nil {
				return err
			}
			if i%castBurst == castBurst-1 {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		return flush()
	}
	return run, func() { client.Close(); server.Close(); _ = link.Close(ctx) }, err
}

// requestBaseline is nats.go's request, answered by a subscription of another
// connection, both over TCP to the same server as ours.
func requestBaseline(callers int) side {
	return func(ctx context.Context) (run func(int) error, done func(), err error) {
		link, err := embedded.Server{}.Connect(ctx, node.LinkOptions{Node: "bench", Cluster: "bench", Logger: quiet})
		if err != nil {
			return nil, nil, err
		}
		server, err := nats.Connect(link.URL)
		if err != nil {
			return nil, nil, err
		}
		client, err := nats.Connect(link.URL)
		if err != nil {
			return nil, nil, err
		}
		if _, err = server.Subscribe("bench.add", func(m *nats.Msg) { _ = m.Respond(m.Data) }); err == nil {
			err = server.FlushWithContext(ctx)
		}
		payload := []byte(`{"type":"add","n":1}`)
		run = func(n int) error {
			return parallel(callers, n, func(int) error {
				_, err := client.RequestWithContext(ctx, "bench.add", payload)
				return err
			})
		}
		return run, func() { client.Close(); server.Close(); _ = link.Close(ctx) }, err
	}
}
