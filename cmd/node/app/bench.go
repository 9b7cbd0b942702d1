package app

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/civitas-go/civitas/internal/bench"
)

func benchCommand(_ Options, s Streams) *cobra.Command {
	var (
		format output
		quick  bool
	)
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure this machine against the baselines",
		Long: `Measure what calls, casts and servers cost on this machine, each beside the
same work done by hand in Go or with nats.go. The two run in turns, and the
ratio is the median over all turns: below 1 is better than the baseline.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var o bench.Options
			if quick {
				o = bench.Options{Pairs: 1, Sample: time.Millisecond}
			}
			return runBench(cmd.Context(), s, o, format)
		},
	}
	cmd.Flags().BoolVar(&quick, "quick", false, "one short pair each: the figures mean nothing, but everything runs")
	format.register(cmd.Flags())
	return cmd
}

func runBench(ctx context.Context, s Streams, o bench.Options, format output) error {
	if format != outputTable {
		results := []bench.Result{}
		if err := bench.Run(ctx, o, func(r bench.Result) { results = append(results, r) }); err != nil {
			return err
		}
		return printAll(s.Out, format, results, nil)
	}
	fmt.Fprintf(s.Out, "%-26s %12s %12s  %-4s %7s\n", "work", "ours", "baseline", "unit", "ratio")
	return bench.Run(ctx, o, func(r bench.Result) {
		fmt.Fprintf(s.Out, "%-26s %12.0f %12.0f  %-4s %6.2fx\n", r.Work, r.Ours, r.Baseline, r.Unit, r.Ratio)
	})
}
