package placement

import "time"

// Time is a reading of the coordinator's monotonic clock.
type Time = time.Duration

// Spec is what must be known of a child to place it.
type Spec struct {
	// Name is the child's, among all children of the root.
	Name string
	// Owned is the cluster-wide name whose owner runs the child: its own name,
	// or, of a supervisor, one below it.
	Owned string
	// Type must be among a node's Types, unless the child is one of its Own.
	Type string
	// Bound is a child whose config does not leave its program: only a node
	// that has the child among its Own can run it.
	Bound bool
	// Node pins the child to the node of that name; empty for none.
	Node string
	// Labels must be the node's.
	Labels map[string]string
	// Stopped is a child that is down on purpose.
	Stopped bool
	// Revision grows with what is to run. What runs by an older one is to be
	// stopped, and placed anew.
	Revision uint64
}

// Member is a node that takes children.
type Member struct {
	Incarnation string
	Node        string
	Labels      map[string]string
	Types       map[string]bool
	// Own are the names of children in the node's own tree, which it can run
	// whatever their config is.
	Own map[string]bool
	// Leaving is a node that gives its children up and takes no more.
	Leaving bool
}

// Event is what a [Core] is told. Events about one thing may come late, twice
// or out of order; those about ownership are ordered by their Seq.
type Event interface{ event() }

type (
	// Begun tells that all that was on record has been told. There is no Start
	// before.
	Begun struct{}

	// SpecSet tells of a child, or of a change to it.
	SpecSet struct{ Spec Spec }

	// SpecGone tells that a child's spec was removed. What runs goes on.
	SpecGone struct{ Name string }

	// MemberSet tells what is on record of a node, or of a change to that. It is a
	// member once it is known to live.
	MemberSet struct{ Member Member }

	// Lives tells that an incarnation was heard of, which a [Follow] asks for. Of
	// others than those it says nothing.
	Lives struct{ Incarnation string }

	// MemberGone tells that an incarnation is known to have ended.
	MemberGone struct{ Incarnation string }

	// Owned tells that a record says who owns a name.
	Owned struct {
		Name, Incarnation string
		Seq               uint64
		// Child is the child that has the name, if it is one's, and Revision that of
		// the spec by which it was started.
		Child    string
		Revision uint64
	}

	// Freed tells that the record was deleted.
	Freed struct {
		Name string
		Seq  uint64
	}

	// Started answers a [Start]: the child runs.
	Started struct {
		Name    string
		Attempt uint64
	}

	// StartFailed answers a [Start]: the child does not run there, or nobody
	// knows.
	StartFailed struct {
		Name    string
		Attempt uint64
		Reason  string
		// Crash is a start that the child itself made fail. Otherwise it could not
		// be reached, or has another owner.
		Crash bool
	}

	// GaveUp tells that an incarnation has given a child up that crashed again
	// and again.
	GaveUp struct{ Name, Incarnation, Reason string }

	// Tick tells that a time asked for by [Core.Next] has come.
	Tick struct{}
)

func (Begun) event()       {}
func (SpecSet) event()     {}
func (SpecGone) event()    {}
func (MemberSet) event()   {}
func (Lives) event()       {}
func (MemberGone) event()  {}
func (Owned) event()       {}
func (Freed) event()       {}
func (Started) event()     {}
func (StartFailed) event() {}
func (GaveUp) event()      {}
func (Tick) event()        {}

// Action is what a [Core] wants done.
type Action interface{ action() }

type (
	// Start has a child started on an incarnation. The answer is a [Started] or
	// a [StartFailed] of the same attempt; it may be missing if the incarnation
	// ends.
	Start struct {
		Name, On string
		Attempt  uint64
	}

	// Stop has a child stopped on an incarnation where it runs though it is down on
	// purpose, or is to run by a newer spec. It needs no answer, and is given again
	// while the child has that owner.
	Stop struct{ Name, On string }

	// Read wants the owner's record of a child read again, and its Owned or
	// Freed told.
	Read struct{ Owned string }

	// Follow wants to be told, by a Lives, when an incarnation is heard of, and, by
	// a MemberGone, when it has ended.
	Follow struct{ Incarnation string }

	// Unfollow takes that back.
	Unfollow struct{ Incarnation string }

	// Changed tells that the child's [State] is another.
	Changed struct{ Name string }
)

func (Start) action()    {}
func (Stop) action()     {}
func (Read) action()     {}
func (Follow) action()   {}
func (Unfollow) action() {}
func (Changed) action()  {}
