package supervision

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBackoffDelay(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	tests := []struct {
		name    string
		backoff Backoff
		rand    float64
		want    []time.Duration // for the attempts 1, 2, …
	}{
		{"none", Backoff{}, 0.9, []time.Duration{0, 0, 0}},
		{"constant", Backoff{Growth: Constant, Base: 100 * ms}, 0, []time.Duration{100 * ms, 100 * ms, 100 * ms}},
		{"linear", Backoff{Growth: Linear, Base: 100 * ms}, 0, []time.Duration{100 * ms, 200 * ms, 300 * ms}},
		{"exponential", Backoff{Growth: Exponential, Base: 100 * ms}, 0, []time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms}},
		{"capped", Backoff{Growth: Exponential, Base: 100 * ms, Max: 300 * ms}, 0, []time.Duration{100 * ms, 200 * ms, 300 * ms, 300 * ms}},
		{"jitter", Backoff{Growth: Constant, Base: 100 * ms, Jitter: 0.25}, 0.5, []time.Duration{112500 * time.Microsecond}},
		{"least jitter", Backoff{Growth: Constant, Base: 100 * ms, Jitter: 0.25}, 0, []time.Duration{100 * ms}},
		{
			"the cap comes after the jitter",
			Backoff{Growth: Linear, Base: 100 * ms, Max: 210 * ms, Jitter: 0.25},
			0.5,
			[]time.Duration{112500 * time.Microsecond, 210 * ms, 210 * ms},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []time.Duration
			for n := range tt.want {
				got = append(got, tt.backoff.delay(n+1, func() float64 { return tt.rand }))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// TestBackoffBounds: however many attempts, a wait is neither shorter than its
// growth says, nor longer than the cap, nor has it overflowed.
func TestBackoffBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		// Up to 104 days a float64 counts nanoseconds exactly.
		base := time.Duration(rapid.Int64Range(1, int64(100*24*time.Hour)).Draw(t, "base"))
		b := Backoff{
			Growth: Growth(rapid.IntRange(int(Constant), int(Exponential)).Draw(t, "growth")),
			Base:   base,
			Max:    time.Duration(rapid.Int64Range(int64(base), math.MaxInt64).Draw(t, "max")),
			Jitter: rapid.Float64Range(0, MaxJitter).Draw(t, "jitter"),
		}
		if err := b.validate(); err != nil {
			t.Fatal(err)
		}
		n := rapid.IntRange(1, math.MaxInt32).Draw(t, "n")
		rand := func() float64 { return rapid.Float64Range(0, 0.999).Draw(t, "rand") }
		got, plain := b.delay(n, rand), b.delay(n, nil)
		most := min(b.Max, longest)
		if got < min(base, most) || got < plain || got > most {
			t.Errorf("got %v, want from %v to %v", got, max(min(base, most), plain), most)
		}
		if next := b.delay(n+1, nil); next < plain {
			t.Errorf("got %v after %v, want no shorter wait", next, plain)
		}
	})
}

func TestHealthy(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ window, last, want time.Duration }{
		{5 * time.Second, 0, 5 * time.Second},
		{5 * time.Second, time.Second, 5 * time.Second},
		{5 * time.Second, time.Minute, 2 * time.Minute},
	} {
		if got := healthy(tt.window, tt.last); got != tt.want {
			t.Errorf("window %v, last wait %v: got %v, want %v", tt.window, tt.last, got, tt.want)
		}
	}
}
