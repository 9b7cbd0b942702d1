package cluster

import (
	"errors"
	"sync"
	"sync/atomic"
)

// Owner says who bears a name.
type Owner struct {
	// Node is the name of the bearer's node.
	Node string
	// Incarnation is the node's life that bears the name.
	Incarnation string
	// Epoch is the record's sequence; it grows with every change.
	Epoch uint64
}

// cache holds who bears the names of one kind that this node asked for. Watches
// keep it fresh, reads fill and repair it. Nothing in it proves anything. A name
// without a record is never in it, so a new one is found at once.
type cache struct {
	kind   Kind
	decode func(name string, value []byte) (Owner, error)

	mu      sync.RWMutex
	routes  map[string]*route
	lookups map[string]*lookup
	doubted map[string]*route // to be read again soon
	waits   map[string]*wait
	wrong   map[string]Owner // forgotten, and not looked up since
}

// maxWrong bounds what is kept of forgotten routes.
const maxWrong = 4096

// wait is shared by all who wait for a change of one name.
type wait struct {
	news  chan struct{} // closed by the first
	users int           // guarded by cache.mu
}

// route is replaced, not changed, when its owner is another.
type route struct {
	owner Owner
	used  atomic.Bool // asked for since the last round of refresh
	fresh bool        // confirmed since the last round; guarded by cache.mu
	idle  int         // rounds without use; guarded by cache.mu
}

// lookup is one read under way, shared by all who wait for it.
type lookup struct {
	newest Change // the newest change seen since it began; guarded by cache.mu
	owner  Owner  // set before done is closed, as is err
	err    error
	done   chan struct{}
}

// ended is the done of a lookup that need not be waited for.
var ended = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func newCache(kind Kind, decode func(string, []byte) (Owner, error)) *cache {
	return &cache{kind: kind, decode: decode, routes: map[string]*route{}, lookups: map[string]*lookup{}}
}

// get is on the path of every remote call.
func (c *cache) get(name string) (Owner, bool) {
	c.mu.RLock()
	r := c.routes[name]
	c.mu.RUnlock()
	if r == nil {
		return Owner{}, false
	}
	if !r.used.Load() { // written once per round, so that cores do not fight for it
		r.used.Store(true)
	}
	return r.owner, true
}

// put sets a route unless a newer one is known.
func (c *cache) put(name string, o Owner) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.putLocked(name, o)
}

func (c *cache) putLocked(name string, o Owner) {
	switch r := c.routes[name]; {
	case r != nil && r.owner.Epoch > o.Epoch:
	case r != nil && r.owner == o:
		r.fresh = true
	default:
		c.routes[name] = &route{owner: o, fresh: true}
	}
}

// forget drops the route to an incarnation that proved wrong.
func (c *cache) forget(name, incarnation string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.routes[name]
	if r == nil || r.owner.Incarnation != incarnation {
		return
	}
	delete(c.routes, name)
	if c.wrong == nil {
		c.wrong = map[string]Owner{}
	}
	if len(c.wrong) < maxWrong {
		c.wrong[name] = r.owner
	}
}

// mayRecall reports whether there is a forgotten route, for want of a better one.
func (c *cache) mayRecall(name string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	_, ok := c.wrong[name]
	return ok
}

// recall takes back a forgotten route, which nobody could correct.
func (c *cache) recall(name string) (Owner, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.routes[name]; r != nil {
		return r.owner, true
	}
	o, ok := c.wrong[name]
	if ok {
		delete(c.wrong, name)
		c.routes[name] = &route{owner: o}
	}
	return o, ok
}

// doubt has the route to an incarnation read again soon, and kept until then.
func (c *cache) doubt(name, incarnation string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.routes[name]; r != nil && r.owner.Incarnation == incarnation {
		c.doubtLocked(name, r)
	}
}

func (c *cache) doubtLocked(name string, r *route) {
	if c.doubted == nil {
		c.doubted = map[string]*route{}
	}
	r.fresh = false // should that read fail, a later round has another
	c.doubted[name] = r
}

func (c *cache) takeDoubted() map[string]*route {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.doubted
	c.doubted = nil
	return all
}

func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.routes)
	clear(c.wrong)
}

