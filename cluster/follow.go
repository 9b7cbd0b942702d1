package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/civitas-go/civitas/internal/membership"
)

// Follow calls fn once, from a goroutine of the registry's, when an incarnation
// is known to have ended; soon if it has already. The reason is a
// *genserver.Error of the code node_down, which says whether the node has left
// or was declared dead. Whoever follows judges: an incarnation that is silent
// for as long as [Timing].Judge, or whose witnesses are known to have ended, is
// declared dead.
//
// After stop returns fn is not called any more, unless it is being called just
// then. Nor is it called after Leave or Close. fn should be quick.
func (r *Registry) Follow(incarnation string, fn func(reason error)) (stop func()) {
	q, release := r.inquire(incarnation)
	if q == nil {
		return func() {}
	}
	id := q.follow(fn)
	var once sync.Once
	return func() {
		once.Do(func() {
			q.unfollow(id)
			release()
		})
	}
}

// inquiry is the inquest into one incarnation's session, shared by all who want
// to know. It has one goroutine, until it has come to its end or nobody wants
// to know any more.
type inquiry struct {
	r           *Registry
	incarnation string
	stop        context.CancelFunc
	ring        bell // something has changed

	users int // guarded by Registry.mu

	mu      sync.Mutex
	inquest *membership.Inquest
	record  SessionRecord // the version seen last, whose sequence is seq
	seq     uint64
	heard   time.Duration          // when that version was seen first
	judged  bool                   // by this node
	why     string                 // it was, or would be
	waiting map[uint64]func(error) // nil after the end
	next    uint64
	news    chan struct{} // closed, and made anew, when the status may have changed
}

// inquire joins the inquest into a session, or begins one. Nil after the
// registry's end.
func (r *Registry) inquire(incarnation string) (q *inquiry, release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left {
		return nil, nil
	}
	q = r.inquiries[incarnation]
	if q == nil {
		q = &inquiry{
			r: r, incarnation: incarnation, ring: newBell(),
			inquest: membership.NewInquest(r.timing, r.info.EmbeddedServer),
			waiting: map[uint64]func(error){}, news: make(chan struct{}),
		}
		if seen, ok := r.sightings[incarnation]; ok {
			q.take(seen)
			q.inquest.Saw(seen.at, seen.seq, content(seen.record), true)
		}
		var ctx context.Context
		ctx, q.stop = context.WithCancel(r.life)
		r.inquiries[incarnation] = q
		r.wg.Go(func() { q.run(ctx) })
	}
	q.users++
	return q, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if q.users--; q.users == 0 {
			delete(r.inquiries, incarnation)
			q.stop()
		}
	}
}

// run holds the inquest.
func (q *inquiry) run(ctx context.Context) {
	defer q.stop()
	for ctx.Err() == nil {
		step, verdict := q.step()
		switch step.Do {
		case membership.Done:
			q.finish()
			return
		case membership.Wait:
			q.r.waitUntil(ctx, step.At, q.ring)
		case membership.Question:
			q.r.question(ctx, step.Witnesses)
			q.result(step, membership.Result{}, SessionRecord{}) // the answer comes by itself
		default:
			verdict.State, verdict.By, verdict.Nonce = Dead, q.r.self.Incarnation, NewIncarnation()
			result, read := q.r.sessionOp(ctx, q.incarnation, step, verdict)
			q.result(step, result, read)
		}
	}
}

// step is what the inquest wants, and the record to make a verdict of.
func (q *inquiry) step() (membership.Step, SessionRecord) {
	q.r.mu.Lock() // before q.mu, as everywhere
	defer q.r.mu.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.r.gate.now()
	step := q.inquest.Next(now, q.r.session.Standing(now), &q.r.ends)
	if step.Do == membership.Update {
		q.why = "its session was silent for too long"
		if _, all := q.r.ends.Last(q.inquest.Witnesses()); all {
			q.why = "the connections that witness its life have ended"
		}
	}
	return step, q.record
}

