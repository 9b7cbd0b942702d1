package node

import (
	"context"
	"errors"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/name"
	"github.com/civitas-go/civitas/transport"
)

// watcher is what another node's incarnation wants to know of servers here. It is
// forgotten when that is nothing any more, and when the incarnation has ended.
type watcher struct {
	incarnation string
	watches     map[uint64]*watch
	ended       []ended // to be told
	telling     bool    // by a goroutine
	life        context.Context
	end         context.CancelFunc
	unfollow    func()
}

// watch is one monitor of that incarnation's. It stays until its end has been told.
type watch struct {
	generation uint64
	cancel     func() // nil until there is one
	over       bool
}

// What one message may tell of.
const (
	maxDowns      = 100
	maxDownsBytes = 256 << 10
)

// monitorFor watches a server for another node.
func (r *router) monitorFor(in *genserver.Incoming, m askMonitor) error {
	if err := name.CheckToken("incarnation", m.Incarnation); err != nil {
		return err
	}
	ms := &r.monitors
	p, w, known := ms.admit(r.life, m)
	switch {
	case p == nil:
		return &genserver.Error{Code: genserver.ErrDraining.Code, Server: m.Server, Undelivered: true}
	case known:
		in.Reply.Reply(monitored{Generation: w.generation}, nil)
		return nil
	}
	server, cancel, err := r.sys.Watch(m.Server, func(d genserver.Down) { r.ended(p, m.ID, d) })
	if err != nil {
		ms.drop(p, m.ID)
		return err
	}
	ms.mu.Lock()
	w.generation, w.cancel = server.Generation(), cancel
	taken := p.watches[m.ID] != w
	ms.mu.Unlock()
	if taken { // back, meanwhile
		cancel()
	}
	r.followWatcher(p)
	in.Reply.Reply(monitored{Generation: server.Generation()}, nil)
	return nil
}

// admit notes a watch; p is nil when it's too late for that.
func (ms *monitors) admit(life context.Context, m askMonitor) (p *watcher, w *watch, known bool) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if ms.closed {
		return nil, nil, false
	}
	p = ms.watchers[m.Incarnation]
	if p == nil {
		p = &watcher{incarnation: m.Incarnation, watches: map[uint64]*watch{}}
		p.life, p.end = context.WithCancel(life)
		ms.watchers[m.Incarnation] = p
	}
	if w = p.watches[m.ID]; w != nil {
		return p, w, true
	}
	w = &watch{}
	p.watches[m.ID] = w
	return p, w, false
}

// followWatcher has a watcher forgotten when its incarnation has ended.
func (r *router) followWatcher(p *watcher) {
	ms := &r.monitors
	ms.mu.Lock()
	begun := p.unfollow != nil || ms.watchers[p.incarnation] != p
	if !begun {
		p.unfollow = func() {}
	}
	ms.mu.Unlock()
	if begun {
		return
	}
	unfollow := ms.follow(p.incarnation, func(error) { ms.forget(p) })
	ms.mu.Lock()
	kept := ms.watchers[p.incarnation] == p
	if kept {
		p.unfollow = unfollow
	}
	ms.mu.Unlock()
	if !kept {
		unfollow()
	}
}

// forget ends all that a watcher has asked for.
func (ms *monitors) forget(p *watcher) {
	ms.mu.Lock()
	if ms.watchers[p.incarnation] == p {
		delete(ms.watchers, p.incarnation)
	}
	watches, unfollow := p.watches, p.unfollow
	p.watches, p.ended, p.unfollow = nil, nil, nil
	ms.mu.Unlock()
	p.end()
	if unfollow != nil {
		unfollow()
	}
	for _, w := range watches {
		if w.cancel != nil {
			w.cancel()
		}
	}
}

// drop forgets one watch, and the watcher with its last one.
func (ms *monitors) drop(p *watcher, ids ...uint64) {
	ms.mu.Lock()
	for _, id := range ids {
		delete(p.watches, id)
	}
	idle := len(p.watches) == 0 && ms.watchers[p.incarnation] == p
	if idle {
		delete(ms.watchers, p.incarnation)
	}
	ms.mu.Unlock()
	if idle {
		ms.forget(p)
	}
}

