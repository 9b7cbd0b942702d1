package supervisor

import (
	"context"
	"sync"
	"time"

	"github.com/civitas-go/civitas/internal/supervision"
)

// releaseTimeout bounds the giving back of one child's names.
const releaseTimeout = 5 * time.Second

// release gives the cluster-wide names of a child, and of all below it, back,
// outside of the turn. Until that is done the child is not started again, and
// the supervisor does not end: the release would hit the name's next life.
//
// Between two lives of a nested supervisor the names below it are kept, so that
// calls wait for them. Whether its end is followed by another life is known to
// the supervisor above, which gives them back if it isn't.
func (s *server) release(id string) {
	if s.nested && s.core.Phase() >= supervision.PhaseStopping {
		return
	}
	names := s.spec[id].clusterNames()
	_, underWay := s.releasing[id] // and no start has come between
	if len(names) == 0 || underWay {
		return
	}
	s.releasing[id] = nil
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
		s.inbox.put(func() { s.released(id) })
	}()
}

func (s *server) released(id string) {
	waiting := s.releasing[id]
	delete(s.releasing, id)
	if waiting != nil {
		s.startChild(*waiting)
	}
}

func (c Child) clusterNames() []string {
	if spec, ok := c.Run.(Spec); ok {
		var names []string
		for _, below := range spec.Children {
			names = append(names, below.clusterNames()...)
		}
		return names
	}
	if c.Scope != Cluster {
		return nil
	}
	return []string{c.Name}
}
