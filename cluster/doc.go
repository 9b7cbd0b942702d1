// Package cluster knows which node bears which name, and makes sure that no
// two ever act under the same one.
//
// # What is authoritative
//
// The records in the [Store] are, and nothing else. [OpenJetStream] keeps them
// in one JetStream stream per cluster, [NewMemory] in this process, for tests.
// There is one kind of proof: a compare-and-set on a record that the store
// acknowledged. Reads, a leader's included, can be stale; republished copies
// can be lost; both only tell where to look or what to try next. A write
// without an acknowledgement is neither a success nor a failure; it stays
// unknown ([ErrUnknown]) until a later write or read settles it.
//
// # Records
//
//	ses.<incarnation>  SessionRecord  whether the incarnation lives
//	node.<node>        NodeRecord     which incarnation bears the node's name
//	own.<server>       OwnerRecord    which incarnation owns the cluster-wide name
//	lead               LeadRecord     which incarnation leads the cluster
//	spec.<child>       SpecRecord     a child of the cluster's tree
//
// An incarnation is one life of one node: [NewIncarnation] makes its id, and no
// other life ever has it again. The sequence of an own record is the epoch of
// that ownership. Sequences are the stream's: they grow with every write to any
// record, over deletions too, so a later owner always has the higher epoch.
//
// Nobody writes another incarnation's record, but for one case: the verdict,
// which makes a session dead. What a dead or absent session's incarnation has on
// record is free to be taken.
//
// # Life of a session
//
// [Join] creates the session and renews it every second from then on. An
// acknowledged renewal holds for 12 s from when it was sent: that is the lease,
// and the node's [Gate] is open as long. One without acknowledgement counts as
// nothing: the record is read, adopted if this process wrote it, and renewed
// again. [Timing] has the figures.
//
//	           Create acknowledged          lease run out
//	joining ──────────────────────▶ open ◀────────────────▶ closed
//	                                  │    acknowledged      │
//	                    Leave deletes │                      │ read: dead, gone, or
//	                        its record│                      │ another process's
//	                                  ▼                      ▼
//	                                left                    lost
//
// Lost is final: [Registry.Lost] is closed, the gate never opens again, and the
// names are or will be others'. A closed gate alone loses nothing: when the store
// is back, it opens again with the same names.
//
// # Who judges
//
// Whoever claims a name that another has, or follows it ([Registry.Follow]).
//
//	its session is absent, or dead     taken over at once
//	seen to change                     it lives: the claim is refused, and says who has it
//	the same version for 15 s, while   compare-and-set of that very version to dead;
//	this node's own writes succeed     once that is acknowledged or read, taken over
//
// A session that is renewed after all changes its version, so a verdict that
// comes too late or from afar is refused by the store. 15 s outlast the lease on
// any two clocks that run up to 11 % fast or slow; see [Timing]. One that
// stops altogether, as a paused virtual machine's does, defeats every lease:
// against that, effects outside of the cluster need the epoch.
//
// Absence is proven too: by the record of the deletion, or by a deletion of what
// is not there, which the store would refuse if it were.
//
// One wait can be spared. A session says which NATS server its process embeds, if
// that server alone has the records. A node that joins with such a server of its
// own knows that the one before has ended, for its store directory is locked
// while it is open, and that its process has ended with it.
//
// # Life of a name
//
//	        Create acknowledged                 Delete acknowledged
//	free ───────────────────────────▶ owned ──────────────────────────▶ free
//	  │                              ▲  │ ▲ │ no acknowledgement
//	  │ no acknowledgement           │  │ │ └──────────────▶ unsettled
//	  ▼                              │  │ └ Update acknowledged: taken over
//	unsettled ───────────────────────┘  └─▶ its owner has ended
//	  read it: ours → Update, absent → Create, another's → who judges
//
// [Registry.Claim] returns an epoch only after an acknowledged write; an
// unsettled name is not served, not even if a read shows it to be this node's. A
// name left unsettled by [Registry.Claim] or [Registry.Release] is settled, and
// freed, in the background. Names are owned by incarnations: the gate says when
// their owner may act.
//
// # What stays behind
//
// [Registry.Leave] deletes what the node has on record, its session last. A
// verdict stays for a day and is then forgotten by the store, for absent says
// the same. The judge deletes the dead one's node record. Its own records stay
// until someone claims the names, so that those who call them wait; a session
// that nobody asks about stays as it is, too. Nothing of this needs an operator.
// Who purges a record of a living node takes its name away from it at a time
// when it may act.
//
// # How it is made
//
// The decisions are pure machines in internal/membership and, about who leads and
// where children run, in internal/placement: event in, what is to be done out, no
// clock, no I/O. This package drives them against a Store, and
// clustertest.Simulate against a simulated one, with everything going wrong.
package cluster
