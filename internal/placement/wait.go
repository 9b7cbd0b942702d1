package placement

import (
	"container/heap"
	"time"
)

const (
	// StartWait bounds one start on a node, for whoever drives a [Core]; an init may
	// take as long.
	StartWait = 30 * time.Second
	// RepairEvery is how often the driver is to read records again and tell the core,
	// should copies of changes have been lost.
	RepairEvery = 5 * time.Second

	// grace is how long the record of a name may be missing before the child is
	// started anew: its owner may have more to say.
	grace = 500 * time.Millisecond
	// stopAgain is the time between two orders to stop a child.
	stopAgain = 2 * time.Second
	// healthy is how long a child must have run for its failures to be forgotten.
	healthy = time.Minute

	firstCrashWait, longestCrashWait = time.Second, time.Minute
	firstMissWait, longestMissWait   = 200 * time.Millisecond, 5 * time.Second
)

// backoff is the wait after a number of failures in a row.
func backoff(failures int, crash bool) Time {
	wait, most := firstMissWait, longestMissWait
	if crash {
		wait, most = firstCrashWait, longestCrashWait
	}
	return min(wait<<min(failures-1, 16), most)
}

// waits are the children that are to be placed again later, in the order of their
// times. A child may be in it with earlier times, and with later ones, than its wake:
// to place it then as well does no harm.
type waits []wait

type wait struct {
	at Time
	ch *child
}

func (w *waits) add(ch *child, at Time) {
	if ch.wake == 0 || at < ch.wake {
		ch.wake = at
		heap.Push(w, wait{at, ch})
	}
}

// due takes out those whose time has come.
func (w *waits) due(now Time) []*child {
	var all []*child
	for len(*w) > 0 && (*w)[0].at <= now {
		next := heap.Pop(w).(wait)
		if next.at == next.ch.wake {
			next.ch.wake = 0
		}
		all = append(all, next.ch)
	}
	return all
}

func (w *waits) next() (Time, bool) {
	if len(*w) == 0 {
		return 0, false
	}
	return (*w)[0].at, true
}

// Len, Less, Swap, Push and Pop are heap.Interface's.
func (w *waits) Len() int { return len(*w) }

func (w *waits) Less(i, j int) bool {
	return (*w)[i].at < (*w)[j].at || (*w)[i].at == (*w)[j].at && (*w)[i].ch.owned < (*w)[j].ch.owned
}
func (w *waits) Swap(i, j int) { (*w)[i], (*w)[j] = (*w)[j], (*w)[i] }
func (w *waits) Push(x any)    { *w = append(*w, x.(wait)) }

func (w *waits) Pop() any {
	last := len(*w) - 1
	x := (*w)[last]
	*w = (*w)[:last]
	return x
}