func (q *inquiry) result(step membership.Step, result membership.Result, read SessionRecord) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if read.Incarnation != "" && result.Seq > q.seq {
		q.take(sighting{result.Seq, q.r.gate.now(), read})
	}
	q.inquest.Result(q.r.gate.now(), step, result)
	q.judged = q.judged || step.Do == membership.Update && result.Outcome == membership.OK
	q.tell()
}

// finish tells the followers, and everyone of a verdict. The inquiry stays
// where others find it as long as someone uses it.
func (q *inquiry) finish() {
	q.mu.Lock()
	reason, record, judged, why := q.reason(), q.record, q.judged, q.why
	waiting := q.waiting
	q.waiting = nil
	q.tell()
	dead := q.inquest.Status(q.r.gate.now()) == membership.Died
	q.mu.Unlock()
	q.r.endings.note(q.incarnation, record.Node, dead)
	for _, fn := range waiting {
		fn(reason)
	}
	if judged {
		q.r.log.Warn("declared a node dead", "dead", record.Node, "incarnation", q.incarnation, "reason", why)
		if q.r.info.Died != nil {
			q.r.info.Died(record.Node, q.incarnation, why)
		}
		q.r.retireNode(record)
	}
}

// reason is that of the end; q.mu is held.
func (q *inquiry) reason() error {
	return endedError(q.incarnation, q.record.Node, q.inquest.Status(q.r.gate.now()) == membership.Died)
}

// tell lets those look who wait for the status; q.mu is held.
func (q *inquiry) tell() {
	close(q.news)
	q.news = make(chan struct{})
}

func (q *inquiry) saw(seen sighting) {
	q.mu.Lock()
	if seen.seq > q.seq {
		q.take(seen)
	}
	q.inquest.Saw(seen.at, seen.seq, content(seen.record), true)
	q.tell()
	q.mu.Unlock()
	q.ring.signal()
}

// take has a newer version; q.mu is held. A verdict is no sign of life.
func (q *inquiry) take(seen sighting) {
	q.seq, q.record = seen.seq, seen.record
	if seen.record.State != Dead {
		q.heard = seen.at
	}
}

func (q *inquiry) gone() {
	q.mu.Lock()
	q.inquest.Gone()
	q.mu.Unlock()
	q.ring.signal()
}

// status waits until it is known whether the incarnation lives or has ended. It
// also returns the session's record as it was seen last, and when that was.
func (q *inquiry) status(ctx context.Context) (membership.Status, sighting, error) {
	for {
		q.mu.Lock()
		s, seen, news := q.inquest.Status(q.r.gate.now()), sighting{q.seq, q.heard, q.record}, q.news
		q.mu.Unlock()
		if s != membership.Unsure {
			return s, seen, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return s, seen, ctx.Err()
		}
	}
}

// follow has fn called at the end.
func (q *inquiry) follow(fn func(error)) (id uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next++
	if q.waiting != nil {
		q.waiting[q.next] = fn
		return q.next
	}
	if reason := q.reason(); q.r.begin() {
		go func() {
			defer q.r.wg.Done()
			fn(reason)
		}()
	}
	return q.next
}

func (q *inquiry) unfollow(id uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.waiting, id)
}

// retireNode deletes the node record of an incarnation that was declared dead,
// if it still names that. Its own records stay until someone claims the names,
// so that those who call them wait for a new owner.
func (r *Registry) retireNode(dead SessionRecord) {
	ctx, cancel := bounded(r.life)
	defer cancel()
	k := Key{Kind: KindNode, Name: dead.Node}
	e, err := r.store.Get(ctx, k)
	if err != nil {
		return // whoever wants the name finds the verdict
	}
	if rec, err := DecodeNode(e.Value); err == nil && rec.Incarnation == dead.Incarnation {
		_ = r.letGo(ctx, k, e.Seq) // likewise
	}
}
