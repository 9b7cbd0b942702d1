package transport

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"
)

// inflight holds the requests of one Conn that wait for an answer. All share
// one wildcard subscription; the last token of a reply subject tells them apart.
type inflight struct {
	prefix string // an inbox of this Conn, with a dot at its end

	mu     sync.Mutex
	closed error              // guarded by mu; refuses further requests
	last   uint64             // guarded by mu
	wait   map[uint64]*waiter // guarded by mu
	free   []*waiter          // guarded by mu; not a sync.Pool: channels must not leave a synctest bubble
}

// waiter is a request's place to wait. Whoever takes it out of the map owes
// it exactly one answer, so that it can be used again.
type waiter struct {
	answer chan answer
	timer  *time.Timer // nil until it has been needed
	peer   *Peer       // whose answer it is; nil for anyone's. Guarded by inflight.mu
}

type answer struct {
	msg Msg
	err error
}

const maxFreeWaiters = 1024

func newInflight(inbox string) *inflight {
	return &inflight{prefix: inbox + ".", wait: make(map[uint64]*waiter)}
}

// subject is the wildcard that all answers match.
func (in *inflight) subject() string { return in.prefix + "*" }

// pending is one request under way: begin, send, await.
type pending struct {
	id    uint64
	w     *waiter
	alone bool // there was no other
}

// reply is the subject that the answer is awaited on.
func (in *inflight) reply(p pending) string {
	var b [64]byte
	return string(strconv.AppendUint(append(b[:0], in.prefix...), p.id, 36))
}

// await waits for the answer to what was sent, or returns why it was not.
func (in *inflight) await(ctx context.Context, until time.Time, p pending, sent error) (Msg, error) {
	if sent != nil {
		in.abandon(p.id, p.w)
		return Msg{}, sent
	}
	var over <-chan time.Time
	if !until.IsZero() {
		if p.w.timer == nil {
			p.w.timer = time.NewTimer(time.Until(until))
		} else {
			p.w.timer.Reset(time.Until(until))
		}
		over = p.w.timer.C
		defer p.w.timer.Stop()
	}
	select {
	case a := <-p.w.answer:
		in.release(p.w)
		return a.msg, a.err
	case <-ctx.Done():
		in.abandon(p.id, p.w)
		return Msg{}, ctx.Err()
	case <-over:
		in.abandon(p.id, p.w)
		return Msg{}, context.DeadlineExceeded
	}
}

// begin makes a place for the answer, unless none can come.
func (in *inflight) begin(ctx context.Context, peer *Peer) (pending, error) {
	if err := ctx.Err(); err != nil {
		return pending{}, err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed != nil {
		return pending{}, in.closed
	}
	if err := peer.refusal(); err != nil {
		return pending{}, err
	}
	var w *waiter
	if n := len(in.free); n > 0 {
		w, in.free = in.free[n-1], in.free[:n-1]
	} else {
		w = &waiter{answer: make(chan answer, 1)}
	}
	w.peer = peer
	in.last++
	in.wait[in.last] = w
	return pending{in.last, w, len(in.wait) == 1}, nil
}

// take removes a waiter; the caller then owes it an answer.
func (in *inflight) take(id uint64) *waiter {
	in.mu.Lock()
	defer in.mu.Unlock()
	w := in.wait[id]
	delete(in.wait, id)
	return w
}

func (in *inflight) abandon(id uint64, w *waiter) {
	if in.take(id) == nil {
		<-w.answer // somebody has taken it and is about to answer
	}
	in.release(w)
}

func (in *inflight) release(w *waiter) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.free) < maxFreeWaiters {
		in.free = append(in.free, w)
	}
}

// answer gives a message to the request it answers, and those of a bundle to
// theirs; later answers to the same request, and answers to none, are dropped.
func (in *inflight) answer(m Msg) {
	if isBundle(m.Subject, m.Data) {
		entries, n, err := unbundle(m.Data, "")
		if err != nil {
			return
		}
		for range n {
			e, _ := entries.next() // It succeeds so many times.
			in.settle(string(e.rest), answer{msg: Msg{Data: e.data}})
		}
		return
	}
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		in.refuse(m.Subject, ErrNoResponders)
		return
	}
	if token, ok := strings.CutPrefix(m.Subject, in.prefix); ok {
		in.settle(token, answer{msg: m})
	}
}

// refuse fails the requests that a reply subject is of, more than one where it
// is that of a bundle.
func (in *inflight) refuse(reply string, err error) {
	tokens, ok := strings.CutPrefix(reply, in.prefix)
	if !ok {
		return
	}
	for token := range strings.SplitSeq(tokens, bundleJoint) {
		in.settle(token, answer{err: err})
	}
}

// settle gives the request of that token its answer.
func (in *inflight) settle(token string, a answer) {
	id, err := strconv.ParseUint(token, 36, 64)
	if err != nil {
		return
	}
	if w := in.take(id); w != nil {
		w.answer <- a
	}
}

// fail ends every request that waits now.
func (in *inflight) fail(err error) {
	in.mu.Lock()
	wait := in.wait
	in.wait = make(map[uint64]*waiter)
	in.mu.Unlock()
	for _, w := range wait {
		w.answer <- answer{err: err}
	}
}

// failPeer ends every request that waits for an answer of the peer's, which has ended.
// Those that begin later find that themselves.
func (in *inflight) failPeer(peer *Peer) {
	var failed []*waiter
	in.mu.Lock()
	for id, w := range in.wait {
		if w.peer == peer {
			delete(in.wait, id)
			failed = append(failed, w)
		}
	}
	in.mu.Unlock()
	for _, w := range failed {
		w.answer <- answer{err: peer.failure()}
	}
}

// close refuses further requests with refuse and fails those that wait.
func (in *inflight) close(refuse, waiting error) {
	in.mu.Lock()
	if in.closed == nil {
		in.closed = refuse
	}
	in.mu.Unlock()
	in.fail(waiting)
}
