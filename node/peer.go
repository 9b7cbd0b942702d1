package node

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/civitas-go/civitas/transport"
)

// peers are the incarnations of nodes that this node sends to.
type peers struct {
	recent recent[peer] // some of all; written with mu held, if only for reading
	mu     sync.RWMutex
	all    map[string]*peer // guarded by mu; by incarnation
	closed bool             // guarded by mu

	asking sync.WaitGroup
	end    context.CancelFunc // of ctx; set by the first question
	ctx    context.Context    //nolint:containedctx // ends the questions with the node
}

const (
	// maxPeers is more incarnations than a node ever sends to. Beyond it their
	// numbers begin anew, which costs nothing but a little of what is counted.
	maxPeers = 4096
	// maxSubjects is how many of a peer's subjects are kept made.
	maxSubjects = 4096
	// askTimeout is how long a peer may take to say what it can.
	askTimeout = 5 * time.Second
	// A peer that has not answered is asked again, with longer and longer
	// pauses, for a minute or so.
	askPause        = 100 * time.Millisecond
	longestAskPause = time.Minute
)

// peer is one incarnation of a node.
type peer struct {
	incarnation string

	life     transport.Peer      // until it is known to have ended
	prefix   string              // of its subjects
	sequence *transport.Sequence // of what goes there, whichever name it is for
	bundles  atomic.Bool         // it takes them; until it has said so, it does not

	refusals refusals

	recent   recent[subject]
	mu       sync.RWMutex
	subjects map[string]*subject // guarded by mu; by name
}

// subject is a server's on the peer.
type subject struct{ name, subject string }

// bundle is the Route.Bundle of what goes there.
func (p *peer) bundle() string {
	if p.bundles.Load() {
		return p.prefix
	}
	return ""
}

func (p *peer) subject(name string) string {
	recent := p.recent.at(name)
	if s := recent.Load(); s != nil && s.name == name {
		return s.subject
	}
	p.mu.RLock()
	s := p.subjects[name]
	p.mu.RUnlock()
	if s == nil {
		s = p.addSubject(name)
	}
	recent.Store(s)
	return s.subject
}

func (p *peer) addSubject(name string) *subject {
	s := &subject{name, p.prefix + name}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.subjects == nil || len(p.subjects) >= maxSubjects {
		p.subjects = make(map[string]*subject)
	}
	p.subjects[name] = s
	return s
}

// knownPeer is one that something was sent to, else nil.
func (r *router) knownPeer(incarnation string) *peer {
	recent := r.peers.recent.at(incarnation)
	if p := recent.Load(); p != nil && p.incarnation == incarnation {
		return p
	}
	r.peers.mu.RLock()
	defer r.peers.mu.RUnlock()
	p := r.peers.all[incarnation]
	if p != nil {
		recent.Store(p)
	}
	return p
}

// peer finds an incarnation; when it is new, it is asked what it can.
func (r *router) peer(incarnation string) *peer {
	p := r.knownPeer(incarnation)
	if p != nil {
		return p
	}
	r.peers.mu.Lock()
	defer r.peers.mu.Unlock()
	if p = r.peers.all[incarnation]; p != nil {
		return p
	}
	if len(r.peers.all) >= maxPeers {
		r.peers.recent.clear()
		maps.DeleteFunc(r.peers.all, func(incarnation string, _ *peer) bool {
			_, reason := r.registry.Ended(incarnation)
			return reason != nil
		})
	}
	if r.peers.all == nil || len(r.peers.all) >= maxPeers {
		r.peers.all = make(map[string]*peer)
	}
	p = &peer{incarnation: incarnation, prefix: r.subjects.Node(incarnation, ""), sequence: transport.NewSequence()}
	r.peers.all[incarnation] = p
	// Had it ended before it was among them, nobody would say so again.
	if _, reason := r.registry.Ended(incarnation); reason != nil {
		r.conn.Fail(&p.life, reason)
	} else {
		r.ask(p, incarnation)
	}
	return p
}

// ask learns in the background whether a peer takes bundles; r.peers.mu is held.
func (r *router) ask(p *peer, incarnation string) {
	if r.peers.closed {
		return
	}
	if r.peers.end == nil {
		r.peers.ctx, r.peers.end = context.WithCancel(context.Background())
	}
	r.peers.asking.Go(func() {
		for pause := askPause; ; pause *= 2 {
			ctx, cancel := context.WithTimeout(r.peers.ctx, askTimeout)
			takes, err := transport.TakesBundles(ctx, r.conn, r.subjects, incarnation)
			cancel()
			if err == nil {
				p.bundles.Store(takes)
				return
			}
			r.log.Debug("a peer has not said whether it takes bundles", "incarnation", incarnation, "error", err)
			if pause > longestAskPause || !wait(r.peers.ctx, pause) {
				return
			}
		}
	})
}

// close waits for the questions that are under way.
func (p *peers) close() {
	p.mu.Lock()
	p.closed = true
	if p.end != nil {
		p.end()
	}
	p.mu.Unlock()
	p.asking.Wait()
}
