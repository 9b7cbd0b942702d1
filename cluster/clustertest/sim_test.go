package clustertest_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/civitas-go/civitas/cluster/clustertest"
)

// CIVITAS_SIM_SCHEDULES says how many schedules are run, CIVITAS_SIM_SEED
// replays one and prints what happens in it, or in the smallest part of it that
// violates.
func TestSimulation(t *testing.T) {
	if seed := number(t, "CIVITAS_SIM_SEED", 0); seed != 0 {
		replay(t, seed)
		return
	}
	schedules := number(t, "CIVITAS_SIM_SCHEDULES", 100)
	base := rand.Uint64()
	began := time.Now()
	total, violation := simulate(base, schedules, clustertest.Faults{})
	if violation != nil {
		t.Fatalf("%v\nreplay it with CIVITAS_SIM_SEED=%d go test -run TestSimulation$ -v ./cluster/clustertest", violation, violation.Seed)
	}
	took := time.Since(began)
	t.Logf("%d schedules from seed %d in %v, %.0f a minute: %+v", schedules, base, took, float64(schedules)/took.Minutes(), total)
	if total.Verdicts == 0 || total.Fast == 0 || total.Takeovers == 0 || total.Lost == 0 || total.Closed == 0 ||
		total.Starts == 0 || total.Calls == 0 || total.Unknown == 0 || total.Terms == 0 || total.Orders == 0 || total.Stale == 0 ||
		total.Told == 0 || total.Changes == 0 || total.Removals == 0 || total.Replaced == 0 {
		t.Errorf("got %+v, want some of everything: the schedules test nothing", total)
	}
	if total.Unchecked > 0 {
		t.Errorf("got %d histories that could not be checked in time, want none", total.Unchecked)
	}
}

// number is what an environment variable says.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n < 1 {
		t.Fatalf("%s: got %q, want a number", name, text)
	}
	return n
}

func replay(t *testing.T, seed uint64) {
	t.Helper()
	tell := func(at time.Duration, what string) { fmt.Fprintf(t.Output(), "%12v %s\n", at, what) }
	_, violation := clustertest.Simulate(seed, clustertest.Faults{}, nil)
	if violation == nil {
		_, _ = clustertest.Simulate(seed, clustertest.Faults{}, tell)
		return
	}
	small := clustertest.Shrink(violation, clustertest.Faults{}, tell)
	t.Fatalf("%v\nof %d troubles %d are needed: %v", violation, violation.Troubles, violation.Troubles-len(small.Spared), small)
}

// simulate runs schedules on two goroutines until one is violated.
func simulate(base, schedules uint64, f clustertest.Faults) (clustertest.Stats, *clustertest.Violation) {
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
				stop := found != nil || n >= schedules
				mu.Unlock()
				if stop {
					return
				}
				stats, violation := clustertest.Simulate(base+n, f, nil)
				mu.Lock()
				total.Add(stats)
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

// What is left of a schedule still violates, with less trouble, and replays.
func TestShrink(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]clustertest.Faults{"names": {GateOff: true}, "children": {DeathsUnheard: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shrink(t, f)
		})
	}
}

func shrink(t *testing.T, f clustertest.Faults) {
	t.Helper()
	_, violation := simulate(rand.Uint64(), 200, f)
	if violation == nil {
		t.Fatal("got no violation to shrink")
	}
	var traces [2]strings.Builder
	for i := range traces {
		small := clustertest.Shrink(violation, f, func(at time.Duration, what string) { fmt.Fprintln(&traces[i], at, what) })
		left := violation.Troubles - len(small.Spared)
		if small.Seed != violation.Seed || left > violation.Troubles/2 {
			t.Errorf("got %d of %d troubles left, want fewer than half", left, violation.Troubles)
		}
		if i == 0 {
			t.Logf("of %d troubles %d are needed: %v", violation.Troubles, left, small)
		}
	}
	if a, b := traces[0].String(), traces[1].String(); a != b || !strings.Contains(a, "VIOLATION") {
		t.Errorf("got two traces of %d and %d bytes, want the same one, with the violation", len(a), len(b))
	}
}

