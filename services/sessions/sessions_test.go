package sessions_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/services/sessions"
	"github.com/civitas-go/civitas/supervisor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// registered starts a registry in virtual time and hands the test its Ref.
func registered(t *testing.T, run genserver.Runnable, test func(t *testing.T, registry genserver.Ref)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		sys := genserver.NewSystem(genserver.Config{Logger: slog.New(slog.DiscardHandler)})
		root := supervisor.Spec{Children: []supervisor.Child{{Name: "sessions", Run: run}}}
		p, err := sys.Start(t.Context(), "root", root, genserver.SpawnOptions{})
		if err != nil {
			t.Fatalf("start: got %v, want nil", err)
		}
		test(t, sys.Ref("sessions"))
		if err := p.Stop(context.Background(), genserver.Shutdown); err != nil {
			t.Errorf("stop: got %v, want nil", err)
		}
	})
}

func config(c sessions.Config) genserver.Runnable { return sessions.Registry.With(c) }

// call makes a call that must succeed.
func call[Req genserver.CallMessage[Rep], Rep any](t *testing.T, to genserver.Ref, r Req) Rep {
	t.Helper()
	rep, err := genserver.Call(context.Background(), to, r)
	if err != nil {
		t.Errorf("%s %+v: got %v, want nil", r.Op(), r, err)
	}
	return rep
}

// wantErr makes a call that must fail so, with a text that has all of the words.
func wantErr[Req genserver.CallMessage[Rep], Rep any](t *testing.T, to genserver.Ref, r Req, want error, words ...string) {
	t.Helper()
	_, err := genserver.Call(context.Background(), to, r)
	if !errors.Is(err, want) {
		t.Errorf("%s %+v: got %v, want %v", r.Op(), r, err, want)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s %+v: got %v, want %q in it", r.Op(), r, err, w)
		}
	}
}

func wantCount(t *testing.T, to genserver.Ref, want int) {
	t.Helper()
	if got := call(t, to, sessions.Count{}).Count; got != want {
		t.Errorf("count: got %d, want %d", got, want)
	}
}

func seconds(d time.Duration) *float64 { return new(d.Seconds()) }

