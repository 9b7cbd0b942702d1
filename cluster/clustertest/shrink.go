package clustertest

import (
	"maps"
	"slices"
	"time"
)

// Shrink looks for the smallest part of a schedule that still violates: it
// leaves out as many of the things that go wrong as it can, and returns the
// violation of what is left, with their numbers in Spared. trace, if not nil, is
// told the events of that. It simulates the schedule some hundred times.
func Shrink(v *Violation, f Faults, trace func(at time.Duration, text string)) *Violation {
	spared := map[int]bool{}
	for size := v.Troubles; size > 0; size /= 2 {
		for from := 1; from <= v.Troubles; from += size {
			without := maps.Clone(spared)
			for id := from; id < from+size && id <= v.Troubles; id++ {
				without[id] = true
			}
			if len(without) == len(spared) {
				continue
			}
			if _, smaller := simulate(v.Seed, v.Troubles, without, f, nil); smaller != nil {
				spared = without
			}
		}
	}
	_, smallest := simulate(v.Seed, v.Troubles, spared, f, trace)
	smallest.Spared = slices.Sorted(maps.Keys(spared))
	return smallest
}
