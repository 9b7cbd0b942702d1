// Package sessions is a registry of users' sessions as a server: who is logged
// in, with some data for each, until the session is ended or its time is over.
//
//	{Name: "sessions", Run: sessions.Registry.With(sessions.Config{}), Scope: supervisor.Cluster}
//
//	s, err := genserver.Call(ctx, n.Ref("sessions"), sessions.Create{Data: genserver.Map{"user": "ada"}})
//	s, err = genserver.Call(ctx, n.Ref("sessions"), sessions.Touch{ID: s.ID})
//
// Any NATS client can ask too:
//
//	nats req civitas.dev.s.sessions '{"type":"create","data":{"user":"ada"}}'
//
// All ops are calls:
//
//	type    payload                            reply
//	create  id, data, ttl (seconds), all       the session: id, data, ttl and expires_in
//	        optional                           (seconds)
//	get     id                                 the session
//	touch   id; data, ttl optional             the session, whose time begins anew
//	delete  id                                 deleted: whether there was one
//	count                                      count
//
// An id that the registry makes can't be guessed: it is 26 characters of A-Z and
// 2-7, with 128 bits of randomness. Whoever has an id has the session, so ids and data are in
// no error, log or span of this package's.
//
// A session is over at the end of its time, to the nanosecond. When there are
// Config.Capacity of them a new one is refused: a flood of new sessions must
// not end those of the users who are here. All is in memory: a restart begins
// empty, and everyone logs in again.
//
// (A node's own session, by which the cluster tells that the node lives, is
// something else.)
package sessions

import (
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/expiry"
)

// MaxID is how many bytes an id may have.
const MaxID = 128

// What is wrong with a request. None changes anything in the registry.
var (
	// ErrNotFound means that there is no session of this id, or no more.
	ErrNotFound = genserver.NewError("sessions.not_found", "no such session")
	// ErrExists refuses to create a session whose id has one that lives.
	ErrExists = genserver.NewError("sessions.exists", "the session exists already")
	// ErrFull refuses to create a session while there are Config.Capacity.
	ErrFull = genserver.NewError("sessions.full", "too many sessions")
	// ErrBadID refuses an id of more than MaxID bytes, and none where one is
	// needed.
	ErrBadID = genserver.NewError("sessions.bad_id", "bad id")
	// ErrBadTTL refuses a time to live that is not more than zero, or is more
	// than Config.MaxTTL.
	ErrBadTTL = genserver.NewError("sessions.bad_ttl", "bad ttl")
)

// Registry is the registry's Type.
var Registry = genserver.Define("sessions.Registry", newRegistry,
	genserver.HandleCall((*registry).create),
	genserver.HandleCall((*registry).get),
	genserver.HandleCall((*registry).touch),
	genserver.HandleCall((*registry).delete),
	genserver.HandleCall((*registry).count),
	genserver.HandleInfo((*registry).evict),
	genserver.NonBlocking[registry]())

// session is what the registry has of an id.
type session struct {
	data genserver.Map
	ttl  time.Duration
	end  time.Duration // no touch makes it last longer
}

type registry struct {
	Config
	began    time.Time
	sessions expiry.Map[session]
}

// evict is the registry's tick.
type evict struct{ genserver.Signal }

func (evict) Op() string { return "evict" }

func newRegistry(ctx *genserver.Context, cfg Config) (*registry, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx.SendAfter(cfg.EvictEvery, evict{})
	return &registry{Config: cfg, began: time.Now()}, nil
}

// now is the registry's clock, which is monotonic.
func (r *registry) now() time.Duration { return time.Since(r.began) }

func (r *registry) create(_ *genserver.Context, m Create) (Session, error) {
	if len(m.ID) > MaxID {
		return Session{}, errLong(m.ID)
	}
	ttl, err := r.ttl(m.TTL, r.TTL)
	if err != nil {
		return Session{}, err
	}
	now := r.now()
	if m.ID == "" {
		m.ID = rand.Text()
	}
	if e := r.sessions.Get(m.ID); e != nil {
		if !e.Over(now) {
			return Session{}, ErrExists
		}
		r.sessions.Delete(e)
	}
	if r.sessions.Len() == r.Capacity {
		first := r.sessions.First()
		if !first.Over(now) {
			return Session{}, fmt.Errorf("%w: there are %d", ErrFull, r.Capacity)
		}
		r.sessions.Delete(first)
	}
	s := session{data: m.Data, ttl: ttl, end: expiry.After(now, r.MaxAge)}
	return answer(r.sessions.Add(m.ID, s, now, min(ttl, r.MaxAge)), now), nil
}

func (r *registry) get(_ *genserver.Context, m Get) (Session, error) {
	now := r.now()
	e, err := r.find(m.ID, now)
	if err != nil {
		return Session{}, err
	}
	return answer(e, now), nil
}

func (r *registry) touch(_ *genserver.Context, m Touch) (Session, error) {
	now := r.now()
	e, err := r.find(m.ID, now)
	if err != nil {
		return Session{}, err
	}
	ttl, err := r.ttl(m.TTL, e.Value.ttl)
	if err != nil {
		return Session{}, err
	}
	e.Value.ttl = ttl
	if m.Data != nil {
		e.Value.data = m.Data
	}
	r.sessions.Move(e, now, min(ttl, e.Value.end-now))
	return answer(e, now), nil
}

func (r *registry) delete(_ *genserver.Context, m Delete) (Deleted, error) {
	e, err := r.find(m.ID, r.now())
	switch {
	case errors.Is(err, ErrNotFound):
		return Deleted{}, nil
	case err != nil:
		return Deleted{}, err
	}
	r.sessions.Delete(e)
	return Deleted{Deleted: true}, nil
}

func (r *registry) count(*genserver.Context, Count) (Counted, error) {
	r.sweep(r.sessions.Len())
	return Counted{Count: r.sessions.Len()}, nil
}

// evict frees what is over, and sets the next tick: at once, but behind what
// waits by then, where there is more to free.
func (r *registry) evict(ctx *genserver.Context, tick evict) error {
	const most = 1000 // so that nobody waits for long
	next := r.EvictEvery
	if r.sweep(most) == most {
		next = 0
	}
	ctx.SendAfter(next, tick)
	return nil
}

// sweep frees at most so many of the sessions that are over, and counts them.
func (r *registry) sweep(most int) int {
	now := r.now()
	for n := range most {
		e := r.sessions.First()
		if e == nil || !e.Over(now) {
			return n
		}
		r.sessions.Delete(e)
	}
	return most
}

// find is the session of an id that lives.
func (r *registry) find(id string, now time.Duration) (*expiry.Entry[session], error) {
	switch {
	case id == "":
		return nil, fmt.Errorf("%w: it is empty", ErrBadID)
	case len(id) > MaxID:
		return nil, errLong(id)
	}
	e := r.sessions.Get(id)
	if e == nil || e.Over(now) {
		return nil, ErrNotFound
	}
	return e, nil
}

func (r *registry) ttl(seconds *float64, byDefault time.Duration) (time.Duration, error) {
	ttl, err := expiry.TTL(seconds, byDefault, r.MaxTTL)
	if err == nil && ttl == 0 {
		err = errors.New("the session would be over already")
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrBadTTL, err)
	}
	return ttl, nil
}

func errLong(id string) error {
	return fmt.Errorf("%w: %d bytes are more than %d", ErrBadID, len(id), MaxID)
}

func answer(e *expiry.Entry[session], now time.Duration) Session {
	return Session{ID: e.Key(), Data: e.Value.data, TTL: e.Value.ttl.Seconds(), ExpiresIn: e.Left(now).Seconds()}
}
