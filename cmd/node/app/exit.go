package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/topology"
	"github.com/civitas-go/civitas/transport"
)

// The command's exit codes; scripts count on them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitTrouble     = 2 // of topology diff
	exitTopology    = 3
	exitNoProcess   = 4
	exitUnreachable = 5
	exitInterrupted = 130
)

// codedError is an error with the exit code it leads to.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

func coded(code int, err error) error { return &codedError{code, err} }

func usage(err error) error { return coded(exitUsage, err) }

// exitCode sorts an error that has no code of its own.
func exitCode(err error) int {
	var own *codedError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &own):
		return own.code
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, genserver.ErrNoProcess):
		return exitNoProcess
	case errors.Is(err, genserver.ErrTimeout), errors.Is(err, genserver.ErrUnavailable),
		errors.Is(err, genserver.ErrDraining), errors.Is(err, cluster.ErrUnavailable),
		errors.Is(err, transport.ErrNotConnected), errors.Is(err, transport.ErrDisconnected),
		errors.Is(err, context.DeadlineExceeded):
		return exitUnreachable
	case strings.HasPrefix(err.Error(), "unknown command"), strings.Contains(err.Error(), "arg(s)"):
		return exitUsage // cobra's own, which have no type
	default:
		return exitFailed
	}
}

// report writes an error and returns its exit code.
// The subcommand is the one that was run, whose help is named.
func report(w io.Writer, name, subcommand string, err error) int {
	code := exitCode(err)
	var mistakes topology.Mistakes
	switch {
	case err == nil, err.Error() == "":
		return code // the exit code says it all
	case errors.As(err, &mistakes):
		fmt.Fprintln(w, strings.TrimRight(mistakes.Error(), "\n")) // in a form that editors know
		return code
	}
	fmt.Fprintf(w, "%s: %v\n", name, err)
	if code == exitUsage {
		fmt.Fprintf(w, "Run '%s --help' for usage.\n", subcommand)
	}
	return code
}