// sleep lets virtual time pass, and what is due then happen.
func sleep(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestASessionsLife(t *testing.T) {
	registered(t, config(sessions.Config{}), func(t *testing.T, registry genserver.Ref) {
		data := genserver.Map{"user": "ada"}
		s := call(t, registry, sessions.Create{Data: data})
		if !regexp.MustCompile(`^[A-Z2-7]{26}$`).MatchString(s.ID) {
			t.Errorf("create: got id %q, want 26 random characters", s.ID)
		}
		want := sessions.Session{ID: s.ID, Data: data, TTL: 1800, ExpiresIn: 1800}
		check := func(what string, got sessions.Session) {
			t.Helper()
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
		check("create", s)
		sleep(29 * time.Minute)
		want.ExpiresIn = 60
		check("get", call(t, registry, sessions.Get{ID: s.ID}))
		want.ExpiresIn = 1800
		check("touch", call(t, registry, sessions.Touch{ID: s.ID}))
		sleep(30*time.Minute - time.Nanosecond)
		want.ExpiresIn = 1e-9
		check("get", call(t, registry, sessions.Get{ID: s.ID}))
		wantCount(t, registry, 1)
		sleep(time.Nanosecond)
		wantErr(t, registry, sessions.Get{ID: s.ID}, sessions.ErrNotFound, "sessions: no such session")
		wantErr(t, registry, sessions.Touch{ID: s.ID}, sessions.ErrNotFound)
		wantCount(t, registry, 0)
	})
}

func TestTouchChanges(t *testing.T) {
	registered(t, config(sessions.Config{}), func(t *testing.T, registry genserver.Ref) {
		call(t, registry, sessions.Create{ID: "s", Data: genserver.Map{"a": 1}, TTL: seconds(time.Minute)})
		for _, c := range []struct {
			touch sessions.Touch
			want  sessions.Session
		}{
			{sessions.Touch{ID: "s"}, sessions.Session{ID: "s", Data: genserver.Map{"a": 1}, TTL: 60, ExpiresIn: 60}},
			{sessions.Touch{ID: "s", Data: genserver.Map{"b": 2}}, sessions.Session{ID: "s", Data: genserver.Map{"b": 2}, TTL: 60, ExpiresIn: 60}},
			{sessions.Touch{ID: "s", TTL: seconds(time.Hour)}, sessions.Session{ID: "s", Data: genserver.Map{"b": 2}, TTL: 3600, ExpiresIn: 3600}},
			{sessions.Touch{ID: "s"}, sessions.Session{ID: "s", Data: genserver.Map{"b": 2}, TTL: 3600, ExpiresIn: 3600}},
			{sessions.Touch{ID: "s", Data: genserver.Map{}, TTL: seconds(time.Second)}, sessions.Session{ID: "s", Data: genserver.Map{}, TTL: 1, ExpiresIn: 1}},
		} {
			if diff := cmp.Diff(c.want, call(t, registry, c.touch)); diff != "" {
				t.Errorf("%+v (-want +got):\n%s", c.touch, diff)
			}
			if diff := cmp.Diff(c.want, call(t, registry, sessions.Get{ID: "s"})); diff != "" {
				t.Errorf("get after %+v (-want +got):\n%s", c.touch, diff)
			}
		}
		wantErr(t, registry, sessions.Touch{ID: "s", Data: genserver.Map{"c": 3}, TTL: seconds(-1)}, sessions.ErrBadTTL)
		if got := call(t, registry, sessions.Get{ID: "s"}).Data; len(got) != 0 {
			t.Errorf("after a refused touch: got data %v, want none", got)
		}
	})
}

func TestMaxAge(t *testing.T) {
	registered(t, config(sessions.Config{TTL: time.Hour, MaxAge: 90 * time.Minute}), func(t *testing.T, registry genserver.Ref) {
		s := call(t, registry, sessions.Create{})
		long := call(t, registry, sessions.Create{TTL: seconds(24 * time.Hour)})
		if s.ExpiresIn != 3600 || long.ExpiresIn != 5400 {
			t.Errorf("create: got %v s and %v s left, want 3600 and 5400", s.ExpiresIn, long.ExpiresIn)
		}
		sleep(50 * time.Minute)
		if got := call(t, registry, sessions.Touch{ID: s.ID}).ExpiresIn; got != 2400 {
			t.Errorf("touch after 50 of 90 minutes: got %v s left, want 2400", got)
		}
		sleep(40 * time.Minute)
		wantErr(t, registry, sessions.Touch{ID: s.ID}, sessions.ErrNotFound)
		wantErr(t, registry, sessions.Get{ID: long.ID}, sessions.ErrNotFound)
	})
}

func TestGivenIDs(t *testing.T) {
	registered(t, config(sessions.Config{}), func(t *testing.T, registry genserver.Ref) {
		call(t, registry, sessions.Create{ID: "s", TTL: seconds(time.Minute)})
		wantErr(t, registry, sessions.Create{ID: "s"}, sessions.ErrExists, "exists")
		sleep(time.Minute)
		call(t, registry, sessions.Create{ID: "s", TTL: seconds(time.Minute)}) // the first is over
		if !call(t, registry, sessions.Delete{ID: "s"}).Deleted {
			t.Error("delete: got false, want true")
		}
		if call(t, registry, sessions.Delete{ID: "s"}).Deleted {
			t.Error("second delete: got true, want false")
		}
		call(t, registry, sessions.Create{ID: "s", TTL: seconds(time.Minute)})
		sleep(time.Minute)
		if call(t, registry, sessions.Delete{ID: "s"}).Deleted {
			t.Error("delete of what is over: got true, want false")
		}
		ids := map[string]bool{}
		for range 1000 {
			ids[call(t, registry, sessions.Create{}).ID] = true
		}
		if len(ids) != 1000 {
			t.Errorf("1000 sessions: got %d ids, want 1000", len(ids))
		}
	})
}

// A full registry refuses new sessions and keeps the old ones, but for those
// that are over.
func TestCapacity(t *testing.T) {
	registered(t, config(sessions.Config{Capacity: 2, EvictEvery: time.Hour}), func(t *testing.T, registry genserver.Ref) {
		call(t, registry, sessions.Create{ID: "a", TTL: seconds(time.Minute)})
		call(t, registry, sessions.Create{ID: "b", TTL: seconds(time.Hour)})
		wantErr(t, registry, sessions.Create{}, sessions.ErrFull, "sessions: too many sessions: there are 2")
		sleep(time.Minute)
		call(t, registry, sessions.Create{ID: "c"})
		wantErr(t, registry, sessions.Create{ID: "d"}, sessions.ErrFull)
		wantErr(t, registry, sessions.Get{ID: "a"}, sessions.ErrNotFound)
		call(t, registry, sessions.Get{ID: "b"})
		call(t, registry, sessions.Get{ID: "c"})
		call(t, registry, sessions.Delete{ID: "b"})
		call(t, registry, sessions.Create{ID: "d"})
		wantCount(t, registry, 2)
	})
}

// The timer frees what is over, however much it is, and leaves the rest.
func TestEvict(t *testing.T) {
	registered(t, config(sessions.Config{Capacity: 3001}), func(t *testing.T, registry genserver.Ref) {
		call(t, registry, sessions.Create{ID: "stays"})
		for i := range 3000 {
			call(t, registry, sessions.Create{ID: fmt.Sprint(i), TTL: seconds(5 * time.Second)})
		}
		wantErr(t, registry, sessions.Create{}, sessions.ErrFull)
		sleep(10 * time.Second)
		for i := range 3000 { // which needs all of the room at once
			call(t, registry, sessions.Create{ID: fmt.Sprint(i)})
		}
		wantCount(t, registry, 3001)
	})
}

func TestRefused(t *testing.T) {
	registered(t, config(sessions.Config{MaxTTL: time.Hour}), func(t *testing.T, registry genserver.Ref) {
		long := strings.Repeat("i", sessions.MaxID)
		call(t, registry, sessions.Create{ID: long, TTL: seconds(time.Hour)}) // the most of both
		call(t, registry, sessions.Get{ID: long})
		long += "i"
		wantErr(t, registry, sessions.Create{ID: long}, sessions.ErrBadID, "129 bytes are more than 128")
		wantErr(t, registry, sessions.Get{ID: long}, sessions.ErrBadID, "129")
		wantErr(t, registry, sessions.Get{}, sessions.ErrBadID, "empty")
		wantErr(t, registry, sessions.Touch{}, sessions.ErrBadID, "empty")
		wantErr(t, registry, sessions.Delete{}, sessions.ErrBadID, "empty")
		for ttl, word := range map[float64]string{0: "over already", 1e-12: "over already", -5: "-5 s is negative", 3601: "3600 s", math.Inf(1): "most", math.NaN(): "not a number"} {
			wantErr(t, registry, sessions.Create{TTL: &ttl}, sessions.ErrBadTTL, word)
		}
		wantErr(t, registry, genserver.Map{"type": "create", "data": "ada"}, genserver.ErrBadPayload, "data")
		wantErr(t, registry, genserver.Map{"type": "get", "id": 7}, genserver.ErrBadPayload, "id")
		wantErr(t, registry, genserver.Map{"type": "renew", "id": "s"}, genserver.ErrUnknownOp, "renew")
		wantCount(t, registry, 1)
	})
}

// No refusal says whose session it was about.
func TestErrorsHaveNoID(t *testing.T) {
	registered(t, config(sessions.Config{}), func(t *testing.T, registry genserver.Ref) {
		const id = "s3cr3t"
		call(t, registry, sessions.Create{ID: id})
		for _, r := range []genserver.Map{
			{"type": "create", "id": id}, {"type": "touch", "id": id, "ttl": -1}, {"type": "get", "id": id + "?"},
		} {
			if _, err := genserver.Call(t.Context(), registry, r); err == nil || strings.Contains(err.Error(), id) {
				t.Errorf("%v: got %v, want an error without the id", r, err)
			}
		}
	})
}

// The payloads and replies, from the same process and from another node.
func TestAsMap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nats := node.NewMemory()
		tree := supervisor.Spec{Children: []supervisor.Child{{Name: "sessions", Run: config(sessions.Config{}), Scope: supervisor.Cluster}}}
		one := start(t, node.Config{Name: "n1", NATS: nats, Tree: tree})
		two := start(t, node.Config{Name: "n2", NATS: nats})
		for _, from := range []*node.Node{one, two} {
			for _, c := range []struct{ request, want genserver.Map }{
				{genserver.Map{"type": "count"}, genserver.Map{"count": int64(0)}},
				{
					genserver.Map{"type": "create", "id": "s", "data": genserver.Map{"n": 1}, "ttl": 60},
					genserver.Map{"id": "s", "data": map[string]any{"n": int64(1)}, "ttl": 60.0, "expires_in": 60.0},
				},
				{
					genserver.Map{"type": "get", "id": "s"},
					genserver.Map{"id": "s", "data": map[string]any{"n": int64(1)}, "ttl": 60.0, "expires_in": 60.0},
				},
				{
					genserver.Map{"type": "touch", "id": "s", "data": genserver.Map{}, "ttl": 0.5},
					genserver.Map{"id": "s", "ttl": 0.5, "expires_in": 0.5},
				},
				{genserver.Map{"type": "delete", "id": "s"}, genserver.Map{"deleted": true}},
				{genserver.Map{"type": "delete", "id": "s"}, genserver.Map{"deleted": false}},
			} {
				if diff := cmp.Diff(c.want, call(t, from.Ref("sessions"), c.request)); diff != "" {
					t.Errorf("%v from %s (-want +got):\n%s", c.request, from.Name(), diff)
				}
			}
			s := call(t, from.Ref("sessions"), sessions.Create{Data: genserver.Map{"n": int64(1)}})
			if diff := cmp.Diff(s, call(t, from.Ref("sessions"), sessions.Touch{ID: s.ID})); diff != "" { // nil leaves the data
				t.Errorf("touch from %s (-want +got):\n%s", from.Name(), diff)
			}
			call(t, from.Ref("sessions"), sessions.Delete{ID: s.ID})
		}
		wantErr(t, two.Ref("sessions"), sessions.Get{ID: "s"}, sessions.ErrNotFound)
	})
}