// changed takes a watched change. Names nobody here asked for are passed over. If the
// change has another bear a name, it returns whose place that has taken; gap says
// that a copy before this one was lost.
func (c *cache) changed(ch Change) (before string, gap bool) {
	name := ch.Key.Name
	c.mu.RLock()
	concerns := c.routes[name] != nil || c.lookups[name] != nil || c.waits[name] != nil
	c.mu.RUnlock()
	if !concerns { // a lookup that begins now reads a state at least as new, or the next round does
		return "", false
	}
	o, err := c.ownerIn(ch)
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.lookups[name]; l != nil && l.newest.Seq < ch.Seq {
		l.newest = ch
	}
	r := c.routes[name]
	if w := c.waits[name]; w != nil && err == nil && (r == nil || r.owner.Epoch < ch.Seq) {
		delete(c.waits, name)
		close(w.news)
		if r == nil {
			c.putLocked(name, o)
		}
	}
	switch {
	case r == nil || r.owner.Epoch >= ch.Seq:
	case err != nil: // deleted, or unreadable: the next to ask reads it
		delete(c.routes, name)
	default:
		c.putLocked(name, o)
		if gap = ch.Prev > r.owner.Epoch; gap {
			c.doubtLocked(name, c.routes[name])
		}
		if o.Incarnation != r.owner.Incarnation {
			before = r.owner.Incarnation
		}
	}
	return before, gap
}

// await begins to wait for a watched change of who bears a name; stop ends it.
func (c *cache) await(name string) (news <-chan struct{}, stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.waits[name]
	if w == nil {
		w = &wait{news: make(chan struct{})}
		if c.waits == nil {
			c.waits = map[string]*wait{}
		}
		c.waits[name] = w
	}
	w.users++
	return w.news, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if w.users--; w.users == 0 && c.waits[name] == w {
			delete(c.waits, name)
		}
	}
}

func (c *cache) ownerIn(ch Change) (Owner, error) {
	if ch.Deleted {
		return Owner{}, ErrNotFound
	}
	o, err := c.decode(ch.Key.Name, ch.Value)
	o.Epoch = ch.Seq
	return o, err
}

// join returns the lookup under way for a name, or one that has just ended, or
// begins one; then the caller must finish it.
func (c *cache) join(name string) (l *lookup, begun bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.lookups[name]; l != nil {
		return l, false
	}
	if r := c.routes[name]; r != nil {
		return &lookup{owner: r.owner, done: ended}, false
	}
	l = &lookup{done: make(chan struct{})}
	c.lookups[name] = l
	return l, true
}

// finish ends a lookup with what was read, or with a change that was seen
// meanwhile and is newer.
func (c *cache) finish(name string, l *lookup, e Entry, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.newest.Seq > e.Seq {
		e, err = Entry{Key: l.newest.Key, Value: l.newest.Value, Seq: l.newest.Seq}, nil
		if l.newest.Deleted {
			err = ErrNotFound
		}
	}
	if err == nil {
		l.owner, l.err = c.decode(name, e.Value)
		l.owner.Epoch = e.Seq
	} else {
		l.err = err
	}
	switch {
	case l.err == nil:
		c.putLocked(name, l.owner)
		delete(c.wrong, name)
	case errors.Is(l.err, ErrNotFound):
		delete(c.wrong, name)
	}
	delete(c.lookups, name)
	close(l.done)
}

// stale picks routes to read again, limit at most, and begins the next round: it
// wants those that were used but not confirmed in this one, and drops those
// nobody has used for maxIdle rounds.
func (c *cache) stale(limit, maxIdle int) map[string]*route {
	c.mu.Lock()
	defer c.mu.Unlock()
	picked := map[string]*route{}
	for name, r := range c.routes {
		if !r.used.Swap(false) {
			if r.idle++; r.idle >= maxIdle {
				delete(c.routes, name)
			}
			continue
		}
		r.idle = 0
		switch {
		case r.fresh:
			r.fresh = false
		case len(picked) < limit:
			picked[name] = r
		default:
			r.used.Store(true) // its turn comes in a later round
		}
	}
	return picked
}

// refreshed takes the result of reading a stale route again. It touches only
// that very route: whatever has replaced it is newer.
func (c *cache) refreshed(name string, r *route, e Entry, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.routes[name] != r {
		return
	}
	switch {
	case errors.Is(err, ErrNotFound):
		delete(c.routes, name)
	case err != nil: // keep what we have until the store answers
	default:
		o, err := c.decode(name, e.Value)
		o.Epoch = e.Seq
		if err != nil {
			delete(c.routes, name)
			return
		}
		c.putLocked(name, o)
	}
}
