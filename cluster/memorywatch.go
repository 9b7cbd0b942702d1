package cluster

import "sync"

// memoryWatch hands changes to fn from one goroutine. Its queue is unbounded, so
// that a writer never waits for a watcher.
type memoryWatch struct {
	kind Kind
	fn   func(Change)

	mu    sync.Mutex
	queue []Change

	wake chan struct{} // holds one token while the queue may be non-empty
	quit chan struct{}
	once sync.Once
	done chan struct{}
}

func newMemoryWatch(kind Kind, fn func(Change)) *memoryWatch {
	return &memoryWatch{
		kind: kind,
		fn:   fn,
		wake: make(chan struct{}, 1),
		quit: make(chan struct{}),
		done: make(chan struct{}),
	}
}

func (w *memoryWatch) push(c Change) {
	w.mu.Lock()
	w.queue = append(w.queue, c)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *memoryWatch) run() {
	defer close(w.done)
	for {
		select {
		case <-w.quit:
			return
		case <-w.wake:
		}
		w.mu.Lock()
		batch := w.queue
		w.queue = nil
		w.mu.Unlock()
		for _, c := range batch {
			select {
			case <-w.quit:
				return
			default:
				w.fn(c)
			}
		}
	}
}

func (w *memoryWatch) stop() {
	w.once.Do(func() { close(w.quit) })
	<-w.done
}
