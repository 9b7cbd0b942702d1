package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/civitas-go/civitas/internal/membership"
)

// Waits of whoever dials witnesses and asks for events.
const (
	dialLimit = 2 * time.Second
	redialMin = 50 * time.Millisecond
	redialMax = 2 * time.Second
	askEvents = 10 * time.Second // for one answer whether there are events
	askAgain  = 30 * time.Second

	questionLimit = time.Second // for what servers say of connections
	maxWitness    = len(membership.Witnesses{})
)

var errAsking = errors.New("it is not known yet whether NATS tells disconnect events")

// Events is nil while this node is told of the ends of others' connections: then
// the death of a node is known within about a second, and else when it has been
// silent for [Timing].Judge. The error says why it's not told.
func (r *Registry) Events() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.eventsErr
}

// Failover is how long after the last sign of this node's life others know of its
// death: [Timing].Event while [Registry.Events] is nil, counted from the ends of its
// witnesses, else Timing.Judge.
func (r *Registry) Failover() time.Duration {
	if r.Events() == nil {
		return r.timing.Event
	}
	return r.timing.Judge
}

// keepLinks asks for disconnect events until there are some, and then keeps
// witnesses too. A node that is told nothing names no witnesses: nobody may be
// told of their ends, and the gate would depend on them for nothing.
func (r *Registry) keepLinks() {
	ctx := r.testimony
	var last string
	for {
		stop, err := r.askEvents(ctx)
		if err == nil {
			defer stop()
			break
		}
		if text := err.Error(); text != last && ctx.Err() == nil {
			last = text
			r.eventsChanged(err)
		}
		if pause(ctx, askAgain) != nil {
			return
		}
	}
	for range maxWitness {
		r.testify.Go(func() { r.keepWitness(ctx) })
	}
	<-ctx.Done()
}

func (r *Registry) askEvents(ctx context.Context) (stop func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, askEvents)
	defer cancel()
	return r.info.Links.Disconnects(ctx, r.connectionEnded, r.eventsChanged)
}

// eventsChanged takes whether ends are told. A node keeps its witnesses when they
// are not any more: others may be told of them.
func (r *Registry) eventsChanged(err error) {
	r.mu.Lock()
	r.eventsErr = err
	r.mu.Unlock()
	if err != nil {
		r.log.Info("no disconnect events: a node that dies is known to be dead when it has been silent for some time",
			"failover", r.Failover(), "reason", err)
		return
	}
	r.log.Info("disconnect events are told: a node that dies is known to be dead soon after its connections have ended",
		"failover", r.Failover())
}

// connectionEnded takes the word of the end of some connection.
func (r *Registry) connectionEnded(w Witness) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ends.Add(r.gate.now(), membership.Witness(w), 10*r.timing.Judge)
	for _, q := range r.inquiries {
		q.ring.signal()
	}
}

// question has asked what became of another node's witnesses, of whose ends this one
// may not have been told: it was not there then, or the word was lost.
func (r *Registry) question(ctx context.Context, ws membership.Witnesses) {
	if r.info.Links == nil || !r.begin() {
		return
	}
	var connections []Witness
	for _, w := range ws {
		if w != (membership.Witness{}) {
			connections = append(connections, Witness(w))
		}
	}
	go func() {
		defer r.wg.Done()
		ctx, cancel := context.WithTimeout(ctx, questionLimit)
		defer cancel()
		ended, err := r.info.Links.Ended(ctx, connections)
		for _, w := range ended {
			r.connectionEnded(w)
		}
		if errors.Is(err, ErrNotAsked) && !r.unasked.Swap(true) {
			r.log.Info("NATS can't be asked whether a node's connections have ended: one that died unnoticed is known to be dead when it has been silent for some time",
				"after", r.timing.Judge, "reason", err)
		}
	}()
}

// keepWitness has one witness after another until ctx ends.
func (r *Registry) keepWitness(ctx context.Context) {
	wait := redialMin
	for ctx.Err() == nil {
		conn, err := r.dialWitness(ctx)
		if err != nil {
			r.log.Debug("no witness", "error", err)
			_ = pause(ctx, wait)
			wait = min(2*wait, redialMax)
			continue
		}
		wait = redialMin
		r.watchWitness(ctx, conn)
		conn.Close()
	}
}

// dialWitness dials a server that is none of those with a witness, and has it
// answer once.
func (r *Registry) dialWitness(ctx context.Context) (WitnessConn, error) {
	dialCtx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	r.mu.Lock()
	except := r.witnessServers
	r.mu.Unlock()
	conn, err := r.info.Links.DialWitness(dialCtx, except)
	if err != nil {
		return nil, err
	}
	sent := r.gate.now()
	if err = conn.Ping(dialCtx); err == nil {
		err = r.hold(conn.Witness(), sent)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func (r *Registry) hold(w Witness, sent time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Contains(r.witnessServers, w.Server) {
		return fmt.Errorf("server %s has a witness already", w.Server)
	}
	r.witnessServers = append(slices.Clone(r.witnessServers), w.Server)
	r.session.Hold(r.gate.now(), membership.Witness(w))
	r.session.Pong(membership.Witness(w), sent)
	r.gate.set(r.session.Until())
	r.renew.signal()
	return nil
}

// watchWitness PINGs until the witness has ended or been silent for too long.
func (r *Registry) watchWitness(ctx context.Context, conn WitnessConn) {
	defer r.drop(conn.Witness())
	heard := r.gate.now()
	for {
		sent := r.gate.now()
		pingCtx, cancel := context.WithTimeout(ctx, r.timing.Pong)
		err := conn.Ping(pingCtx)
		cancel()
		if err == nil {
			heard = sent
			r.pong(conn.Witness(), sent)
		}
		if ctx.Err() != nil || r.gate.now()-heard > r.timing.Silence() {
			return
		}
		t := time.NewTimer(sent + r.timing.Ping - r.gate.now())
		select {
		case <-t.C:
		case <-conn.Done():
			t.Stop()
			return
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

func (r *Registry) pong(w Witness, sent time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.session.Pong(membership.Witness(w), sent)
	r.gate.set(r.session.Until())
}

// drop gives a witness up: it counts no more.
func (r *Registry) drop(w Witness) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.witnessServers = slices.DeleteFunc(slices.Clone(r.witnessServers), func(id string) bool { return id == w.Server })
	r.session.Drop(r.gate.now(), membership.Witness(w))
	r.gate.set(r.session.Until())
	r.renew.signal()
}

// endWitnesses closes them and waits.
func (r *Registry) endWitnesses() {
	r.endTestimony()
	r.testify.Wait()
}
