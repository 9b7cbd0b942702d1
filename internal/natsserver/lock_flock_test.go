//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package natsserver

import (
	"syscall"
	"testing"
)

// A process that is being forked has copies of all open files until it execs.
// One of the lock's must not keep the directory locked.
func TestACopyOfTheLockDoesNotKeepIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	forked, err := syscall.Dup(int(first.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(forked)
	if err := unlock(first); err != nil {
		t.Fatal(err)
	}
	second, err := lockDir(dir)
	if err != nil {
		t.Fatalf("after unlock: got %v, want the lock", err)
	}
	if err := unlock(second); err != nil {
		t.Error(err)
	}
}
