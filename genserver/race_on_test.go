//go:build race

package genserver_test

// raceEnabled: the race detector makes sync.Pool forgetful.
const raceEnabled = true
