package membership

// Status is what a node knows of another's session.
type Status int

const (
	// Unsure means that it has not been seen to change, nor to have ended.
	Unsure Status = iota
	// Lives means that it has been seen to change not long ago.
	Lives
	// Left means that its record is gone, so that it has ended by itself.
	Left
	// Died means that it has been declared dead.
	Died
)

// Ended reports whether the session has ended for good.
func (s Status) Ended() bool { return s == Left || s == Died }

// Inquest finds out whether the session of another incarnation has ended, and
// declares it dead where it has been silent for too long. What it concludes is
// proven: dead by a record that was read or a compare-and-set that was
// acknowledged, left by a deletion that was read or one's own that was
// acknowledged. That it lives is no more than likely.
//
//	          seen to change               deletion read, or proven
//	unsure ◀───────────────▶ lives   any ──────────────────────────▶ left
//	          not for a while            ──────────────────────────▶ died
//	                                       read so, or own verdict acknowledged
type Inquest struct {
	timing   Timing
	embedded string

	seq     uint64 // of the version seen last; 0 for none
	content Content
	seen    bool // seq and content are of a record
	since   Time // when that version was first seen
	changed bool // there was a change of version
	heard   Time // when the last one was

	end      Status
	mustRead bool
	prove    bool // there is no record, which only a write can prove
	question bool // it was read again, and had not changed
	nextRead Time
	again    Time
}

// NewInquest begins one. embedded is the id of the NATS server in this process
// if that server alone has the records, else empty.
func NewInquest(t Timing, embedded string) *Inquest {
	return &Inquest{timing: t, embedded: embedded, mustRead: true}
}

// Next is what the inquest wants done now: it reads while it hears nothing, asks what
// became of the witnesses while what it reads does not change, and declares dead, by
// an Update of the very version that was silent, or whose witnesses have all ended.
// ends is what this process knows of that.
func (q *Inquest) Next(now Time, own Standing, ends *Ends) Step {
	switch {
	case q.end.Ended():
		return Step{Do: Done}
	case now < q.again:
		return Step{Do: Wait, At: q.again}
	case q.mustRead:
		return Step{Do: Get}
	case q.prove:
		return Step{Do: Delete}
	case q.due(now, own, ends):
		return Step{Do: Update, Expect: q.seq}
	case q.question && ends.unknown(q.content.Witnesses).Any():
		return Step{Do: Question, Witnesses: ends.unknown(q.content.Witnesses)}
	case now >= q.readAt():
		return Step{Do: Get}
	}
	at := q.readAt()
	if silent := q.since + q.silence(); silent > now {
		at = min(at, silent)
	}
	if last, all := ends.Last(q.content.Witnesses); all {
		at = min(at, last+q.afterEnds())
	}
	return Step{Do: Wait, At: at}
}

// due reports whether the session may be declared dead. That its witnesses have
// ended is true whoever says so, so it takes no standing.
func (q *Inquest) due(now Time, own Standing, ends *Ends) bool {
	if !q.seen {
		return false
	}
	if last, all := ends.Last(q.content.Witnesses); all && now-last >= q.afterEnds() {
		return true
	}
	return own.Open && (own.Good && now-q.since >= q.silence() || q.orphaned())
}

// silence is how long the session must have been seen unchanged, and afterEnds
// how long ago its witnesses' ends must have been told: by this node's times, or
// by those that the session's own promise, if they are longer.
func (q *Inquest) silence() Time   { return max(q.timing.Judge, judgeFor(q.content.Lease)) }
func (q *Inquest) afterEnds() Time { return max(q.timing.Event, eventFor(q.content.Pong)) }

// orphaned reports that the NATS server inside the session's process has ended,
// and the process with it: the records, which it alone had, are in this
// process's server now, and one server at a time has them.
func (q *Inquest) orphaned() bool {
	return q.embedded != "" && q.content.Embedded != "" && q.embedded != q.content.Embedded
}

// readAt is when to read again if nothing is heard: others' renewals come by
// themselves, once in a Renew.
func (q *Inquest) readAt() Time {
	at := q.nextRead
	if q.changed {
		at = max(at, q.heard+q.timing.Renew+q.timing.Renew/2)
	}
	return at
}

// Result tells what came of the step before.
func (q *Inquest) Result(now Time, step Step, r Result) {
	switch {
	case q.end.Ended():
	case step.Do == Question:
		q.question = false
	case r.Outcome == Unavailable:
		q.again = now + q.timing.Renew/4
	case step.Do == Get && r.Outcome == OK:
		q.mustRead = false
		q.nextRead = now + q.timing.Renew
		q.Saw(now, r.Seq, r.Session, false)
	case step.Do == Get && r.Outcome == NotFound && r.Seq > 0:
		q.end = Left // none is ever made anew
	case step.Do == Get:
		q.mustRead, q.prove = false, true
	case r.Outcome == OK && step.Do == Update:
		q.end = Died
	case r.Outcome == OK:
		q.end = Left
	default: // it is another than expected, or nobody knows
		q.mustRead, q.prove = true, false
	}
}

// Saw takes a version of the record that was read or, if watched, that came as
// a copy of a write just made.
func (q *Inquest) Saw(now Time, seq uint64, c Content, watched bool) {
	switch {
	case q.end.Ended() || q.seen && seq < q.seq:
		return
	case c.Dead:
		q.end = Died
		return
	case q.seen && seq == q.seq:
		q.question = q.question || !watched && now-q.since >= q.timing.Renew
		return
	}
	q.question = false
	if q.seen || watched {
		q.changed, q.heard = true, now
	}
	q.seq, q.content, q.seen, q.since = seq, c, true, now
	q.prove = false
}

// Witnesses are those of the version that was seen last.
func (q *Inquest) Witnesses() Witnesses { return q.content.Witnesses }

// Gone takes word of a deletion, which is then read.
func (q *Inquest) Gone() { q.mustRead = true }

// Status is what is known now.
func (q *Inquest) Status(now Time) Status {
	if q.end == Unsure && q.changed && now-q.heard <= 3*max(q.timing.Renew, q.content.Lease/12) {
		return Lives
	}
	return q.end
}
