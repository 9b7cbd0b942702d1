package expiry_test

import (
	"math"
	"testing"
	"time"

	"github.com/civitas-go/civitas/internal/expiry"
)

func TestTTL(t *testing.T) {
	const byDefault = time.Minute
	for _, c := range []struct {
		seconds *float64
		most    time.Duration
		want    time.Duration
		err     string
	}{
		{nil, time.Hour, byDefault, ""},
		{new(0.0), time.Hour, 0, ""},
		{new(math.Copysign(0, -1)), time.Hour, 0, ""},
		{new(1.5), time.Hour, 1500 * time.Millisecond, ""},
		{new(1e-12), time.Hour, 0, ""},
		{new(3600.0), time.Hour, time.Hour, ""},
		{new(3600.001), time.Hour, 0, "3600.001 s is more than the most, 3600 s"},
		{new(-1.0), time.Hour, 0, "-1 s is negative"},
		{new(-1e-300), time.Hour, 0, "-1e-300 s is negative"},
		{new(math.Inf(1)), time.Hour, 0, "+Inf s is more than the most, 3600 s"},
		{new(math.Inf(-1)), time.Hour, 0, "-Inf s is negative"},
		{new(math.NaN()), time.Hour, 0, "NaN is not a number"},
		{new(math.MaxFloat64), math.MaxInt64, 0, "1.7976931348623157e+308 s is more than the most, 9.223372036854776e+09 s"},
		{new(9.223372036854775e9), math.MaxInt64, 9223372036854774784, ""},
		{new(time.Duration(math.MaxInt64).Seconds()), math.MaxInt64, math.MaxInt64, ""},
	} {
		got, err := expiry.TTL(c.seconds, byDefault, c.most)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if got != c.want || text != c.err {
			t.Errorf("TTL of %v, at most %v: got %v, %q; want %v, %q", c.seconds, c.most, got, text, c.want, c.err)
		}
	}
}
