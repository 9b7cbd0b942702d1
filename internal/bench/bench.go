// Package bench measures the runtime against what the same work costs without
// it. Each row is the median of the ratios of many pairs, ours and the
// baseline's, run one right after the other in the same process, memory apart:
// machines are noisy, and only such ratios mean anything.
package bench

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Result is one row. Its JSON is a contract.
type Result struct {
	// Work is what was done.
	Work string `json:"work"`
	// Ours and Baseline are medians, in Unit.
	Ours     float64 `json:"ours"`
	Baseline float64 `json:"baseline"`
	Unit     string  `json:"unit"`
	// Ratio is the median of the pairs' ratios, ours by the baseline's: below 1
	// is better than the baseline.
	Ratio float64 `json:"ratio"`
	// Pairs is how many were run.
	Pairs int `json:"pairs"`
}

// Options say how thoroughly to measure.
type Options struct {
	// Pairs is how many pairs a row takes. Default 15.
	Pairs int
	// Sample is about how long one side of a pair runs. Default 50 ms.
	Sample time.Duration
}

// longest bounds a whole run.
const longest = 4 * time.Minute

// pair is one row's work: both sides prepare what they need and return a
// function that does the work n times, and one that cleans up.
type pair struct {
	work           string
	unit           string
	ours, baseline side
}

type side func(ctx context.Context) (run func(n int) error, done func(), err error)

// Run measures every row in turn and calls report after each. It ends early
// with ctx.
func Run(ctx context.Context, o Options, report func(Result)) error {
	if o.Pairs == 0 {
		o.Pairs = 15
	}
	if o.Sample == 0 {
		o.Sample = 50 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	for _, p := range timed() {
		r, err := measure(ctx, o, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p.work, err)
		}
		report(r)
	}
	r, err := memory(ctx, o)
	if err != nil {
		return fmt.Errorf("%s: %w", r.Work, err)
	}
	report(r)
	return nil
}

func measure(ctx context.Context, o Options, p pair) (Result, error) {
	ours, done, err := p.ours(ctx)
	if err != nil {
		return Result{}, err
	}
	defer done()
	baseline, done, err := p.baseline(ctx)
	if err != nil {
		return Result{}, err
	}
	defer done()
	nOurs, err := calibrate(ours, o.Sample)
	if err != nil {
		return Result{}, err
	}
	nBaseline, err := calibrate(baseline, o.Sample)
	if err != nil {
		return Result{}, err
	}
	s := samples{}
	for range o.Pairs {
		if err := ctx.Err(); err != nil {
			return Result{}, err
		}
		a, err := each(ours, nOurs)
		if err != nil {
			return Result{}, err
		}
		b, err := each(baseline, nBaseline)
		if err != nil {
			return Result{}, err
		}
		s.add(a, b)
	}
	return s.result(p.work, p.unit), nil
}

// calibrate finds how many times the work fits a sample.
func calibrate(run func(int) error, sample time.Duration) (int, error) {
	for n := 1; ; n *= 2 {
		took, err := timeOf(run, n)
		if err != nil {
			return 0, err
		}
		if took >= sample/4 || n > 1<<28 {
			return max(1, int(float64(n)*float64(sample)/float64(took))), nil
		}
	}
}

func timeOf(run func(int) error, n int) (time.Duration, error) {
	began := time.Now()
	err := run(n)
	return time.Since(began), err
}

func each(run func(int) error, n int) (float64, error) {
	took, err := timeOf(run, n)
	return float64(took.Nanoseconds()) / float64(n), err
}

// samples are the pairs of one row.
type samples struct{ ours, baseline, ratios []float64 }

func (s *samples) add(ours, baseline float64) {
	s.ours = append(s.ours, ours)
	s.baseline = append(s.baseline, baseline)
	s.ratios = append(s.ratios, ours/baseline)
}

func (s *samples) result(work, unit string) Result {
	return Result{
		Work: work, Unit: unit, Pairs: len(s.ratios),
		Ours: median(s.ours), Baseline: median(s.baseline), Ratio: median(s.ratios),
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
