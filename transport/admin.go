package transport

import (
	"fmt"
	"log/slog"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/name"
)

// ServeAdmin takes what operators ask one incarnation of a node, to one of its
// servers. The forms are [ServePublic]'s, but that the op comes from the
// subject, and that no body at all is an empty one.
func ServeAdmin(conn Conn, s Subjects, incarnation, server string, log *slog.Logger, deliver func(*genserver.Incoming)) (*Service, error) {
	svc := newService(conn, log)
	var err error
	svc.sub, err = conn.Subscribe(s.AdminAll(incarnation), func(m Msg) {
		if len(m.Data) == 0 {
			m.Data = []byte("{}")
		}
		in, err := svc.publicIncoming(&m, server)
		if err == nil {
			var ok bool
			if in.Op, ok = s.AdminOp(m.Subject, incarnation); !ok {
				err = fmt.Errorf("subject %q has no op", m.Subject)
			}
		}
		if err != nil {
			svc.refusePublic(&m, server, err)
			return
		}
		svc.received.Add(1)
		deliver(in)
	})
	if err != nil {
		return nil, fmt.Errorf("serve operators of node %s: %w", incarnation, err)
	}
	return svc, nil
}

// ServeDirect takes the messages of operators to the servers of one incarnation of a
// node. The forms are [ServePublic]'s; the server is in the subject.
func ServeDirect(conn Conn, s Subjects, incarnation string, log *slog.Logger, deliver func(*genserver.Incoming)) (*Service, error) {
	svc := newService(conn, log)
	var err error
	svc.sub, err = conn.Subscribe(s.DirectAll(incarnation), func(m Msg) {
		server, ok := s.DirectName(m.Subject, incarnation)
		if !ok {
			svc.refusePublic(&m, "", fmt.Errorf("subject %q names no server; a name is %s", m.Subject, name.Rule))
			return
		}
		in, err := svc.publicIncoming(&m, server)
		if err != nil {
			svc.refusePublic(&m, server, err)
			return
		}
		svc.received.Add(1)
		deliver(in)
	})
	if err != nil {
		return nil, fmt.Errorf("serve the servers of node %s to operators: %w", incarnation, err)
	}
	return svc, nil
}
