package genserver

// NoticeKind says what a [Notice] is of.
type NoticeKind int

const (
	// Restarted means that a supervisor starts a child anew.
	Restarted NoticeKind = iota
	// Escalated means that a supervisor has given up, since its restart limit is broken.
	Escalated
)

// Notice is what supervisors tell of themselves, for whoever runs the program:
// see [Config].Notices.
type Notice struct {
	Kind NoticeKind
	// Server is the child that is started anew, or the supervisor that gave up.
	Server string
	// Supervisor is the child's; empty in an Escalated.
	Supervisor string
	// Reason is why the child has ended, or the supervisor.
	Reason error
	// Cause is where the child crashed; nowhere if nothing traced it.
	Cause Cause
}

// Notify tells of a restart, which is in the metrics then, too, or of an
// escalation. child is the one of a restart, else nil. It's for supervisors.
func (s *System) Notify(n Notice, child Runnable) {
	if n.Kind == Restarted {
		s.countRestart(child, n.Reason)
	}
	if s.notices != nil {
		s.notices(n)
	}
}
