package supervision

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestIntensity(t *testing.T) {
	t.Parallel()
	const s = time.Second
	tests := []struct {
		name   string
		most   int
		window time.Duration
		at     []time.Duration
		want   []bool // allowed
	}{
		{"the default", 3, 5 * s, []time.Duration{0, s, 2 * s, 3 * s}, []bool{true, true, true, false}},
		{"all at once", 2, 5 * s, []time.Duration{s, s, s}, []bool{true, true, false}},
		{"none allowed", 0, 5 * s, []time.Duration{s}, []bool{false}},
		{"none allowed, no window", 0, 0, []time.Duration{s}, []bool{false}},
		{"one window old still counts", 1, 5 * s, []time.Duration{s, 6 * s}, []bool{true, false}},
		{"older does not", 1, 5 * s, []time.Duration{s, 6*s + 1}, []bool{true, true}},
		{"it slides", 2, 5 * s, []time.Duration{0, 4 * s, 6 * s, 8 * s}, []bool{true, true, true, false}},
		{"steady and slow", 1, s, []time.Duration{0, 2 * s, 4 * s, 6 * s}, []bool{true, true, true, true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			i := intensity{most: tt.most, window: tt.window}
			var got []bool
			for _, at := range tt.at {
				_, allowed := i.charge(at)
				got = append(got, allowed)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// TestIntensityCounts compares the counter with one that forgets nothing and
// counts anew each time; and it must not grow without bound.
func TestIntensityCounts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		i := intensity{most: rapid.IntRange(0, 5).Draw(t, "most"), window: 10}
		var all []time.Duration
		var now time.Duration
		for _, step := range rapid.SliceOf(rapid.IntRange(0, 12)).Draw(t, "steps") {
			now += time.Duration(step)
			all = append(all, now)
			want := 0
			for _, at := range all {
				if now-at <= i.window {
					want++
				}
			}
			got, allowed := i.charge(now)
			if got != want || allowed != (want <= i.most) || len(i.at) != want {
				t.Fatalf("at %d: got %d, %v, holding %d, want %d of %d", now, got, allowed, len(i.at), want, i.most)
			}
		}
	})
}