// A stale leader can delay, never corrupt. All nodes that lead at once, whatever the
// record says and though their gates are closed, break no invariant, and in the end
// each child runs once.
func TestStaleLeadersDoNoHarm(t *testing.T) {
	t.Parallel()
	schedules := number(t, "CIVITAS_SIM_SCHEDULES", 100)
	total, violation := simulate(rand.Uint64(), schedules, clustertest.Faults{EveryoneLeads: true})
	if violation != nil {
		t.Fatalf("got %v, want none", violation)
	}
	if total.Stale < total.Orders/4 {
		t.Errorf("got %d stale orders of %d, want many more", total.Stale, total.Orders)
	}
}

// Each mistake is found, in every one of CIVITAS_SIM_RUNS runs, within a stated
// number of schedules. That number is some twenty times the mean, so that a run
// misses one by chance less than once in 10^8 times. Those that take long to be
// found are left out with the race detector; the gate runs them without, too.
func TestPlantedFaultsAreFound(t *testing.T) {
	t.Parallel()
	runs := number(t, "CIVITAS_SIM_RUNS", 1)
	for name, tt := range map[string]struct {
		faults clustertest.Faults
		within uint64
	}{
		"gate off":                              {clustertest.Faults{GateOff: true}, 100},
		"witnesses off":                         {clustertest.Faults{WitnessesOff: true}, 150},
		"no wait after the events":              {clustertest.Faults{EventAtOnce: true}, 3000},
		"waiting 12 s, not 15":                  {clustertest.Faults{ShortJudge: true}, 4000},
		"lease counted from receipt":            {clustertest.Faults{LeaseFromReceipt: true}, 4000},
		"PONG counted from receipt":             {clustertest.Faults{PongFromReceipt: true}, 4000},
		"verdict without compare-and-set":       {clustertest.Faults{BlindVerdict: true}, 2000},
		"a session written by a second process": {clustertest.Faults{SharedSession: true}, 50},
		"what is unknown has ended":             {clustertest.Faults{UnknownIsEnded: true}, 400},
		"serving after an unknown write":        {clustertest.Faults{ServeUnknown: true}, 50},
		"fencing off":                           {clustertest.Faults{FencingOff: true}, 150},
		"state that was read alone":             {clustertest.Faults{UnprovenState: true}, 600},
		"no adoption":                           {clustertest.Faults{NoAdoption: true}, 120},
		"the lead without compare-and-set":      {clustertest.Faults{BlindLead: true}, 80},
		"a verdict before its acknowledgement":  {clustertest.Faults{EarlyVerdict: true}, 50},
		"a start without compare-and-set":       {clustertest.Faults{BlindStart: true}, 200},
		"a child on any node":                   {clustertest.Faults{AnyNode: true}, 50},
		"deaths unheard of":                     {clustertest.Faults{DeathsUnheard: true}, 50},
		"what is stopped runs on":               {clustertest.Faults{NoStops: true}, 300},
		"what is changed runs on":               {clustertest.Faults{OldSpecs: true}, 300},
		"a change without compare-and-set":      {clustertest.Faults{BlindChanges: true}, 3200},
		"an old order to stop":                  {clustertest.Faults{OldStops: true}, 1400},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if raceEnabled && tt.within > 500 {
				t.Skip("it takes long with the race detector: run it without")
			}
			var most, sum uint64
			for range runs {
				base := rand.Uint64()
				_, violation := simulate(base, tt.within, tt.faults)
				if violation == nil {
					t.Fatalf("got no violation in %d schedules from seed %d, want one", tt.within, base)
				}
				most = max(most, violation.Seed-base+1)
				sum += violation.Seed - base + 1
			}
			t.Logf("found in %d of %d runs, within %d schedules at most, %.1f in the mean", runs, runs, most, float64(sum)/float64(runs))
		})
	}
}
