package sessions_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/services/sessions"
)

// model is the registry said plainly.
type model struct {
	capacity int
	maxAge   time.Duration
	now      time.Duration
	sessions map[string]modelSession
}

type modelSession struct {
	n              int
	ttl, over, end time.Duration
}

func (m *model) alive() int {
	for id, s := range m.sessions {
		if s.over <= m.now {
			delete(m.sessions, id)
		}
	}
	return len(m.sessions)
}

// put has a session's time begin.
func (m *model) put(id string, s modelSession) sessions.Session {
	s.over = min(m.now+s.ttl, s.end)
	m.sessions[id] = s
	return sessions.Session{
		ID: id, Data: genserver.Map{"n": s.n}, TTL: s.ttl.Seconds(), ExpiresIn: (s.over - m.now).Seconds(),
	}
}

// step is something done to the registry.
type step struct {
	op, id string
	n      int // the data, or seconds to sleep
	ttl    int // seconds
}

func steps(t *rapid.T) []step {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			op:  rapid.SampledFrom([]string{"create", "create", "get", "touch", "delete", "count", "sleep"}).Draw(t, "op"),
			id:  rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "id"),
			n:   rapid.SampledFrom([]int{1, 2, 5, 9}).Draw(t, "n"),
			ttl: rapid.SampledFrom([]int{1, 3, 8, 20, 60}).Draw(t, "ttl"),
		}
	}), 40, 120).Draw(t, "steps")
}

// Whatever is done to it, in whatever order and at whatever time, the registry
// answers as the model does.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		cfg := sessions.Config{
			Capacity:   rapid.IntRange(1, 4).Draw(rt, "capacity"),
			MaxAge:     time.Duration(rapid.IntRange(10, 60).Draw(rt, "max age")) * time.Second,
			EvictEvery: time.Duration(rapid.IntRange(1, 30).Draw(rt, "evict")) * time.Second,
		}
		todo := steps(rt)
		problem := ""
		registered(t, config(cfg), func(t *testing.T, registry genserver.Ref) {
			m := &model{capacity: cfg.Capacity, maxAge: cfg.MaxAge, sessions: map[string]modelSession{}}
			for i, s := range todo {
				want, wantErr := m.do(s)
				got, err := do(registry, s)
				if diff := cmp.Diff(want, got); diff != "" || !errors.Is(err, wantErr) {
					problem = fmt.Sprintf("step %d, %+v: got error %v, want %v (-want +got):\n%s", i, s, err, wantErr, diff)
					return
				}
			}
		})
		if problem != "" { // rapid wants to hear of it outside of the bubble
			rt.Fatal(problem)
		}
	})
}

func (m *model) do(s step) (any, error) {
	alive := m.alive()
	was, exists := m.sessions[s.id]
	ttl := time.Duration(s.ttl) * time.Second
	switch {
	case s.op == "create" && exists:
		return sessions.Session{}, sessions.ErrExists
	case s.op == "create" && alive == m.capacity:
		return sessions.Session{}, sessions.ErrFull
	case s.op == "create":
		return m.put(s.id, modelSession{n: s.n, ttl: ttl, end: m.now + m.maxAge}), nil
	case s.op == "delete":
		delete(m.sessions, s.id)
		return sessions.Deleted{Deleted: exists}, nil
	case s.op == "count":
		return sessions.Counted{Count: alive}, nil
	case s.op == "sleep":
		m.now += time.Duration(s.n) * time.Second
		return nil, nil
	case !exists:
		return sessions.Session{}, sessions.ErrNotFound
	case s.op == "touch":
		return m.put(s.id, modelSession{n: s.n, ttl: ttl, end: was.end}), nil
	default:
		return sessions.Session{
			ID: s.id, Data: genserver.Map{"n": was.n}, TTL: was.ttl.Seconds(), ExpiresIn: (was.over - m.now).Seconds(),
		}, nil
	}
}

func do(registry genserver.Ref, s step) (any, error) {
	ctx, data, ttl := context.Background(), genserver.Map{"n": s.n}, new(float64(s.ttl))
	switch s.op {
	case "create":
		return genserver.Call(ctx, registry, sessions.Create{ID: s.id, Data: data, TTL: ttl})
	case "touch":
		return genserver.Call(ctx, registry, sessions.Touch{ID: s.id, Data: data, TTL: ttl})
	case "delete":
		return genserver.Call(ctx, registry, sessions.Delete{ID: s.id})
	case "count":
		return genserver.Call(ctx, registry, sessions.Count{})
	case "get":
		return genserver.Call(ctx, registry, sessions.Get{ID: s.id})
	default:
		sleep(time.Duration(s.n) * time.Second)
		return nil, nil
	}
}
