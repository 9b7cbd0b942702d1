package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

// Service is one subscription that feeds servers: what [ServeNode] and
// [ServePublic] began. It ends with Drain or with its Conn.
type Service struct {
	conn Conn
	now  nowPublisher // the same, nil if it cannot
	log  *slog.Logger
	sub  Subscription

	received, malformed, unsentReplies, secondReplies atomic.Uint64

	answered, failed atomic.Uint64 // on public subjects
	processing       atomic.Int64  // nanoseconds, of those answered
	lastError        atomic.Pointer[string]

	gaps gaps // on a node's subject

	// Of the goroutine that delivers.
	known       *texts             // nil on public subjects, of which there is one for each name
	targets     map[string]*target // by subject
	lastSubject string
	lastTarget  *target    // its
	deliveries  []delivery // for what is left of a bundle

	lastLog atomic.Int64 // when the last line was logged, in Unix nanoseconds
	unsaid  atomic.Uint64
}

// ServiceStats counts what a Service has seen since it began.
type ServiceStats struct {
	// Received counts the messages that were delivered.
	Received uint64
	// Malformed counts those that were refused instead.
	Malformed uint64
	// UnsentReplies counts the replies the Conn did not take.
	UnsentReplies uint64
	// SecondReplies counts attempts to answer a call again. None was sent.
	SecondReplies uint64

	// Lost counts the messages that other nodes sent here and that never came:
	// dropped by the broker for a slow consumer, or by [NATS] for a full queue
	// (NATS.Dropped has these too), or lost with a connection. A gap is seen
	// when the same node's next message comes. For a moment it may count what
	// comes a little later. Of [ServePublic] it is zero: plain clients number
	// nothing.
	Lost uint64

	// The rest is of a public subject; of [ServeNode] it is zero.

	// Answered counts the calls that were delivered and answered, Failed those
	// of them that were answered with an error, LastError is the last one's
	// text. Processing is the time from delivery to answer, of all together.
	Answered, Failed uint64
	LastError        string
	Processing       time.Duration
}

// Stats is a snapshot of the counts.
func (s *Service) Stats() ServiceStats {
	stats := ServiceStats{
		Received:      s.received.Load(),
		Malformed:     s.malformed.Load(),
		UnsentReplies: s.unsentReplies.Load(),
		SecondReplies: s.secondReplies.Load(),
		Lost:          s.gaps.lost(),
		Answered:      s.answered.Load(),
		Failed:        s.failed.Load(),
		Processing:    time.Duration(s.processing.Load()),
	}
	if text := s.lastError.Load(); text != nil {
		stats.LastError = *text
	}
	return stats
}

// Drain ends the subscription and returns when all that had arrived was
// delivered; see [Subscription]. Replies may still be sent after it.
func (s *Service) Drain(ctx context.Context) error { return s.sub.Drain(ctx) }

// NodeFunc takes a message from another node. It is called from the one
// goroutine of the subscription, in the order each sender sent, and must not
// block: all servers of the node wait behind it. The epoch is that of the
// sender's [Route]; from is its right to send.
type NodeFunc func(in *genserver.Incoming, epoch uint64, from Origin)

// ServeNode takes all messages to one incarnation of a node. The subscription
// is sure to be known only after a Flush of the Conn.
//
// What is no frame, or names no server, is answered with bad_payload where
// an answer is awaited, else logged, and counted either way. The logger may
// be nil.
func ServeNode(conn Conn, s Subjects, incarnation string, log *slog.Logger, deliver NodeFunc) (*Service, error) {
	svc := newService(conn, log)
	svc.known = &texts{}
	var err error
	svc.sub, err = conn.Subscribe(s.NodeAll(incarnation), func(m Msg) {
		in, epoch, from, err := svc.incoming(&m, s, incarnation)
		if err != nil {
			svc.refuse(&m, err)
			return
		}
		svc.received.Add(1)
		if in.To == bundleToken && in.Reply != nil {
			in.Reply.Reply(nil, nil) // See TakesBundles.
			return
		}
		deliver(in, epoch, from)
	})
	if err != nil {
		return nil, fmt.Errorf("serve node %s: %w", incarnation, err)
	}
	return svc, nil
}

