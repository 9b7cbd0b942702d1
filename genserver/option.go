package genserver

import "time"

// Option changes one call, cast or stop.
type Option func(options) options

type options struct {
	timeout  time.Duration
	strict   bool
	noWait   bool
	drainAll bool
}

func optionsOf(opts []Option) options {
	o := options{timeout: DefaultTimeout}
	for _, apply := range opts {
		o = apply(o)
	}
	return o
}

// since has what is left of the timeout, for another attempt.
func (o options) since(began time.Time) options {
	if o.timeout > 0 {
		o.timeout = max(1, o.timeout-time.Since(began))
	}
	return o
}

// WithTimeout has a call wait this long in place of [DefaultTimeout]; the
// context can still end it earlier. Zero or less waits as long as the context
// allows.
func WithTimeout(d time.Duration) Option {
	return func(o options) options {
		o.timeout = d
		return o
	}
}

// NoWait has a call or cast to a cluster-wide name of this node fail at once with
// ErrNoProcess, undelivered, where the server is between two lives; without it,
// the message waits for the next one. A cast says so only if [Strict] too. How
// long a message to another node's server waits is for that node to say.
func NoWait() Option {
	return func(o options) options {
		o.noWait = true
		return o
	}
}

// Strict has a cast report what it knows: ErrNoProcess, ErrOverloaded,
// ErrUnknownOp, ErrBadPayload. Nil still does not say that it was handled.
func Strict() Option {
	return func(o options) options {
		o.strict = true
		return o
	}
}
