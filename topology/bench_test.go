package topology_test

import (
	"fmt"
	"strings"
	"testing"
)

// many is a file with n servers.
func many(n int) string {
	var b strings.Builder
	b.WriteString("supervision:\n  children:\n")
	for i := range n {
		fmt.Fprintf(&b, "    - {name: limiter_%d, type: myapp.services.RateLimiter, config: {capacity: %d}}\n", i, i)
	}
	return b.String()
}

func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		text := many(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := load(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