func newService(conn Conn, log *slog.Logger) *Service {
	if log == nil {
		log = slog.Default()
	}
	now, _ := conn.(nowPublisher)
	return &Service{conn: conn, now: now, log: log}
}

// nowPublisher is a Conn that gathers what is sent, and can do without.
type nowPublisher interface{ publishNow(m Msg) error }

func (s *Service) refuse(m *Msg, err error) {
	s.malformed.Add(1)
	if m.Reply != "" {
		e := &genserver.Error{Code: genserver.ErrBadPayload.Code, Text: err.Error(), Undelivered: true}
		r := replier{svc: s, subject: m.Reply, form: frameForm{}}
		r.Reply(nil, e)
		return
	}
	s.warn("message refused", "subject", m.Subject, "error", err)
}

// warn logs at most once a second, for what others can cause at will.
func (s *Service) warn(msg string, args ...any) {
	last, now := s.lastLog.Load(), time.Now().UnixNano()
	if last != 0 && now-last < int64(time.Second) || !s.lastLog.CompareAndSwap(last, now) {
		s.unsaid.Add(1)
		return
	}
	s.log.Warn(msg, append(args, "unlogged", s.unsaid.Swap(0))...)
}

// form is the shape that answers take on the wire.
type form interface {
	// value is the answer v; an error says that v does not encode.
	value(e *encoding, v any) (Msg, error)
	// err is the answer that there is none.
	err(e *genserver.Error) Msg
}

// replier implements genserver.Replier.
type replier struct {
	svc     *Service
	subject string
	bundle  string // see Msg
	form    form
	began   time.Time // of a public call that was delivered; else zero
	done    atomic.Bool
}

// Reply sends the answer, the first time. An answer that does not encode or
// that the broker finds too large becomes a bad_payload that says so: the
// caller is never left without one.
func (r *replier) Reply(v any, err error) {
	if !r.done.CompareAndSwap(false, true) {
		r.svc.secondReplies.Add(1)
		return
	}
	if !r.began.IsZero() {
		r.svc.answered.Add(1)
		r.svc.processing.Add(int64(time.Since(r.began)))
	}
	if err != nil {
		r.refuse(wireError(err))
		return
	}
	e := newEncoding()
	defer e.free()
	m, err := r.form.value(e, emptyForNil(v))
	if err == nil {
		err = r.publish(m)
		if !errors.Is(err, ErrTooLarge) {
			return
		}
	}
	r.refuse(&genserver.Error{Code: genserver.ErrBadPayload.Code, Text: "reply: " + err.Error()})
}

// refuse answers with an error, which is never too large.
func (r *replier) refuse(e *genserver.Error) {
	if !r.began.IsZero() {
		r.svc.failed.Add(1)
		text := oneLine(e.Error())
		r.svc.lastError.Store(&text)
	}
	_ = r.publish(r.form.err(e))
}

// emptyForNil makes a map of an absent answer, since answers are maps.
func emptyForNil(v any) any {
	if m, ok := v.(genserver.Map); v == nil || ok && m == nil {
		return genserver.Map{}
	}
	return v
}

// publish returns ErrTooLarge for Reply to mend; other failures end here,
// where the caller cannot be told: its connection or ours is gone.
func (r *replier) publish(m Msg) error {
	m.Subject, m.Bundle = r.subject, r.bundle
	var err error
	if now := r.svc.now; now != nil && m.Bundle == "" {
		err = now.publishNow(m) // The call came alone, so its answer goes alone.
	} else {
		err = r.svc.conn.Publish(m)
	}
	if err != nil {
		r.svc.unsentReplies.Add(1)
		r.svc.warn("reply not sent", "error", err)
	}
	return err
}

// frameForm is the form of answers between nodes.
type frameForm struct{}

func (frameForm) value(e *encoding, v any) (Msg, error) {
	e.buf.Write(AppendReply(e.buf.AvailableBuffer(), &Reply{}))
	if err := e.append(v); err != nil {
		return Msg{}, err
	}
	return Msg{Data: e.buf.Bytes()}, nil
}

func (frameForm) err(e *genserver.Error) Msg {
	return Msg{Data: AppendReply(nil, &Reply{Err: e})}
}
