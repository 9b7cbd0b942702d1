package app

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// logHandler writes logs for programs: a line each. On a terminal the stack of
// a crash is in lines of its own, as Go prints one, from the code that
// panicked on.
func logHandler(w io.Writer) slog.Handler {
	if terminalWidth(w) == 0 {
		return slog.NewTextHandler(w, nil)
	}
	return newPeopleHandler(w)
}

func newPeopleHandler(w io.Writer) *peopleHandler {
	return &peopleHandler{Handler: slog.NewTextHandler(w, nil), w: w, mu: new(sync.Mutex)}
}

// stackKey is the attribute of a crash report that has the stack.
const stackKey = "stack"

// peopleHandler takes stacks out of the line.
type peopleHandler struct {
	slog.Handler
	w  io.Writer
	mu *sync.Mutex // keeps a line and its stack together
}

func (h *peopleHandler) Handle(ctx context.Context, r slog.Record) error {
	stack := ""
	line := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == stackKey && a.Value.Kind() == slog.KindString {
			stack = a.Value.String()
		} else {
			line.AddAttrs(a)
		}
		return true
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.Handler.Handle(ctx, line); err != nil || stack == "" {
		return err
	}
	_, err := io.WriteString(h.w, "\t"+strings.ReplaceAll(ofPanic(stack), "\n", "\n\t")+"\n")
	return err
}

func (h *peopleHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &peopleHandler{h.Handler.WithAttrs(attrs), h.w, h.mu}
}

func (h *peopleHandler) WithGroup(name string) slog.Handler {
	return &peopleHandler{h.Handler.WithGroup(name), h.w, h.mu}
}

// ofPanic leaves out what ran after the panic: the report of it.
func ofPanic(stack string) string {
	stack = strings.TrimRight(stack, "\n")
	head, rest, ok := strings.Cut(stack, "\n")
	if _, after, found := strings.Cut(rest, "\npanic("); ok && found {
		if _, after, found = strings.Cut(after, "\n"); found { // panic's own place
			if _, after, found = strings.Cut(after, "\n"); found {
				return head + "\n" + after
			}
		}
	}
	return stack
}
