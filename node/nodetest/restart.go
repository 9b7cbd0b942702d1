package nodetest

import (
	"context"
	"time"
)

// Generation is that of a server of this node; it waits until one runs.
func (n *Node) Generation(server string) uint64 {
	n.t.Helper()
	return n.Next(server, 0)
}

// Next waits until a later generation of a server runs than the one
// given, for 20 s at most, and is that one's. It looks every few milliseconds,
// so some may pass in virtual time.
func (n *Node) Next(server string, after uint64) (generation uint64) {
	n.t.Helper()
	n.await("a generation of "+server, func() bool {
		generation = n.running(server)
		return generation > after
	})
	return generation
}

// Kill ends a server of this node brutally: its terminate does not run, and its
// callers learn genserver.Killed. It returns the generation that it ended, for
// [Node.Next].
func (n *Node) Kill(server string) (generation uint64) {
	n.t.Helper()
	generation = n.Generation(server)
	if err := n.Ref(server).Kill(); err != nil {
		n.t.Fatalf("nodetest: kill %s: %v", server, err)
	}
	return generation
}

// Crash ends a server of this node with a reason, as if a handler had returned
// it: terminate runs, and its supervisor takes it for a crash. It returns the
// generation that it ended, for [Node.Next].
func (n *Node) Crash(server string, reason error) (generation uint64) {
	n.t.Helper()
	generation = n.Generation(server)
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	if err := n.Ref(server).Stop(ctx, reason); err != nil {
		n.t.Fatalf("nodetest: crash %s: %v", server, err)
	}
	return generation
}

// running is the generation of a server of this node, zero unless its init has
// returned.
func (n *Node) running(server string) uint64 {
	if p, ok := n.System().Process(server); ok && (p.State == "idle" || p.State == "busy") {
		return p.Generation
	}
	return 0
}

// await waits until something is so.
func (n *Node) await(what string, so func() bool) {
	n.t.Helper()
	const longest = 10 * time.Millisecond
	began := time.Now()
	for pause := 100 * time.Microsecond; !so(); pause = min(2*pause, longest) {
		if time.Since(began) > patience {
			n.t.Fatalf("nodetest: node %s: no %s in %v", n.Name(), what, patience)
		}
		<-time.After(pause)
	}
}
