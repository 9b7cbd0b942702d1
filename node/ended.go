package node

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/transport"
)

// leftGrace is how long answers are still taken from a node that has left: it sent them
// before, but they come another way than the word of its end.
const leftGrace = time.Second

// nodeEnded has the calls to an incarnation fail that are in flight, as its registry says
// that it has ended. Those that have not been sent yet wait for whoever comes next.
func (r *router) nodeEnded(incarnation string, reason error) {
	p := r.knownPeer(incarnation)
	if p == nil {
		return // what is sent there later finds it itself
	}
	if dead, _ := r.registry.Ended(incarnation); dead {
		r.conn.Fail(&p.life, reason)
		return
	}
	if !r.begin() {
		return
	}
	go func() {
		defer r.wg.Done()
		if wait(r.life, leftGrace) {
			r.conn.Fail(&p.life, reason)
		}
	}()
}

// origins tell the messages of servers that own their cluster-wide names from those of
// servers that do no longer: of a node that was declared dead and does not know
// yet, or of an earlier epoch.
type origins struct {
	refused atomic.Uint64

	// The newest epoch of each name that has sent something is in recent. Once that is
	// full it becomes earlier, and what was there and not heard of since is forgotten.
	// Both are of the one goroutine that delivers.
	recent, earlier map[string]uint64
}

// maxOrigins is how many names each half of the memory holds.
const maxOrigins = 4096

// refusal is why a message is not let in whose sender needs a right to send; nil if
// it is.
func (r *router) refusal(in *genserver.Incoming, from transport.Origin) error {
	var why string
	if dead, reason := r.registry.Ended(from.Incarnation); dead {
		why = asError(reason).Text
	} else if newest := r.origins.note(in.From, from.Epoch); newest > from.Epoch {
		why = fmt.Sprintf("it was sent by epoch %d, and epoch %d has been heard of", from.Epoch, newest)
	} else {
		return nil
	}
	r.origins.refused.Add(1)
	return &genserver.Error{
		Code: genserver.ErrFenced.Code, Server: in.To, Undelivered: true,
		Text: fmt.Sprintf("its sender %s does not own its name any more: %s", in.From, why),
	}
}

// note returns the newest epoch of a name that has been heard of, this one included.
func (o *origins) note(name string, epoch uint64) (newest uint64) {
	newest, recent := o.recent[name]
	if recent && newest >= epoch {
		return newest
	}
	if !recent {
		newest = o.earlier[name]
		if len(o.recent) >= maxOrigins {
			o.recent, o.earlier = nil, o.recent
		}
		if o.recent == nil {
			o.recent = make(map[string]uint64)
		}
	}
	newest = max(newest, epoch)
	o.recent[name] = newest
	return newest
}
