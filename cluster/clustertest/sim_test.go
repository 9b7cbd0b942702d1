package clustertest_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/civitas-go/civitas/cluster/clustertest"
)

// CIVITAS_SIM_SCHEDULES says how many schedules are run, CIVITAS_SIM_SEED
// replays one and prints what happens in it.
func TestSimulation(t *testing.T) {
	if text := os.Getenv("CIVITAS_SIM_SEED"); text != "" {
		replay(t, text)
		return
	}
	schedules := 200
	if text := os.Getenv("CIVITAS_SIM_SCHEDULES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("CIVITAS_SIM_SCHEDULES: got %q, want a number", text)
		}
		schedules = n
	}
	base := rand.Uint64()
	began := time.Now()
	total, violation := simulate(base, schedules, clustertest.Faults{})
	if violation != nil {
		t.Fatalf("%v\nreplay it with CIVITAS_SIM_SEED=%d go test -run TestSimulation -v ./cluster/clustertest", violation, violation.Seed)
	}
	took := time.Since(began)
	t.Logf("%d schedules from seed %d in %v, %.0f a minute: %+v", schedules, base, took, float64(schedules)/took.Minutes(), total)
	if total.Verdicts == 0 || total.Takeovers == 0 || total.Lost == 0 || total.Closed == 0 || total.Starts == 0 {
		t.Errorf("got %+v, want some of everything: the schedules test nothing", total)
	}
}

func replay(t *testing.T, text string) {
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("CIVITAS_SIM_SEED: got %q, want a number", text)
	}
	_, violation := clustertest.Simulate(seed, clustertest.Faults{}, func(at time.Duration, what string) {
		fmt.Fprintf(t.Output(), "%12v %s\n", at, what)
	})
	if violation != nil {
		t.Fatal(violation)
	}
}

// simulate runs schedules on two goroutines until one is violated.
func simulate(base uint64, schedules int, f clustertest.Faults) (clustertest.Stats, *clustertest.Violation) {
	var (
		mu    sync.Mutex
		total clustertest.Stats
		found *clustertest.Violation
		next  atomic.Uint64
		wg    sync.WaitGroup
	)
	for range 2 {
		wg.Go(func() {
			for {
				n := next.Add(1) - 1
				mu.Lock()
				stop := found != nil || n >= uint64(schedules)
				mu.Unlock()
				if stop {
					return
				}
				stats, violation := clustertest.Simulate(base+n, f, nil)
				mu.Lock()
				total.Events += stats.Events
				total.Verdicts += stats.Verdicts
				total.Takeovers += stats.Takeovers
				total.Lost += stats.Lost
				total.Closed += stats.Closed
				total.Starts += stats.Starts
				if violation != nil && found == nil {
					found = violation
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return total, found
}

// A schedule is its seed's alone.
func TestSimulationReplays(t *testing.T) {
	t.Parallel()
	for range 3 {
		seed := rand.Uint64()
		var traces [2][]string
		for i := range traces {
			_, _ = clustertest.Simulate(seed, clustertest.Faults{}, func(at time.Duration, what string) {
				traces[i] = append(traces[i], fmt.Sprint(at, what))
			})
		}
		if len(traces[0]) == 0 || fmt.Sprint(traces[0]) != fmt.Sprint(traces[1]) {
			t.Errorf("seed %d: got %d and %d events, want the same ones", seed, len(traces[0]), len(traces[1]))
		}
	}
}

// Each mistake is found, in every one of some runs, within a stated number of
// schedules. That number is more than twenty times the mean, so that a run
// misses one by chance less than once in 10^8 times.
func TestPlantedFaultsAreFound(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		faults clustertest.Faults
		within int
	}{
		"gate off":                              {clustertest.Faults{GateOff: true}, 200},
		"waiting 12 s, not 15":                  {clustertest.Faults{ShortJudge: true}, 1000},
		"lease counted from receipt":            {clustertest.Faults{LeaseFromReceipt: true}, 500},
		"verdict without compare-and-set":       {clustertest.Faults{BlindVerdict: true}, 3000},
		"a session written by a second process": {clustertest.Faults{SharedSession: true}, 50},
		"serving after an unknown write":        {clustertest.Faults{ServeUnknown: true}, 50},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runs := 1
			if os.Getenv("CIVITAS_SIM_SCHEDULES") != "" {
				runs = 20
			}
			for range runs {
				base := rand.Uint64()
				_, violation := simulate(base, tt.within, tt.faults)
				if violation == nil {
					t.Fatalf("got no violation in %d schedules from seed %d, want one", tt.within, base)
				}
				t.Logf("found in schedule %d: %v", violation.Seed-base, violation)
			}
		})
	}
}
