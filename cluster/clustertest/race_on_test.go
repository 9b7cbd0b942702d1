//go:build race

package clustertest_test

// raceEnabled: a schedule takes ten times as long.
const raceEnabled = true
