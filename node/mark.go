package node

import (
	"context"
	"errors"
	"time"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
)

// mark is what the record of a child is to say of whether it is stopped; of
// several the last counts.
type mark struct {
	stop    cluster.Stop
	again   bool // it was changed while it was being written
	written chan struct{}
	seq     uint64 // of the record; set before written is closed
}

// markPause is between attempts at a record while the store does not answer.
const markPause = 100 * time.Millisecond

// mark has a child's record say that it is stopped, or is not any more.
func (p *placed) mark(name string, stop cluster.Stop) {
	p.mu.Lock()
	m := p.marks[name]
	busy := m != nil
	if busy {
		m.stop, m.again = stop, true
	} else {
		m = &mark{stop: stop, written: make(chan struct{})}
		p.marks[name] = m
	}
	p.mu.Unlock()
	if !busy {
		p.later(func() { p.writeMark(name, m) })
	}
}

// marked waits until what a child's record is to say has been written.
func (p *placed) marked(ctx context.Context, name string) (seq uint64, err error) {
	if p == nil {
		return 0, nil
	}
	p.mu.Lock()
	m := p.marks[name]
	p.mu.Unlock()
	if m == nil {
		return 0, nil
	}
	select {
	case <-m.written:
		return m.seq, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// writeMark tries until the record says it, or the node ends.
func (p *placed) writeMark(name string, m *mark) {
	defer close(m.written)
	for {
		p.mu.Lock()
		stop := m.stop
		m.again = false
		p.mu.Unlock()
		seq, err := p.n.registry.MarkStopped(p.n.router.life, name, stop)
		if err != nil && !errors.Is(err, cluster.ErrNotFound) && wait(p.n.router.life, markPause) {
			continue
		}
		p.mu.Lock()
		m.seq = seq
		again := m.again && p.n.router.life.Err() == nil
		if !again {
			delete(p.marks, name)
		}
		p.mu.Unlock()
		if !again {
			return
		}
	}
}

func (p *placed) markAndWait(ctx context.Context, name string, stop cluster.Stop) (seq uint64, err error) {
	p.mark(name, stop)
	return p.marked(ctx, name)
}

// stoppedByHand has the record of a child that an operator has stopped say so. The end
// of the child has it said already, unless the leader was stopping it as well, to have
// it run by a newer record.
func (p *placed) stoppedByHand(ctx context.Context, row ServerInfo) error {
	if !p.has(row) {
		return nil
	}
	_, err := p.markAndWait(ctx, row.Name, cluster.Stop{Stopped: true, Reason: genserver.Shutdown.Error()})
	return err
}

// startAgain has a child that no node runs placed anew, and waits until it is.
func (p *placed) startAgain(ctx context.Context, name string) error {
	// A mark that was there already would change nothing for one that waits.
	var seq uint64
	for _, stop := range []cluster.Stop{{Stopped: true, Reason: "restarted by an operator"}, {}} {
		var err error
		if seq, err = p.markAndWait(ctx, name, stop); err != nil {
			return err
		}
	}
	return p.place(ctx, map[string]uint64{name: seq})
}

// has tells whether a row is of a child of the cluster's tree.
func (p *placed) has(row ServerInfo) bool {
	if p == nil || row.Supervisor != rootName {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ran := p.runs[row.Name]
	return ran
}
