package expiry_test

import (
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/civitas-go/civitas/internal/expiry"
)

// Whatever is done to a Map, it agrees with a plain one.
func TestAgainstAPlainMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m expiry.Map[int]
		model := map[string]struct {
			value int
			over  time.Duration
		}{}
		key := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g"})
		at := rapid.Map(rapid.IntRange(0, 20), func(n int) time.Duration { return time.Duration(n) })
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				k, v, over := key.Draw(t, "key"), rapid.Int().Draw(t, "value"), at.Draw(t, "over")
				if e := m.Get(k); e != nil {
					e.Value = v
					m.Move(e, 0, over)
				} else {
					m.Add(k, v, 0, over)
				}
				model[k] = struct {
					value int
					over  time.Duration
				}{v, over}
			},
			"delete": func(t *rapid.T) {
				k := key.Draw(t, "key")
				e := m.Get(k)
				if _, want := model[k]; want != (e != nil) {
					t.Fatalf("get %s: got %v, want an entry: %v", k, e, want)
				}
				if e != nil {
					m.Delete(e)
					delete(model, k)
				}
			},
			"sweep": func(t *rapid.T) {
				now := at.Draw(t, "now")
				for e := m.First(); e != nil && e.Over(now); e = m.First() {
					if model[e.Key()].over != now+e.Left(now) {
						t.Fatalf("%s: got %v left at %v, want it over at %v", e.Key(), e.Left(now), now, model[e.Key()].over)
					}
					m.Delete(e)
					delete(model, e.Key())
				}
				for k, v := range model {
					if v.over <= now {
						t.Fatalf("sweep at %v: %s is left, over at %v", now, k, v.over)
					}
				}
			},
			"": func(t *rapid.T) {
				if m.Len() != len(model) {
					t.Fatalf("got %d entries, want %d", m.Len(), len(model))
				}
				for k, want := range model {
					if e := m.Get(k); e == nil || e.Key() != k || e.Value != want.value || e.Left(0) != want.over {
						t.Fatalf("get %s: got %+v, want %+v", k, e, want)
					}
				}
				if len(model) == 0 {
					if e := m.First(); e != nil {
						t.Fatalf("first of none: got %+v, want nil", e)
					}
					return
				}
				first := slices.MinFunc(slices.Collect(maps.Keys(model)), func(a, b string) int { return int(model[a].over - model[b].over) })
				if got := m.First().Left(0); got != model[first].over {
					t.Fatalf("first: got one over at %v, want %v", got, model[first].over)
				}
			},
		})
	})
}

func TestTheLatestTimeIsNeverPassed(t *testing.T) {
	var m expiry.Map[int]
	const now = time.Hour
	e := m.Add("k", 1, now, math.MaxInt64)
	if left := e.Left(0); left != math.MaxInt64 || e.Over(math.MaxInt64-1) {
		t.Errorf("added for ever: got %v left, want all there is", left)
	}
	m.Move(e, now, math.MaxInt64-now+1)
	if left := e.Left(0); left != math.MaxInt64 {
		t.Errorf("moved beyond the end: got %v left, want all there is", left)
	}
}
