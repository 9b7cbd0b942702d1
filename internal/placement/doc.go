// Package placement decides which node runs each child of the cluster's root: the
// coordinator's core, a [Core]; and which node is the coordinator: each has a
// [Candidate]. It reads no clock, sends nothing and waits for nothing: events in,
// actions out.
//
//	          no able node                       spec stopped
//	unplaced ─────────────▶ unplaceable    any ───────────────▶ stopped
//	 ▲   │ ◀──────────────── a node that can
//	 │   │ Start
//	 │   ▼            own record names it
//	 │ starting ─────────────────────────▶ owned
//	 │   │ failed: after a wait              │ freed, or its node has ended
//	 └───┴───────────────────────────────────┘
//
// Placement is one_for_one: each child is placed by itself, on a node that has
// its Type and fits its pin and its labels, the one with the least load; among
// equals the name decides, by rendezvous hashing, so that every coordinator
// would choose the same.
//
// A child that is stopped on purpose and has an owner that lives is stopped there;
// so is one that runs by an older revision of its spec, and is placed anew then.
//
// What runs is adopted. The core starts nothing that an incarnation owns which
// is not known to have ended; two starts of one child are no danger either,
// since the name goes to one of them. It can therefore be thrown away at any
// time, and another made of the records.
//
// Neither may be used from two goroutines at once.
package placement
