package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/civitas-go/civitas/transport"
)

const (
	// noticeLimit is how long NATS may take to tell of a connection's end.
	noticeLimit = 2 * time.Second
	// proofLimit bounds a proof that NATS tells of ends, and nobody else.
	proofLimit = 5 * time.Second
	// proveAgain is after how long a failed proof is tried again.
	proveAgain = 10 * time.Second
	// mostHeld bounds the notices that wait for a proof.
	mostHeld = 4096
)

// natsEvents hands on the notices that come on the subject, as long as it is
// proven that they are NATS's.
type natsEvents struct {
	links *natsLinks
	fn    func(Witness)
	state func(error)
	sub   transport.Subscription

	end  context.CancelFunc
	done chan struct{} // closed when keep has returned

	mu      sync.Mutex  // held while fn runs
	ended   bool        // guarded by mu
	proven  bool        // guarded by mu
	held    []Witness   // guarded by mu; told while it is not proven
	probe   Witness     // guarded by mu; the connection whose end is awaited
	arrived chan string // guarded by mu; gets the account that the notice of its end names
}

// Disconnects also proves that the notices are NATS's own: it has a connection
// end, whose notice must come, and before that tries to forge that notice, which
// must be refused. It does so again after each loss of the connection; until it
// has, notices wait.
func (l *natsLinks) Disconnects(ctx context.Context, fn func(Witness), state func(error)) (func(), error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	e := &natsEvents{links: l, fn: fn, state: state, done: make(chan struct{})}
	lost := l.conn.Lost()
	var err error
	if e.sub, err = l.conn.Subscribe(l.subject, e.deliver); err != nil {
		return nil, fmt.Errorf("disconnect events: %w", err)
	}
	if err := e.prove(ctx); err != nil {
		e.unsubscribe()
		return nil, fmt.Errorf("disconnect events: %w", err)
	}
	state(nil)
	var alive context.Context
	alive, e.end = context.WithCancel(context.WithoutCancel(ctx))
	go e.keep(alive, lost)
	return e.stop, nil
}

// keep proves again after each loss of the connection, until it is proven.
func (e *natsEvents) keep(ctx context.Context, lost <-chan struct{}) {
	defer close(e.done)
	select {
	case <-lost:
	case <-ctx.Done():
	}
	told := ""
	for ctx.Err() == nil {
		e.doubt()
		lost := e.links.conn.Lost()
		within, cancel := context.WithTimeout(ctx, proofLimit)
		err := e.prove(within)
		cancel()
		var again <-chan time.Time
		switch {
		case err == nil:
			if told != "" {
				e.state(nil)
			}
			told = ""
		case errors.Is(err, ErrNoEvents):
			if err.Error() != told {
				told = err.Error()
				e.state(err)
			}
			again = time.After(proveAgain)
		default: // there is no connection yet, or no more
			_ = pause(ctx, redialMin)
			continue
		}
		select {
		case <-lost:
		case <-again:
		case <-ctx.Done():
		}
	}
}

// prove returns ErrNoEvents if NATS doesn't tell, or someone else could.
func (e *natsEvents) prove(ctx context.Context) error {
	conn, subject := e.links.conn, e.links.subject
	if err := conn.Flush(ctx); err != nil {
		return err
	}
	servers := conn.Servers()
	w, err := e.links.dial(ctx, servers[len(servers)-1], "probe")
	if err != nil {
		return err
	}
	defer w.Close()
	arrived := e.await(w.witness)
	if err := w.nc.Publish(subject, w.witness.notice()); err != nil {
		return err
	}
	if err := w.Ping(ctx); err != nil {
		return err
	}
	if !errors.Is(w.nc.LastError(), nats.ErrPermissionViolation) {
		return fmt.Errorf("%w that could be trusted: any client may publish to %s; have NATS publish its notices there, and deny it to this node's user and all others", ErrNoEvents, subject)
	}
	noAnswers, err := w.mayAsk(ctx)
	if err != nil {
		return err
	}
	w.Close()
	t := time.NewTimer(noticeLimit)
	defer t.Stop()
	select {
	case account := <-arrived:
		if account == globalAccount {
			noAnswers = errGlobal
		}
		e.links.asks(noAnswers)
		e.trust()
		return nil
	case <-t.C:
		return fmt.Errorf("%w: a connection has ended, and no notice of it came to %s within %v; import $SYS.ACCOUNT.<account>.DISCONNECT there from the system account, and permit this node's user to subscribe to it", ErrNoEvents, subject, noticeLimit)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// await gets a connection's account when its end is told. One is awaited at a time.
func (e *natsEvents) await(w Witness) <-chan string {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.probe, e.arrived = w, make(chan string, 1)
	return e.arrived
}

func (e *natsEvents) deliver(m transport.Msg) {
	w, account, ok := parseDisconnect(m.Data)
	if !ok {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case w == e.probe:
		e.arrived <- account
		e.probe = Witness{}
	case e.ended:
	case e.proven:
		e.fn(w)
	case len(e.held) < mostHeld:
		e.held = append(e.held, w)
	}
}

// trust hands on what has waited.
func (e *natsEvents) trust() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.proven = true
	for _, w := range e.held {
		if !e.ended {
			e.fn(w)
		}
	}
	e.held = nil
}

func (e *natsEvents) doubt() {
	e.links.asks(errAsking)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.proven, e.held = false, nil
}

func (e *natsEvents) stop() {
	e.mu.Lock()
	e.ended = true
	e.mu.Unlock()
	e.end()
	<-e.done
	e.unsubscribe()
}

func (e *natsEvents) unsubscribe() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // what is on its way is for nobody
	_ = e.sub.Drain(ctx)
}
