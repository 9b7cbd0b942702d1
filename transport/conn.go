package transport

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Conn is one connection to a message broker: the seam that [NATS] and [Hub]
// fill. All methods may be called from many goroutines at once.
//
// What one Conn sends arrives at each subscription in the order it was sent,
// at most once; nothing is ordered between two Conns.
type Conn interface {
	// Publish sends a message. Nil says that it has left for the broker in
	// order, not that it arrived. It neither keeps nor changes m.
	Publish(m Msg) error

	// Request sends a message with a reply subject of the Conn's own, not
	// m.Reply, and waits for the first answer until ctx ends, or m.Until. If
	// nobody subscribes it fails with ErrNoResponders at once. Once ctx has
	// ended the error is ctx.Err(), after m.Until context.DeadlineExceeded, and
	// whether the message arrived is unknown.
	Request(ctx context.Context, m Msg) (Msg, error)

	// Fail has every request to the peer fail, at once: one in flight with an
	// ErrPeerEnded, one made later with an ErrNoResponders before it is sent. Either
	// has the reason in it. An answer that comes after Fail is not taken any more.
	Fail(to *Peer, reason error)

	// Subscribe has deliver called for each message to subject, which may
	// end in the wildcards of NATS. The calls come one after another, in a
	// goroutine of the subscription; deliver may keep what it is given and
	// must not change it. The subscription is sure to be known to the broker
	// only after a Flush. It ends with Drain or with the Conn.
	Subscribe(subject string, deliver func(Msg)) (Subscription, error)

	// Flush waits until the broker has handled all that was sent before.
	Flush(ctx context.Context) error

	// Close flushes, ends the connection, fails the requests in flight and
	// waits for the calls of deliver that run, until ctx ends. What was not
	// yet delivered is lost: Drain first what must not be. Closing again
	// does nothing. Calling it from deliver would wait for itself.
	Close(ctx context.Context) error
}

// Subscription is what [Conn].Subscribe began.
type Subscription interface {
	// Drain ends the subscription without loss: the broker sends no more,
	// and all that it has sent so far was handed to deliver, and deliver has
	// returned, before Drain does. If ctx ends first, or the Conn, the rest
	// is lost and Drain says so. Calling it from deliver would wait for itself.
	Drain(ctx context.Context) error
}

// Msg is one message, as the broker sees it.
type Msg struct {
	// Subject says where it goes.
	Subject string
	// Reply is where an answer is awaited; empty for none.
	Reply string
	// Header is usually nil: one header costs as much as two thirds of a
	// message without.
	Header Header
	// Data is the body.
	Data []byte
	// Bundle, unless it is empty, is the beginning of Subject up to a dot, and
	// says that whoever subscribes to all that begins so takes several messages
	// in one: a Conn of this package does. A Conn that can then sends together
	// what comes together. In a message received it is the same of Reply.
	Bundle string
	// Until, of a request, ends it as its context's deadline would, which costs
	// more to make; zero for the context alone.
	Until time.Time
	// Peer is whom a request is made to, for Fail; nil for nobody in particular.
	Peer *Peer
	// Sent, of a request, unless it's nil, is called when the message has left for
	// the broker in order, before the answer is awaited. It must not block.
	Sent func()

	more int // how many messages of the same bundle follow it
}

// sent tells that a request has left, unless it has not.
func (m *Msg) sent(err error) {
	if err == nil && m.Sent != nil {
		m.Sent()
	}
}

// Header is a message's headers. Names keep their case on the wire and are
// matched without it here.
type Header map[string][]string

// Get is the first value of a header, or "".
func (h Header) Get(name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	for k, v := range h {
		if len(v) > 0 && strings.EqualFold(k, name) {
			return v[0]
		}
	}
	return ""
}

// Set replaces the values of a header.
func (h Header) Set(name, value string) { h[name] = []string{value} }

// Keys lists the names, in no order.
func (h Header) Keys() []string {
	keys := make([]string, 0, len(h))
	for k := range h {
		keys = append(keys, k)
	}
	return keys
}

// The errors of a [Conn]. Each says whether the message has left.
var (
	// ErrNoResponders means that nobody subscribes to the subject, as far as the
	// broker knew. The message reached no one.
	ErrNoResponders = errors.New("no responders")
	// ErrNotConnected means that there is no connection now. Nothing was sent, and
	// nothing is kept to be sent later.
	ErrNotConnected = errors.New("not connected")
	// ErrDisconnected means that the connection was lost, or closed, after the message
	// had left and before an answer came. Whether it arrived is unknown.
	ErrDisconnected = errors.New("connection lost")
	// ErrPeerEnded means that the node that the message was sent to is known to have ended,
	// and no answer came before. Whether it arrived is unknown.
	ErrPeerEnded = errors.New("the node has ended")
	// ErrClosed means that the Conn had been closed. Nothing was sent.
	ErrClosed = errors.New("connection closed")
	// ErrTooLarge means that the message is larger than the broker takes. Nothing was
	// sent. The error's text has both sizes.
	ErrTooLarge = errors.New("message too large")
	// ErrBadURL means that a server's address is not one. Nothing was tried.
	ErrBadURL = errors.New("bad NATS URL")
	// ErrBadSubject means that the subject, or the reply subject, is not one. Nothing
	// was sent.
	ErrBadSubject = errors.New("bad subject")
)

// unsent reports an error of a Conn after which the message certainly
// reached no one.
func unsent(err error) bool {
	for _, e := range []error{ErrNoResponders, ErrNotConnected, ErrClosed, ErrTooLarge, ErrBadSubject} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func tooLarge(size, limit int64) error {
	return fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, size, limit)
}

// checkSubject refuses what NATS would, and wildcards unless they are allowed.
func checkSubject(subject string, wildcards bool) error {
	bad := func(why string) error { return fmt.Errorf("%w %q: %s", ErrBadSubject, subject, why) }
	if subject == "" {
		return bad("empty")
	}
	token := 0 // where the token at i began
	for i := 0; i <= len(subject); i++ {
		if i < len(subject) && subject[i] != '.' {
			if c := subject[i]; c <= ' ' || c == 0x7f {
				return bad("white space or control character")
			}
			continue
		}
		switch part := subject[token:i]; part {
		case "":
			return bad("empty token")
		case "*", ">":
			if !wildcards {
				return bad("wildcard")
			}
			if part == ">" && i < len(subject) {
				return bad("'>' is not the last token")
			}
		}
		token = i + 1
	}
	return nil
}
