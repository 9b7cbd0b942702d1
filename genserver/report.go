package genserver

import (
	"context"
	"fmt"
	"log/slog"
)

// asked reports whether the process was told to end, which is no crash.
func (end *ending) asked() bool { return ended(end.reason) || reasonIs(end.reason, Killed) }

// report logs an end; one that nobody asked for with all that is known.
func (p *Process) report(end *ending) {
	switch {
	case !end.asked() && !reasonIs(end.reason, ErrFenced):
		p.reportCrash(end)
	case !end.asked():
		p.log(slog.LevelWarn, "server is fenced", end)
	case p.sys.log.Enabled(context.Background(), slog.LevelDebug):
		p.log(slog.LevelDebug, "server ended", end)
	}
}

func (p *Process) log(level slog.Level, what string, end *ending) {
	p.sys.log.Log(context.Background(), level, what, "server", p.name, "generation", p.gen, "reason", end.reason)
}

// reportCrash logs a crash once.
func (p *Process) reportCrash(end *ending) {
	p.mu.Lock()
	late, state := end.reported, end.state
	end.reported = true
	p.mu.Unlock()
	if late || end.asked() {
		return
	}
	attrs := []any{"server", p.name, "generation", p.gen, "type", p.host.def.name, "reason", end.reason}
	if end.handling != "" {
		attrs = append(attrs, "handling", end.handling)
	}
	if end.message != nil {
		attrs = append(attrs, "message", shown(end.message))
	}
	if state != nil {
		attrs = append(attrs, "state", *state)
	}
	if end.stack != nil {
		attrs = append(attrs, "stack", string(end.stack))
	}
	p.sys.log.Error("server crashed", attrs...)
}

// noteState has the report show the state as it is now, before terminate changes it.
func (p *Process) noteState(end *ending) {
	state := shown(p.state)
	p.mu.Lock()
	end.state = &state
	p.mu.Unlock()
}

// shown is what a report says of a state or a message. Either may hold secrets,
// so it is the type alone unless the type says itself what may be seen. A
// LogValue that panics is a value that says so.
func shown(v any) slog.Value {
	if v, ok := v.(slog.LogValuer); ok {
		return slog.AnyValue(v).Resolve()
	}
	return slog.StringValue(fmt.Sprintf("%T", v))
}
