package genserver

import (
	"sync/atomic"
	"time"
)

// Stats counts what a System has quietly lost or refused since it was made; the
// metrics have the same counters.
type Stats struct {
	// Dropped are casts and infos that reached no handler: of an unknown name
	// or op, for a full mailbox, with a payload that does not decode, or still
	// queued when the server ended.
	Dropped uint64
	// Expired are calls whose caller had given up before their turn; they
	// were not handled.
	Expired uint64
	// LateReplies are answers to callers that had given up, or been told
	// otherwise, by then.
	LateReplies uint64
	// UnknownOps are messages that no handler was there for.
	UnknownOps uint64
	// Overruns are handlers that ran longer than their Type's [Watchdog] allows.
	Overruns uint64
	// Zombies are the handlers that still run although their server has been
	// killed; see [Process.Kill].
	Zombies int64
	// ZombiesTotal are all that there ever were.
	ZombiesTotal uint64
}

type counters struct {
	dropped, expired, lateReplies, unknownOps tally
	overruns, zombiesTotal                    atomic.Uint64
	zombies                                   atomic.Int64

	lastDropLog atomic.Int64 // unix nanoseconds
	dropsUnsaid atomic.Uint64
}

// Stats is a snapshot of the counters.
func (s *System) Stats() Stats {
	return Stats{
		Dropped:     s.stats.dropped.Load(),
		Expired:     s.stats.expired.Load(),
		LateReplies: s.stats.lateReplies.Load(),
		UnknownOps:  s.stats.unknownOps.Load(),

		Overruns:     s.stats.overruns.Load(),
		Zombies:      s.stats.zombies.Load(),
		ZombiesTotal: s.stats.zombiesTotal.Load(),
	}
}

// dropLogEvery keeps a flood of dropped casts from becoming a flood of logs.
const dropLogEvery = time.Second

// drop counts a message that nobody will be told of, and logs one a second.
func (s *System) drop(server string, kind Kind, op string, err error) {
	s.stats.dropped.Add(1)
	s.stats.dropsUnsaid.Add(1)
	now, last := time.Now().UnixNano(), s.stats.lastDropLog.Load()
	if now-last < int64(dropLogEvery) || !s.stats.lastDropLog.CompareAndSwap(last, now) {
		return
	}
	s.log.Warn("message dropped", "server", server, "kind", kind.String(), "op", op,
		"reason", err, "dropped_since_last", s.stats.dropsUnsaid.Swap(0))
}
