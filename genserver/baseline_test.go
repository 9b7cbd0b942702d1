package genserver_test

import (
	"runtime"
	"sync"
	"testing"
)

// These are the least that Go can do for the same result, and no less: what
// the benchmarks beside them are measured against.

type pairRequest struct{ reply chan int }

// pairServer answers every request from a goroutine of its own.
func pairServer() (in chan pairRequest) {
	in = make(chan pairRequest)
	go func() {
		n := 0
		for r := range in {
			n++
			r.reply <- n
		}
	}()
	return in
}

// pairReplies are reply channels to take turns with.
var pairReplies = sync.Pool{New: func() any { return make(chan int, 1) }}

func pairCall(in chan pairRequest) int {
	reply := pairReplies.Get().(chan int)
	in <- pairRequest{reply}
	n := <-reply
	pairReplies.Put(reply)
	return n
}

func baselineCall(b *testing.B) {
	in := pairServer()
	defer close(in)
	b.ReportAllocs()
	for b.Loop() {
		pairCall(in)
	}
}

func baselineCall128(b *testing.B, servers int) {
	ins := make([]chan pairRequest, servers)
	for i := range ins {
		ins[i] = pairServer()
		defer close(ins[i])
	}
	b.ReportAllocs()
	parallel128(b, func(i int) { pairCall(ins[i%servers]) })
}

// baselineLocked is a method under a lock, which is what a call that blocks
// nobody could be without a server.
func baselineLocked(b *testing.B) {
	var mu sync.Mutex
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		mu.Lock()
		n++
		mu.Unlock()
	}
}

// baselineCast sends to a goroutine through a channel as deep as a mailbox.
func baselineCast(b *testing.B) {
	in, done := make(chan any, 1000), make(chan struct{})
	go func() {
		defer close(done)
		n := 0
		for m := range in {
			n = m.(Put).N
		}
		_ = n
	}()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		in <- Put{N: i}
	}
	close(in)
	<-done
}

// baselineSpawn starts a goroutine that is known by a name, and ends it.
func baselineSpawn(b *testing.B) {
	var mu sync.Mutex
	named := map[string]chan struct{}{}
	b.ReportAllocs()
	for b.Loop() {
		stop := make(chan struct{})
		mu.Lock()
		named["cell"] = stop
		mu.Unlock()
		go func() { <-stop }()
		mu.Lock()
		delete(named, "cell")
		mu.Unlock()
		close(stop)
	}
}

// baselineIdle is a goroutine that waits at a channel.
func baselineIdle(b *testing.B) {
	const servers = 20_000
	for b.Loop() {
		before := heap()
		ins := make([]chan pairRequest, servers)
		for i := range ins {
			ins[i] = pairServer()
			pairCall(ins[i])
		}
		b.ReportMetric(float64(heap()-before)/servers, "B/server")
		for _, in := range ins {
			close(in)
		}
		runtime.KeepAlive(ins)
	}
}