// demonitorFor takes a watch back.
func (r *router) demonitorFor(_ *genserver.Incoming, m endMonitor) error {
	ms := &r.monitors
	ms.mu.Lock()
	p := ms.watchers[m.Incarnation]
	var w *watch
	if p != nil {
		w = p.watches[m.ID]
	}
	if w == nil || w.over { // its end is being told
		ms.mu.Unlock()
		return nil
	}
	cancel := w.cancel
	ms.mu.Unlock()
	ms.drop(p, m.ID)
	if cancel != nil {
		cancel()
	}
	return nil
}

// ended notes a server's end. It's called by whoever ends it.
func (r *router) ended(p *watcher, id uint64, d genserver.Down) {
	ms := &r.monitors
	ms.mu.Lock()
	w := p.watches[id]
	if w == nil || w.over {
		ms.mu.Unlock()
		return
	}
	w.over = true
	p.ended = append(p.ended, ended{ID: id, Generation: d.Generation, Reason: reasonBytes(d.Reason)})
	start := !p.telling
	p.telling = p.telling || start
	ms.mu.Unlock()
	if start && r.begin() {
		go func() {
			defer r.wg.Done()
			r.tellWatcher(p)
		}()
	}
}

// tellWatcher tells a watcher of ends until it has answered for all of them, or has
// ended itself.
func (r *router) tellWatcher(p *watcher) {
	ms := &r.monitors
	pause := firstPause
	for p.life.Err() == nil {
		ms.mu.Lock()
		next := some(p.ended)
		if len(next) == 0 {
			p.telling = false
			ms.mu.Unlock()
			return
		}
		closed := ms.closed
		ms.mu.Unlock()
		switch err := r.tellOnce(p, next); {
		case err == nil || closed && errors.Is(err, transport.ErrNoResponders): // gone, most likely
			pause = firstPause
			ids := make([]uint64, len(next))
			for i, d := range next {
				ids[i] = d.ID
			}
			ms.mu.Lock()
			p.ended = p.ended[min(len(next), len(p.ended)):]
			ms.mu.Unlock()
			ms.drop(p, ids...)
			select {
			case ms.told <- struct{}{}:
			default:
			}
		default:
			wait(p.life, pause)
			pause = min(2*pause, longestPause)
		}
	}
}

// some are the first of many, as much as one message holds.
func some(all []ended) []ended {
	size := 0
	for i, d := range all {
		if size += len(d.Reason); i == maxDowns || size > maxDownsBytes && i > 0 {
			return all[:i:i]
		}
	}
	return all[:len(all):len(all)]
}

// tellOnce returns nil once the watcher has answered, whatever it says.
func (r *router) tellOnce(p *watcher, downs []ended) error {
	ctx, cancel := context.WithTimeout(p.life, answerTimeout)
	defer cancel()
	_, err := transport.Request(ctx, r.conn, r.runtimeOf(p.incarnation), r.toRuntime(genserver.KindCall, tellDown{Downs: downs}))
	if err == nil || errors.Is(err, transport.ErrNoResponders) || unreachable(err) {
		return err
	}
	r.log.Warn("a node does not take word of its monitored servers' ends", "incarnation", p.incarnation, "error", err)
	return nil
}

// settle gives what has ended some time to be told.
func (ms *monitors) settle(ctx context.Context) {
	for ms.untold() {
		select {
		case <-ms.told:
		case <-ctx.Done():
			return
		}
	}
}

func (ms *monitors) untold() bool {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	ms.closed = true
	for _, p := range ms.watchers {
		if len(p.ended) > 0 {
			return true
		}
	}
	return false
}

// close ends everything; the router's background has been told to end.
func (ms *monitors) close() {
	ms.mu.Lock()
	ms.closed = true
	asked, watchers := ms.asked, ms.watchers
	ms.asked, ms.watchers = map[uint64]*farMonitor{}, map[string]*watcher{}
	ms.mu.Unlock()
	for _, m := range asked {
		m.end()
		ms.mu.Lock()
		unfollow := m.unfollow
		m.unfollow = nil
		ms.mu.Unlock()
		if unfollow != nil {
			unfollow()
		}
	}
	for _, p := range watchers {
		ms.forget(p)
	}
}
