package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/membership"
)

// Gate says when this node may act for the cluster-wide names it owns.
func (r *Registry) Gate() *Gate { return r.gate }

// Lost is closed when this incarnation has learned that it may never act again:
// it was silent for so long that another node declared it dead, or its session
// was removed or written by another. The gate is closed for good then, and
// every cluster-wide name this node had is or will be another's. [Registry.Err]
// says why. It is not closed by Leave or Close.
func (r *Registry) Lost() <-chan struct{} { return r.lost }

// Err is why the session was lost, a *genserver.Error of the code fenced; nil
// before Lost is closed.
func (r *Registry) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lostErr
}

// keepSession creates the session and renews it until the registry ends or the
// session is lost.
func (r *Registry) keepSession() {
	for r.life.Err() == nil {
		r.mu.Lock()
		step := r.session.Next(r.gate.now())
		r.gate.set(r.session.Until()) // what is about to be written may promise more
		r.mu.Unlock()
		switch step.Do {
		case membership.Done:
			return
		case membership.Wait:
			r.waitUntil(r.life, step.At, r.renew)
		default:
			result, _ := r.sessionOp(r.life, r.self.Incarnation, step, r.ownSession(step))
			r.mu.Lock()
			r.session.Result(r.gate.now(), step, result)
			r.mu.Unlock()
			r.sessionMoved()
		}
	}
}

// sessionMoved passes on what has become of the session.
func (r *Registry) sessionMoved() {
	r.mu.Lock()
	until, reason := r.session.Until(), r.session.Lost()
	opened := until > 0
	if reason != membership.NotLost && r.lostErr == nil && !r.left {
		r.lostErr = &genserver.Error{
			Code: genserver.ErrFenced.Code, Undelivered: true,
			Text: fmt.Sprintf("node %s (incarnation %s): %s", r.info.Node, r.self.Incarnation, reason),
		}
		r.gate.lose()
		close(r.lost)
		r.log.Error("this node has lost its session, and its cluster-wide names with it", "error", r.lostErr)
	}
	r.gate.set(until) // under the lock, so that none of an earlier state comes later
	r.mu.Unlock()
	if opened || reason != membership.NotLost {
		r.joinedOnce.Do(func() { close(r.joined) })
	}
}

// ownSession is the next version of this node's session.
func (r *Registry) ownSession(step membership.Step) SessionRecord {
	var witnesses []Witness
	for _, w := range step.Witnesses {
		if w != (membership.Witness{}) {
			witnesses = append(witnesses, Witness(w))
		}
	}
	return SessionRecord{
		Witnesses:   witnesses,
		LeaseMS:     milliseconds(r.timing.Lease),
		PongMS:      milliseconds(r.timing.Pong),
		Incarnation: r.self.Incarnation,
		Node:        r.info.Node,
		State:       Alive,
		Nonce:       step.Nonce,
		Embedded:    r.info.EmbeddedServer,
		Since:       r.since,
		Host:        r.info.Host,
		PID:         r.info.PID,
		Release:     r.info.Release,
	}
}

