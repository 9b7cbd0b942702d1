package cluster

import (
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/civitas-go/civitas/genserver"
)

// endings are the incarnations that this node knows to have ended: from a session
// that a watch or a read showed it, or because it judged them.
type endings struct {
	mu sync.RWMutex
	// Who ended lately is in recent. Once that is full it becomes earlier, and what was
	// there is forgotten.
	recent, earlier map[string]ending
	tell            func(incarnation string, reason error)
	suspects        map[string]struct{} // whose sessions are to be read
}

type ending struct {
	reason error
	dead   bool // by a verdict; else it has left
}

const (
	// maxEnded is how many incarnations each half of the memory holds.
	maxEnded = 2048
	// maxSuspects bounds the sessions that are read in one round.
	maxSuspects = 256
)

// Ended is why an incarnation can't act any more, a *genserver.Error of the code
// node_down, if this node has learned of it; nil says nothing. dead says that it was
// declared so: then it may be acting still, without a right to. Else it has left, and
// what it sent before counts. Of those that ended long ago it may have been forgotten.
func (r *Registry) Ended(incarnation string) (dead bool, reason error) {
	e := r.endings.of(incarnation)
	return e.dead, e.reason
}

// FollowAll calls fn once for every incarnation whose end this node learns of from
// now on, with the reason that Ended has. It judges nobody: the verdict has to be another's,
// or come of a [Registry.Follow] or a [Registry.Claim]. fn is called from
// a goroutine of the store's or the registry's, not after Leave or Close; it should
// be quick. A second FollowAll takes the place of the first.
func (r *Registry) FollowAll(fn func(incarnation string, reason error)) {
	r.endings.mu.Lock()
	defer r.endings.mu.Unlock()
	r.endings.tell = fn
}

func (e *endings) of(incarnation string) ending {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if known, ok := e.recent[incarnation]; ok {
		return known
	}
	return e.earlier[incarnation]
}

// note takes the word of an end, and passes it on if it is news. The node may be unknown.
func (e *endings) note(incarnation, node string, dead bool) {
	if e.of(incarnation).reason != nil {
		return
	}
	reason := endedError(incarnation, node, dead)
	e.mu.Lock()
	if _, known := e.recent[incarnation]; known {
		e.mu.Unlock()
		return
	}
	if len(e.recent) >= maxEnded {
		e.recent, e.earlier = nil, e.recent
	}
	if e.recent == nil {
		e.recent = map[string]ending{}
	}
	e.recent[incarnation] = ending{reason, dead}
	tell := e.tell
	e.mu.Unlock()
	if tell != nil {
		tell(incarnation, reason)
	}
}

// suspect has a session read soon, unless its end is known: the incarnation may have
// ended unnoticed.
func (e *endings) suspect(incarnation string) {
	if e.of(incarnation).reason != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.suspects == nil {
		e.suspects = map[string]struct{}{}
	}
	if len(e.suspects) < maxSuspects {
		e.suspects[incarnation] = struct{}{}
	}
}

func (e *endings) takeSuspects() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := slices.Collect(maps.Keys(e.suspects))
	e.suspects = nil
	return all
}

func endedError(incarnation, node string, dead bool) *genserver.Error {
	who := "incarnation " + incarnation
	if node != "" {
		who = "node " + node + " (" + who + ")"
	}
	how := " has left the cluster"
	if dead {
		how = " was declared dead"
	}
	return &genserver.Error{Code: genserver.ErrNodeDown.Code, Text: who + how}
}

// suspectTheSilent has the sessions read of those that no watch has shown for some time.
func (r *Registry) suspectTheSilent() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.gate.now()
	for incarnation, seen := range r.sightings {
		if now-seen.at > r.timing.Standing {
			r.endings.suspect(incarnation)
		}
	}
}

// lookForEnds reads the sessions of those who may have ended unnoticed, as when the
// copies of what was written about them were lost.
func (r *Registry) lookForEnds() {
	for _, incarnation := range r.endings.takeSuspects() {
		if !r.lookForEnd(incarnation) {
			return // the store does not answer
		}
	}
}

func (r *Registry) lookForEnd(incarnation string) (answered bool) {
	k := sessionKey(incarnation)
	e, err := r.get(k)
	deleted := errors.Is(err, ErrNotFound)
	if err != nil && !deleted {
		return !transient(err)
	}
	r.mu.Lock()
	newer := e.Seq > r.sightings[incarnation].seq // reads can be stale
	r.mu.Unlock()
	if newer {
		r.sessionChanged(Change{Key: k, Value: e.Value, Deleted: deleted, Seq: e.Seq})
	}
	return true
}
