//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package natsserver

import "os"

// lockDir does nothing where there is no flock.
func lockDir(string) (*os.File, error) { return nil, nil } //nolint:nilnil // no lock is no error

func unlock(*os.File) error { return nil }
