package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"charm.land/bubbles/v2/progress"
	"github.com/spf13/cobra"

	"github.com/civitas-go/civitas/genserver"
)

// load is --count and --concurrency: the same message many times.
type load struct {
	count, concurrency int
	output             output
}

func (l *load) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.IntVarP(&l.count, "count", "n", 1, "send it so many times, and sum up how long it took in place of replies")
	fs.IntVar(&l.concurrency, "concurrency", 1, "with --count, how many at a time")
	l.output.register(fs)
}

func (l *load) check() error {
	switch {
	case l.count < 1:
		return fmt.Errorf("--count %d: want 1 or more", l.count)
	case l.concurrency < 1:
		return fmt.Errorf("--concurrency %d: want 1 or more", l.concurrency)
	default:
		l.concurrency = min(l.concurrency, l.count)
		return nil
	}
}

// run sends until all are sent or ctx ends, and reports: for people on stderr,
// and as JSON on stdout where that is asked for. The error is the first one of
// a send.
func (l *load) run(ctx context.Context, s Streams, send func() error) error {
	var next, done atomic.Int64
	var first atomic.Pointer[error]
	workers := make([]measured, l.concurrency)
	began := time.Now()
	bar := startBar(s.Err, &done, l.count)
	var wg sync.WaitGroup
	for i := range workers {
		w := &workers[i]
		w.errs = map[string]int{}
		wg.Go(func() {
			for ctx.Err() == nil && next.Add(1) <= int64(l.count) {
				at := time.Now()
				err := send()
				if err != nil && ctx.Err() != nil {
					return // it was interrupted
				}
				w.note(time.Since(at), err)
				if err != nil {
					first.CompareAndSwap(nil, &err)
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	bar()
	var all measured
	for _, w := range workers {
		all.add(w)
	}
	sum := all.summary(time.Since(began))
	if l.output != outputTable {
		if err := printOne(s.Out, l.output, sum, nil); err != nil {
			return err
		}
	} else {
		sum.write(s.Err, &all.times)
	}
	switch err := first.Load(); {
	case ctx.Err() != nil:
		return coded(exitInterrupted, fmt.Errorf("interrupted after %d of %d", sum.Count, l.count))
	case err != nil:
		return fmt.Errorf("%d of %d failed, the first one so: %w", sum.Failed, l.count, *err)
	default:
		return nil
	}
}

// measured is what one worker has seen.
type measured struct {
	times histogram
	errs  map[string]int // by code
}

func (m *measured) note(took time.Duration, err error) {
	m.times.note(took)
	if err == nil {
		return
	}
	code := "failed"
	var e *genserver.Error
	switch {
	case errors.As(err, &e):
		code = e.Code
	case exitCode(err) == exitUnreachable:
		code = "unreachable"
	case exitCode(err) == exitNoProcess:
		code = genserver.ErrNoProcess.Code
	}
	m.errs[code]++
}

func (m *measured) add(o measured) {
	m.times.add(&o.times)
	if m.errs == nil {
		m.errs = map[string]int{}
	}
	for code, n := range o.errs {
		m.errs[code] += n
	}
}

// loadSummary is the JSON of `call --count` and `cast --count`; a contract.
type loadSummary struct {
	Count  uint64         `json:"count"`
	Failed int            `json:"failed"`
	Errors map[string]int `json:"errors,omitempty"`
	// Seconds is all the time it took, Rate how many there were in a second.
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"rate"`
	// Latency is in microseconds.
	Latency latencies `json:"latency_us"`
}

type latencies struct {
	Min  float64 `json:"min"`
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

func (m *measured) summary(took time.Duration) loadSummary {
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
	h := &m.times
	s := loadSummary{Count: h.n, Errors: m.errs, Seconds: took.Seconds(), Rate: float64(h.n) / took.Seconds()}
	for _, n := range m.errs {
		s.Failed += n
	}
	if h.n > 0 {
		s.Latency = latencies{
			Min: us(h.min), Mean: us(h.sum / time.Duration(h.n)), P50: us(h.quantile(0.5)), P90: us(h.quantile(0.9)),
			P99: us(h.quantile(0.99)), P999: us(h.quantile(0.999)), Max: us(h.max),
		}
	}
	return s
}

func (s loadSummary) write(w io.Writer, times *histogram) {
	fmt.Fprintf(w, "%d in %.2fs, %.0f a second", s.Count, s.Seconds, s.Rate)
	if s.Failed > 0 {
		fmt.Fprintf(w, ", %d failed:", s.Failed)
		for _, code := range slices.Sorted(maps.Keys(s.Errors)) {
			fmt.Fprintf(w, " %s %d", code, s.Errors[code])
		}
	}
	fmt.Fprintln(w)
	if times.n == 0 {
		return
	}
	fmt.Fprintf(w, "min %v  mean %v  p50 %v  p90 %v  p99 %v  p99.9 %v  max %v\n\n", short(times.min), short(times.sum/time.Duration(times.n)),
		short(times.quantile(0.5)), short(times.quantile(0.9)), short(times.quantile(0.99)), short(times.quantile(0.999)), short(times.max))
	times.write(w)
}

// startBar shows on a terminal how far it has come, until it is ended.
func startBar(w io.Writer, done *atomic.Int64, of int) (end func()) {
	width := terminalWidth(w)
	const narrow = 30
	if width < narrow || of < 2 {
		return func() {}
	}
	bar := progress.New(progress.WithWidth(min(width-narrow+10, 60)), progress.WithFillCharacters('=', ' '))
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		const wipe = "\r\x1b[K"
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				fmt.Fprint(w, wipe)
				return
			case <-tick.C:
				n := done.Load()
				fmt.Fprintf(w, "%s%s %d/%d", wipe, uncoloured(bar.ViewAs(float64(n)/float64(of))), n, of)
			}
		}
	}()
	return func() { close(stop); <-stopped }
}
