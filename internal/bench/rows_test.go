//go:build unix

package bench

import (
	"context"
	"syscall"
	"testing"
	"time"
)

// BenchmarkOurs and BenchmarkBaseline run one side of a row alone, for profiles:
//
//	go test ./internal/bench -run '^$' -bench 'Ours/remote_cast' -cpuprofile cpu.out
func BenchmarkOurs(b *testing.B) {
	for _, p := range timed() {
		b.Run(p.work, func(b *testing.B) { one(b, p.ours) })
	}
}

func BenchmarkBaseline(b *testing.B) {
	for _, p := range timed() {
		b.Run(p.work, func(b *testing.B) { one(b, p.baseline) })
	}
}

func one(b *testing.B, s side) {
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute) // as Run's has a deadline
	defer cancel()
	run, done, err := s(ctx)
	if err != nil {
		b.Fatal(err)
	}
	defer done()
	if err := run(1000); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu()
	if err := run(b.N); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
}

// cpu is the processor time of the process, all cores together: on a machine that does
// other things too it says more than the clock.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
