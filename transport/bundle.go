package transport

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
)

// A bundle is several messages in one of the broker's. Most of what a small
// message costs between two nodes is the broker's and its clients' work for
// every message, however small; so those that come together travel together.
//
//	0  frameMagic
//	1  frameVersion
//	2  shapeBundle
//	3… entries: the end of the subject (an unsigned varint and so many bytes),
//	   1 where an answer is awaited, else 0, the body (a varint and its bytes)
//
// It goes to the beginning that its subjects have in common and bundleToken.
// Its reply subject has the last tokens of the entries' reply subjects, in
// order, with bundleJoint between them: if nobody listens, the broker's answer
// to the bundle then names all that it is for.
const (
	shapeBundle = 0x20
	bundleToken = "_bundle"
	bundleJoint = "+"
)

const (
	// bundleSize is when a bundle is full. More would cost hardly less for
	// each message, and keep the first waiting for the last.
	bundleSize = 16 << 10
	// bundleCalls bounds the reply subject: servers take lines of 4 KiB.
	bundleCalls = 128
	// maxLanes is more than there are nodes to send to. Beyond it those that
	// have nothing to send are forgotten.
	maxLanes = 4096
)

// bundler makes bundles of what is sent together. What finds nothing else under
// way goes as it is.
type bundler struct {
	send func(m Msg) error // gives one message to the broker; by value, so that none needs memory of its own
	fail func(reply string, err error)
	hold func() (release func())

	wake chan struct{} // one slot; closed to end run
	done chan struct{} // closed when run has returned

	unsent *atomic.Uint64 // counts one-way messages that add had taken and that could not be sent

	mu     sync.Mutex
	limit  int              // guarded by mu; bytes in a bundle, about
	room   sync.Cond        // on mu; a lane is no longer busy
	lanes  map[string]*lane // guarded by mu; by prefix
	dirty  []*lane          // guarded by mu; with something to send, for run
	closed error            // guarded by mu; why nothing more is taken
}

// lane is what goes to one place. Its fields are guarded by the bundler's mu.
type lane struct {
	prefix  string
	subject string // of a bundle
	checked string // the last subject that was found to be one: most come in rows
	bundle  pack   // to be sent next
	spare   pack
	busy    bool // one is being sent
	queued  bool // in dirty
}

// pack is a bundle in the making.
type pack struct {
	buf   []byte
	n     int
	calls int
	reply []byte
	first Msg // as it was, for a bundle of one; its Data is the end of buf
}

func (p *pack) reset() {
	*p = pack{buf: append(p.buf[:0], frameMagic, frameVersion, shapeBundle), reply: p.reply[:0]}
}

func (p *pack) add(m *Msg) {
	if p.n == 0 {
		p.reset()
		p.first = *m
	}
	p.n++
	rest := m.Subject[len(m.Bundle):]
	p.buf = binary.AppendUvarint(p.buf, uint64(len(rest)))
	p.buf = append(p.buf, rest...)
	if m.Reply == "" {
		p.buf = append(p.buf, 0)
	} else {
		p.buf = append(p.buf, 1)
		p.addReply(m.Reply)
	}
	p.buf = binary.AppendUvarint(p.buf, uint64(len(m.Data)))
	p.buf = append(p.buf, m.Data...)
}

func (p *pack) addReply(reply string) {
	if p.calls == 0 {
		p.reply = append(p.reply, reply...)
	} else {
		p.reply = append(p.reply, bundleJoint...)
		p.reply = append(p.reply, reply[strings.LastIndexByte(reply, '.')+1:]...)
	}
	p.calls++
}

// takes reports whether there is room for one more, and its answer goes where
// those of the others go.
func (p *pack) takes(m *Msg, limit int) bool {
	if len(p.buf) >= limit || p.calls >= bundleCalls {
		return false
	}
	if m.Reply == "" || p.calls == 0 {
		return true
	}
	at := strings.LastIndexByte(m.Reply, '.') + 1
	return len(p.reply) > at && string(p.reply[:at]) == m.Reply[:at] && bytes.IndexByte(p.reply[at:], '.') < 0
}

// msg is what the broker is to be given.
func (p *pack) msg(subject string) Msg {
	if p.n == 1 {
		m := p.first
		m.Data = p.buf[len(p.buf)-len(m.Data):]
		return m
	}
	return Msg{Subject: subject, Reply: string(p.reply), Data: p.buf}
}