func start(t *testing.T, cfg node.Config) *node.Node {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	n, err := node.Start(t.Context(), cfg)
	if err != nil {
		t.Fatalf("start %s: got %v, want nil", cfg.Name, err)
	}
	t.Cleanup(func() { _ = n.Stop(context.Background()) })
	return n
}

func TestConfigFromJSON(t *testing.T) {
	if got := sessions.Registry.Name(); got != "sessions.Registry" {
		t.Errorf("Type: got name %s, want sessions.Registry", got)
	}
	spec, err := sessions.Registry.WithDecoded(func(cfg any) error {
		return json.Unmarshal([]byte(`{"capacity":1,"ttl":1000000000,"max_ttl":2000000000,"max_age":1500000000,"evict_every":3000000000}`), cfg)
	})
	if err != nil {
		t.Fatalf("decode: got %v, want nil", err)
	}
	registered(t, spec, func(t *testing.T, registry genserver.Ref) {
		want := sessions.Session{ID: "s", TTL: 1, ExpiresIn: 1}
		if diff := cmp.Diff(want, call(t, registry, sessions.Create{ID: "s"})); diff != "" {
			t.Errorf("create (-want +got):\n%s", diff)
		}
		wantErr(t, registry, sessions.Create{}, sessions.ErrFull)
		wantErr(t, registry, sessions.Touch{ID: "s", TTL: new(3.0)}, sessions.ErrBadTTL)
		if got := call(t, registry, sessions.Touch{ID: "s", TTL: new(2.0)}).ExpiresIn; got != 1.5 {
			t.Errorf("touch: got %v s left, want the 1.5 of max_age", got)
		}
	})
}

func TestBadConfigIsRefused(t *testing.T) {
	for field, cfg := range map[string]sessions.Config{
		"capacity": {Capacity: -1}, "ttl": {TTL: 60}, "max_ttl": {MaxTTL: -1}, "max_age": {MaxAge: 5},
		"evict_every": {EvictEvery: 10}, "more than max_ttl": {TTL: time.Hour, MaxTTL: time.Minute},
	} {
		sys := genserver.NewSystem(genserver.Config{Logger: slog.New(slog.DiscardHandler)})
		_, err := sys.Start(t.Context(), "sessions", sessions.Registry.With(cfg), genserver.SpawnOptions{})
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("start with a bad %s: got %v, want an error that names it", field, err)
		}
	}
}
