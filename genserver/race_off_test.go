//go:build !race

package genserver_test

const raceEnabled = false
