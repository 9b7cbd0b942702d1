package genserver

import (
	"bytes"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// A zombie is a killed generation whose handler has not returned. Go can't end
// a goroutine, so all there is to do is to fence it, which Kill has done, and to
// say where it hangs.

type undead uint8

const (
	undeadNot     undead = iota
	undeadMaybe          // killed while something ran
	undeadTelling        // which is being reported
	undeadTold           // which has not returned, and was reported
)

// haunt reports the code that still runs in a killed process, and returns its
// stack, nil where there is none. A supervisor's children have been killed by then,
// so that what takes time here does not let it act meanwhile.
func (p *Process) haunt(handling string) []byte {
	runtime.Gosched() // it may be about to return, as its context is cancelled
	p.mu.Lock()
	is := p.undead == undeadMaybe
	if is {
		p.undead = undeadTelling
		p.sys.stats.zombies.Add(1)
		p.sys.stats.zombiesTotal.Add(1)
	}
	p.mu.Unlock()
	if !is {
		return nil
	}
	stack := p.sys.dumps.of(p)
	attrs := []any{"server", p.name, "generation", p.gen, "type", p.host.def.name, "handling", handling}
	if stack != nil {
		attrs = append(attrs, "stack", string(stack))
	}
	p.sys.log.Warn("zombie: a killed server's handler has not returned", attrs...)
	p.mu.Lock()
	returned := p.undead == undeadNot
	if !returned {
		p.undead = undeadTold
	}
	p.mu.Unlock()
	if returned {
		p.exorcise()
	}
	return stack
}

// ceased is called by the goroutine of a process that has been killed, once it
// has left the code that kept it.
func (p *Process) ceased() {
	p.mu.Lock()
	was := p.undead
	p.undead = undeadNot
	p.mu.Unlock()
	if was == undeadTold { // of one that is being told, haunt says it in its turn
		p.exorcise()
	}
}

// exorcise reports that a zombie has returned.
func (p *Process) exorcise() {
	p.sys.stats.zombies.Add(-1)
	p.sys.log.Info("zombie has returned", "server", p.name, "generation", p.gen, "type", p.host.def.name)
}

// dumps takes the stacks of processes' goroutines. That stops the whole program
// for as long as it takes, so the time spent on it is bounded.
type dumps struct {
	mu    sync.Mutex
	until time.Time     // of the period that spent counts in
	spent time.Duration // on dumps
}

const (
	dumpPeriod = time.Second
	dumpBudget = dumpPeriod / 5
	// largestDump is enough for some ten thousand goroutines.
	largestDump = 16 << 20
)

// of is the stack of the goroutine that a process's code runs in, or nil: it
// has none, or looking for it would cost too much now.
func (d *dumps) of(p *Process) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	began := time.Now()
	if began.After(d.until) {
		d.until, d.spent = began.Add(dumpPeriod), 0
	}
	if d.spent > dumpBudget {
		return nil
	}
	defer func() { d.spent += time.Since(began) }()
	for size := 64 << 10; size <= largestDump; size *= 4 {
		buf := make([]byte, size)
		if n := runtime.Stack(buf, true); n < size || size == largestDump {
			return stackOf(p, buf[:n])
		}
	}
	return nil
}

// stackOf finds the goroutine of a process in a dump of all. A traceback prints
// the arguments of calls, and so the address of the process whose turn it is;
// objects on the heap don't move. Nothing need be noted while handlers run.
func stackOf(p *Process, dump []byte) []byte {
	// The methods that users' code runs in.
	var calls [3][]byte
	for i, method := range []string{"turn", "start", "exit"} {
		calls[i] = fmt.Appendf(nil, "genserver.(*Process).%s(%p", method, p)
	}
	for stack := range bytes.SplitSeq(dump, []byte("\n\n")) {
		for _, call := range calls {
			_, next, found := bytes.Cut(stack, call)
			if found && len(next) > 0 && bytes.IndexByte([]byte(",?)"), next[0]) >= 0 {
				return stack
			}
		}
	}
	return nil
}
