package node

import (
	"context"
	"sync"
	"time"
)

// moveWait is how long a call waits for a child of the cluster's tree that no node
// runs: longer than one takes to move.
const moveWait = 3 * time.Second

// moving are the children of the cluster's tree that calls have waited for in vain.
// Until they have an owner again, nobody waits for them any more.
type moving struct {
	mu     sync.Mutex
	vainly map[string]struct{} // guarded by mu
}

// mostVainly bounds the memory. What is forgotten is waited for once more.
const mostVainly = 4096

// mayCome reports whether a name without an owner is to be waited for: since is
// when the caller has begun to, or zero.
func (r *router) mayCome(ctx context.Context, name string, since *time.Time) bool {
	m := &r.moving
	switch {
	case !since.IsZero() && time.Since(*since) < moveWait:
		return true
	case !since.IsZero():
		m.mu.Lock()
		defer m.mu.Unlock()
		if len(m.vainly) >= mostVainly {
			clear(m.vainly)
		}
		if m.vainly == nil {
			m.vainly = map[string]struct{}{}
		}
		m.vainly[name] = struct{}{}
		return false
	}
	m.mu.Lock()
	_, vainly := m.vainly[name]
	m.mu.Unlock()
	if vainly || !r.registry.Expected(ctx, name) {
		return false
	}
	*since = time.Now()
	return true
}

// came notes that a name has an owner.
func (m *moving) came(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.vainly, name)
}
