package supervisor

import (
	"sync"

	"github.com/civitas-go/civitas/genserver"
)

// inbox holds what children, timers and releases want done in their
// supervisor's turn. It never fills up: an exit that got lost would be a child
// that stays down.
type inbox struct {
	self *genserver.Process

	mu    sync.Mutex
	tasks []func()
	// ready holds a token while tasks wait: start and terminate wait on it. A
	// supervisor between the two is woken by a signal instead, and leaves the
	// token; one too many does no harm.
	ready chan struct{}
}

// wake is the signal of an inbox that is no longer empty.
type wake struct{ genserver.Signal }

func (wake) Op() string { return "civitas.supervisor.wake" }

func newInbox(self *genserver.Process) *inbox {
	return &inbox{self: self, ready: make(chan struct{}, 1)}
}

// put never blocks, and may be called from anywhere.
func (b *inbox) put(task func()) {
	b.mu.Lock()
	b.tasks = append(b.tasks, task)
	first := len(b.tasks) == 1
	b.mu.Unlock()
	if !first {
		return
	}
	select {
	case b.ready <- struct{}{}:
	default:
	}
	b.self.Signal(wake{})
}

// run empties the inbox. What comes meanwhile makes itself known anew.
func (b *inbox) run() {
	b.mu.Lock()
	tasks := b.tasks
	b.tasks = nil
	b.mu.Unlock()
	for _, task := range tasks {
		task()
	}
}
