package transport

import (
	"fmt"
	"sync/atomic"
)

// Peer is a node's incarnation that requests are made to, as long as it lives: give it
// to every [Route] there, and to [Conn].Fail once it has ended. The zero value is one
// that lives. It must not be copied.
type Peer struct{ ended atomic.Pointer[error] }

// Ended is why requests to the peer fail; nil while they don't.
func (p *Peer) Ended() error {
	if reason := p.ended.Load(); reason != nil {
		return *reason
	}
	return nil
}

// end notes why the peer has ended. The first reason counts.
func (p *Peer) end(reason error) { p.ended.CompareAndSwap(nil, &reason) }

// refusal is of a request to a peer that has ended: nobody is there. Nil for one that lives,
// and for none.
func (p *Peer) refusal() error {
	if p == nil {
		return nil
	}
	if reason := p.Ended(); reason != nil {
		return fmt.Errorf("%w: %w", ErrNoResponders, reason)
	}
	return nil
}

// failure is of a request that was in flight when the peer was found to have ended.
func (p *Peer) failure() error { return fmt.Errorf("%w: %w", ErrPeerEnded, p.Ended()) }