// milliseconds rounds up: a promise may not be told shorter than it is.
func milliseconds(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

// sessionOp does one step on the session of an incarnation, its own or
// another's. After a Get it also returns the record.
func (r *Registry) sessionOp(ctx context.Context, incarnation string, step membership.Step, write SessionRecord) (membership.Result, SessionRecord) {
	ctx, cancel := context.WithTimeout(ctx, r.patience())
	defer cancel()
	k := sessionKey(incarnation)
	switch step.Do {
	case membership.Get:
		return r.readSession(ctx, k)
	case membership.Delete:
		return membership.Result{Outcome: outcome(r.store.Delete(ctx, k, step.Expect))}, SessionRecord{}
	}
	value, err := write.Encode()
	if err != nil {
		r.log.Error("a session's record cannot be written", "record", k.String(), "error", err)
		return membership.Result{Outcome: membership.Unavailable}, SessionRecord{}
	}
	var seq uint64
	switch {
	case step.Do == membership.Create:
		seq, err = r.store.Create(ctx, k, value)
	case write.State == Dead:
		seq, err = r.store.Finish(ctx, k, value, step.Expect)
	default:
		seq, err = r.store.Update(ctx, k, value, step.Expect)
	}
	return membership.Result{Outcome: outcome(err), Seq: seq}, SessionRecord{}
}

func (r *Registry) readSession(ctx context.Context, k Key) (membership.Result, SessionRecord) {
	e, err := r.store.Get(ctx, k)
	if err != nil {
		return membership.Result{Outcome: outcome(err), Seq: e.Seq}, SessionRecord{}
	}
	rec, err := sessionIn(e.Value, k.Name)
	if err != nil {
		r.log.Warn("a session's record cannot be read", "record", k.String(), "error", err)
		return membership.Result{Outcome: membership.Unavailable}, SessionRecord{}
	}
	return membership.Result{Outcome: membership.OK, Seq: e.Seq, Session: content(rec)}, rec
}

// patience bounds one operation on a session, so that a renewal that hangs
// leaves time for others before the lease runs out.
func (r *Registry) patience() time.Duration { return r.timing.Lease / 6 }

func outcome(err error) membership.Outcome {
	switch {
	case err == nil:
		return membership.OK
	case errors.Is(err, ErrNotFound):
		return membership.NotFound
	case errors.Is(err, ErrConflict):
		return membership.Conflict
	case errors.Is(err, ErrUnknown):
		return membership.Unknown
	default:
		return membership.Unavailable
	}
}

func content(rec SessionRecord) membership.Content {
	c := membership.Content{
		Nonce: rec.Nonce, Dead: rec.State == Dead, Embedded: rec.Embedded,
		Lease: time.Duration(rec.LeaseMS) * time.Millisecond, Pong: time.Duration(rec.PongMS) * time.Millisecond,
	}
	for i, w := range rec.Witnesses {
		c.Witnesses[i] = membership.Witness(w)
	}
	return c
}

// sessionIn reads the record of an incarnation's session.
func sessionIn(value []byte, incarnation string) (SessionRecord, error) {
	rec, err := DecodeSession(value)
	if err == nil && rec.Incarnation != incarnation {
		err = fmt.Errorf("session record of %s says it is of %s", incarnation, rec.Incarnation)
	}
	return rec, err
}

// sighting is the version of another's session that a watch showed last.
type sighting struct {
	seq    uint64
	at     time.Duration
	record SessionRecord
}

// sessionChanged takes a watched change of any session.
func (r *Registry) sessionChanged(ch Change) {
	incarnation := ch.Key.Name
	if incarnation == r.self.Incarnation {
		r.ownSessionChanged(ch)
		return
	}
	seen := sighting{seq: ch.Seq, at: r.gate.now()}
	if !ch.Deleted {
		var err error
		if seen.record, err = sessionIn(ch.Value, incarnation); err != nil {
			return
		}
	}
	r.mu.Lock()
	q := r.inquiries[incarnation]
	node := seen.record.Node
	if ch.Deleted {
		node = r.sightings[incarnation].record.Node
	}
	switch {
	case ch.Deleted || seen.record.State == Dead:
		delete(r.sightings, incarnation)
	case r.sightings[incarnation].seq < ch.Seq:
		r.sightings[incarnation] = seen
	}
	r.mu.Unlock()
	if ch.Deleted || seen.record.State == Dead {
		r.endings.note(incarnation, node, !ch.Deleted)
	}
	switch {
	case q == nil:
	case ch.Deleted:
		q.gone()
	default:
		q.saw(seen)
	}
}

// forgetSightings drops what has not been seen to change for long.
func (r *Registry) forgetSightings() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.gate.now()
	for incarnation, seen := range r.sightings {
		if now-seen.at > 10*r.timing.Judge {
			delete(r.sightings, incarnation)
		}
	}
}

func (r *Registry) ownSessionChanged(ch Change) {
	rec, err := sessionIn(ch.Value, r.self.Incarnation)
	if ch.Deleted || err != nil || rec.State != Dead {
		return // the next renewal finds out
	}
	r.mu.Lock()
	r.session.Saw(ch.Seq, content(rec))
	r.mu.Unlock()
	r.sessionMoved()
	r.renew.signal()
}

// waitUntil returns when the node's clock has reached at, when bell has rung,
// or when ctx ends.
func (r *Registry) waitUntil(ctx context.Context, at time.Duration, ring bell) {
	t := time.NewTimer(at - r.gate.now())
	defer t.Stop()
	select {
	case <-t.C:
	case <-ring:
	case <-ctx.Done():
	}
}

// bell wakes one goroutine that waits; it may have rung before it does.
type bell chan struct{}

func newBell() bell { return make(bell, 1) }

func (b bell) signal() {
	select {
	case b <- struct{}{}:
	default:
	}
}

func sessionKey(incarnation string) Key { return Key{Kind: KindSession, Name: incarnation} }
