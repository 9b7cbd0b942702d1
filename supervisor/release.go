package supervisor

import (
	"context"
	"sync"
	"time"

	"github.com/civitas-go/civitas/internal/supervision"
)

// releaseTimeout bounds the giving back of one child's names.
const releaseTimeout = 5 * time.Second

// releasing is what is being given back of a child.
type releasing struct {
	own     bool // its own names; else, or besides, those added below it
	parts   int
	waiting *supervision.StartChild // comes after
}

// release gives the cluster-wide names of a child, and of all below it, back,
// outside of the turn. Until that is done the child is not started again, and
// the supervisor does not end: the release would hit the name's next life.
//
// Between two lives of a nested supervisor the names below it are kept, so that
// calls wait for them. Whether its end is followed by another life is known to
// the supervisor above, which gives them back if it isn't.
func (s *server) release(id string) {
	child := s.spec[id]
	if s.nest != nil && !child.added && s.core.Phase() >= supervision.PhaseStopping {
		return
	}
	names := child.ClusterNames()
	if rel := s.releasing[id]; len(names) == 0 || rel != nil && rel.own { // and no start has come between
		return
	}
	s.giveBack(id, names, func() {
		if child.added {
			s.nest.remove(names)
		}
	})
	s.releasing[id].own = true
}

// releaseNest gives back what a supervisor below left when it was killed.
func (s *server) releaseNest(r *running) {
	if names := r.nest.left(); len(names) > 0 {
		s.giveBack(r.id, names, func() { r.nest.remove(names) })
	}
}

// giveBack releases names that belong to a child.
func (s *server) giveBack(id string, names []string, after func()) {
	if s.releasing[id] == nil {
		s.releasing[id] = &releasing{}
	}
	s.releasing[id].parts++
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
		defer cancel()
		var all sync.WaitGroup
		for _, name := range names {
			all.Go(func() {
				if err := s.sys.Release(ctx, name); err != nil {
					s.log.Error("name was not given back", "server", name, "error", err)
				}
			})
		}
		all.Wait()
		after()
		s.inbox.put(func() { s.released(id) })
	}()
}

func (s *server) released(id string) {
	rel := s.releasing[id]
	if rel.parts--; rel.parts > 0 {
		return
	}
	delete(s.releasing, id)
	if rel.waiting != nil {
		s.startChild(*rel.waiting)
	}
}

// ClusterNames are the cluster-wide names that the child takes when it starts:
// its own, or those below it; none of a Dynamic, which begins without children.
func (c Child) ClusterNames() []string {
	if spec, ok := c.Run.(Spec); ok {
		var names []string
		for _, below := range spec.Children {
			names = append(names, below.ClusterNames()...)
		}
		return names
	}
	if c.Scope != Cluster {
		return nil
	}
	return []string{c.Name}
}
