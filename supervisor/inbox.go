package supervisor

import (
	"sync"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/supervision"
)

// inbox holds what children and timers tell their supervisor until its turn. It
// never fills up: an exit that got lost would be a child that stays down.
type inbox struct {
	self *genserver.Process

	mu     sync.Mutex
	events []supervision.Event
	// ready holds one token while events wait; init and terminate wait on it,
	// and a running supervisor is woken by a signal instead.
	ready chan struct{}
}

// wake is the signal of an inbox that is no longer empty.
type wake struct{ genserver.Signal }

func (wake) Op() string { return "civitas.supervisor.wake" }

func newInbox(self *genserver.Process) *inbox {
	return &inbox{self: self, ready: make(chan struct{}, 1)}
}

// put never blocks, and may be called from anywhere.
func (b *inbox) put(e supervision.Event) {
	b.mu.Lock()
	b.events = append(b.events, e)
	first := len(b.events) == 1
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

// take empties the inbox.
func (b *inbox) take() []supervision.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	events := b.events
	b.events = nil
	return events
}
