package supervisor

import (
	"maps"
	"slices"
	"sync"
)

// nest knows the cluster-wide names that were added below a nested supervisor
// while it ran. It gives them back itself when it ends; if it is killed, the
// supervisor above does, which does not know them from its spec.
type nest struct {
	outer *nest // of the supervisor above; nil below the root

	mu    sync.Mutex
	names map[string]struct{}
}

func (n *nest) add(names []string) {
	for ; n != nil; n = n.outer {
		n.mu.Lock()
		if n.names == nil {
			n.names = map[string]struct{}{}
		}
		for _, name := range names {
			n.names[name] = struct{}{}
		}
		n.mu.Unlock()
	}
}

func (n *nest) remove(names []string) {
	for ; n != nil; n = n.outer {
		n.mu.Lock()
		for _, name := range names {
			delete(n.names, name)
		}
		n.mu.Unlock()
	}
}

// left are the names that are not given back yet.
func (n *nest) left() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Sorted(maps.Keys(n.names))
}
