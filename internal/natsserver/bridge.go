package natsserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// bridge is nats-server's logger. It hands lines on to slog, and takes the
// place of the one whose Fatalf ends the process: here Fatalf records, and
// nats-server's Start returns after it.
type bridge struct {
	to *slog.Logger

	mu    sync.Mutex
	fatal error // the first one
}

func newBridge(to *slog.Logger) *bridge {
	if to == nil {
		to = slog.New(slog.DiscardHandler)
	}
	return &bridge{to: to}
}

func (b *bridge) fault() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fatal
}

func (b *bridge) Fatalf(format string, v ...any) {
	line := fmt.Sprintf(format, v...)
	b.mu.Lock()
	if b.fatal == nil {
		b.fatal = errors.New(line)
	}
	b.mu.Unlock()
	b.line(slog.LevelError, "%s", line)
}

// Errorf also gets the refusals that nodes look for when they start: that a
// client must not publish disconnect events, nor answer for a server.
func (b *bridge) Errorf(format string, v ...any) {
	line := fmt.Sprintf(format, v...)
	level := slog.LevelError
	if strings.Contains(line, " probe\"") && (strings.Contains(line, "Publish Violation") || strings.Contains(line, "Subscription Violation")) {
		level = slog.LevelDebug
	}
	b.line(level, "%s", line)
}

func (b *bridge) Warnf(format string, v ...any)   { b.line(slog.LevelWarn, format, v...) }
func (b *bridge) Noticef(format string, v ...any) { b.line(slog.LevelDebug, format, v...) }
func (b *bridge) Debugf(format string, v ...any)  { b.line(slog.LevelDebug, format, v...) }
func (b *bridge) Tracef(format string, v ...any)  { b.line(slog.LevelDebug, format, v...) }

func (b *bridge) line(level slog.Level, format string, v ...any) {
	ctx := context.Background()
	if !b.to.Enabled(ctx, level) {
		return
	}
	b.to.Log(ctx, level, "nats-server: "+fmt.Sprintf(format, v...))
}