func newBundler(send func(Msg) error, fail func(string, error), hold func() func(), unsent *atomic.Uint64) *bundler {
	b := &bundler{
		send: send, fail: fail, hold: hold, unsent: unsent, limit: bundleSize,
		wake: make(chan struct{}, 1), done: make(chan struct{}), lanes: make(map[string]*lane),
	}
	b.room.L = &b.mu
	go b.run()
	return b
}

// setLimit is for brokers that take less than a bundle.
func (b *bundler) setLimit(limit int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit = int(min(bundleSize, limit)) // At most bundleSize.
}

// add sends a message that has a Bundle, in order with all others of it.
// Where the sender knows that it is alone, nothing is waited for.
func (b *bundler) add(m Msg, alone bool) error {
	b.mu.Lock()
	large := len(m.Data) > b.limit/2
	l := b.lane(m.Bundle)
	if m.Subject != l.checked {
		if err := checkSubject(m.Subject, false); err != nil {
			b.mu.Unlock()
			return err
		}
		l.checked = m.Subject
	}
	for b.closed == nil && (l.bundle.n > 0 && (large || !l.bundle.takes(&m, b.limit)) || large && l.busy) {
		if l.busy {
			b.room.Wait()
		} else {
			b.flush(l)
		}
	}
	if err := b.closed; err != nil {
		b.mu.Unlock()
		return err
	}
	if large || alone && l.bundle.n == 0 && !l.busy {
		b.mu.Unlock()
		release := b.hold()
		defer release()
		return b.send(m)
	}
	l.bundle.add(&m)
	queued := b.queue(l)
	b.mu.Unlock()
	if queued {
		b.signal()
	}
	return nil
}

// lane finds the one of a prefix; b.mu is held.
func (b *bundler) lane(prefix string) *lane {
	l := b.lanes[prefix]
	if l == nil {
		if len(b.lanes) >= maxLanes {
			for key, old := range b.lanes {
				if old.bundle.n == 0 && !old.busy {
					delete(b.lanes, key)
				}
			}
		}
		l = &lane{prefix: prefix, subject: prefix + bundleToken}
		b.lanes[prefix] = l
	}
	return l
}

// queue has run look at the lane, unless it will anyway; b.mu is held.
func (b *bundler) queue(l *lane) bool {
	if l.queued || l.busy {
		return false
	}
	l.queued = true
	b.dirty = append(b.dirty, l)
	return true
}

func (b *bundler) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// flush sends what a lane has that is not busy. b.mu is held, but not while it
// sends.
func (b *bundler) flush(l *lane) {
	p := l.bundle
	l.bundle, l.spare = l.spare, pack{}
	l.bundle.n = 0
	l.busy = true
	b.mu.Unlock()
	m := p.msg(l.subject)
	if err := b.send(m); err != nil {
		b.unsent.Add(uint64(p.n - p.calls)) // Never less than none.
		if p.calls > 0 {
			b.fail(m.Reply, err)
		}
	}
	b.mu.Lock()
	l.spare = pack{buf: p.buf, reply: p.reply}
	l.busy = false
	b.room.Broadcast()
	if l.bundle.n > 0 && b.queue(l) {
		b.signal()
	}
}

// run sends what nobody else does.
func (b *bundler) run() {
	defer close(b.done)
	for {
		<-b.wake
		runtime.Gosched() // lets those that run now add theirs
		release := b.hold()
		b.mu.Lock()
		for len(b.dirty) > 0 {
			l := b.dirty[0]
			b.dirty = b.dirty[1:]
			l.queued = false
			if l.bundle.n > 0 && !l.busy {
				b.flush(l)
			}
		}
		b.dirty = nil
		closed := b.closed
		b.mu.Unlock()
		release()
		if closed != nil {
			return
		}
	}
}

// end is for a connection that is gone: what has not been sent is forgotten,
// calls fail with refuse, and so does what comes later. It waits for nothing;
// done is closed soon.
func (b *bundler) end(refuse error) {
	b.mu.Lock()
	var calls []string
	for _, l := range b.lanes {
		b.unsent.Add(uint64(l.bundle.n - l.bundle.calls)) // Never less than none.
		if l.bundle.calls > 0 {
			calls = append(calls, string(l.bundle.reply))
		}
		l.bundle.n, l.bundle.calls = 0, 0
	}
	b.mu.Unlock()
	for _, reply := range calls {
		b.fail(reply, refuse)
	}
	b.close(refuse)
}

