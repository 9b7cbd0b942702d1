//go:build unix

package proctest

import (
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// Child is the life of a child, which is told by SIGTERM to end; run should say
// [TellReady]. It ends at once with the test's process. The result is its exit code.
func Child(role string, run func(log *slog.Logger, term <-chan os.Signal) error) (code int) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3) // nobody is left to tell
	}()
	if err := run(log, term); err != nil {
		log.Error("the end", "role", role, "error", err)
		return 1
	}
	return 0
}

// TellReady has [Start] return.
func TellReady() { _, _ = os.Stdout.WriteString(ready + "\n") }