// close refuses what comes later, and has what is left sent; then done is
// closed.
func (b *bundler) close(refuse error) {
	b.mu.Lock()
	if b.closed == nil {
		b.closed = refuse
	}
	b.room.Broadcast()
	b.mu.Unlock()
	b.signal()
}

// entry is one message of a bundle.
type entry struct {
	rest  []byte // of the subject
	token string // of the reply subject, empty for no answer
	data  []byte
}

// isBundle reports what unbundle is for.
func isBundle(subject string, data []byte) bool {
	return len(data) > frameHeader && data[0] == frameMagic && data[1] == frameVersion && data[2] == shapeBundle &&
		strings.HasSuffix(subject, "."+bundleToken)
}

// bundleReader walks the entries of a bundle; tokens are the last of its reply subject
// that are left.
type bundleReader struct {
	data   []byte
	tokens string
}

// unbundle readies the reading of a bundle and counts its entries. The error is an
// [ErrFrame]; without one, so many calls of next are sure to succeed.
func unbundle(data []byte, tokens string) (r bundleReader, n int, err error) {
	r = bundleReader{data[frameHeader:], tokens}
	for check := r; len(check.data) > 0; n++ {
		if _, err := check.next(); err != nil {
			return r, 0, err
		}
	}
	return r, n, nil
}

func (r *bundleReader) next() (e entry, err error) {
	if e.rest, err = r.text(); err != nil {
		return e, err
	}
	if len(r.data) == 0 {
		return e, errCutOff
	}
	calls := r.data[0]
	r.data = r.data[1:]
	if calls > 1 {
		return e, fmt.Errorf("%w: byte %#x in a bundle", ErrFrame, calls)
	}
	if calls == 1 {
		if e.token, r.tokens, _ = strings.Cut(r.tokens, bundleJoint); e.token == "" {
			return e, fmt.Errorf("%w: a bundle of more calls than reply subjects", ErrFrame)
		}
	}
	e.data, err = r.text()
	return e, err
}

var errCutOff = fmt.Errorf("%w: a bundle cut off", ErrFrame)

func (r *bundleReader) text() ([]byte, error) {
	size, n := uvarint(r.data)
	if n <= 0 || size > uint64(len(r.data)-n) { // The difference is never negative.
		return nil, errCutOff
	}
	v := r.data[n : n+int(size)] // Bounded by len(data).
	r.data = r.data[n+int(size):]
	return v, nil
}

// unbundler turns bundles into messages, for one subscription.
type unbundler struct {
	prefix   string // of the subjects
	subjects map[string]string
	last     string // one of them: most come in rows
}

// deliver hands on a message, or the messages of a bundle.
func (u *unbundler) deliver(m Msg, to func(Msg)) {
	if !isBundle(m.Subject, m.Data) {
		to(m)
		return
	}
	prefix := m.Subject[:len(m.Subject)-len(bundleToken)]
	at := strings.LastIndexByte(m.Reply, '.') + 1
	replies := m.Reply[:at]
	entries, n, err := unbundle(m.Data, m.Reply[at:])
	if err != nil {
		to(m) // for whoever takes frames to refuse
		return
	}
	for more := n - 1; more >= 0; more-- {
		e, _ := entries.next() // It succeeds so many times.
		one := Msg{Subject: u.subject(prefix, e.rest), Data: e.data, more: more}
		if e.token != "" {
			one.Reply, one.Bundle = replies+e.token, replies
		}
		to(one)
	}
}

// subject remembers: most messages are for a few servers.
func (u *unbundler) subject(prefix string, rest []byte) string {
	if prefix != u.prefix {
		u.prefix, u.subjects, u.last = prefix, nil, ""
	}
	if len(u.last) > len(prefix) && u.last[len(prefix):] == string(rest) {
		return u.last
	}
	u.last = u.known(prefix, rest)
	return u.last
}

func (u *unbundler) known(prefix string, rest []byte) string {
	if s, ok := u.subjects[string(rest)]; ok {
		return s
	}
	if u.subjects == nil || len(u.subjects) >= maxTexts {
		u.subjects = make(map[string]string)
	}
	s := prefix + string(rest)
	u.subjects[s[len(prefix):]] = s
	return s
}
