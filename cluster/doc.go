// Package cluster knows which node bears which name, and makes sure that no
// two ever bear the same one.
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
//	node.<node>   NodeRecord    which incarnation bears the node's name
//	own.<server>  OwnerRecord   which incarnation owns the cluster-wide name
//
// An incarnation is one life of one node: [NewIncarnation] makes its id, and no
// other life ever has it again. The sequence of an own record is the epoch of
// that ownership. Sequences are the stream's: they grow with every write to any
// record, over deletions too, so a later owner always has the higher epoch.
//
// # Life of a name
//
// A name is free, or held by one incarnation. Only the holder frees it.
//
//	         Create acknowledged                 Delete acknowledged
//	free ───────────────────────────▶ held ───────────────────────────▶ free
//	  │                                ▲  │
//	  │ no acknowledgement             │  │ no acknowledgement
//	  ▼                                │  ▼
//	unsettled ─────────────────────────┘ unsettled
//	  read it: ours → Update,                   read it: ours or absent → Delete,
//	  absent → Create, another's → refused      another's → done
//
// [Registry.Claim] returns an epoch only after an acknowledged write; an
// unsettled name is not served. A name left unsettled by [Registry.Claim] or
// [Registry.Release] is settled, and freed, in the background.
//
// # Life of a node
//
// [Join] creates the node's record, [Registry.Leave] deletes the records of its
// names and then its own. A process that ends without Leave leaves its records
// behind: whoever wants those names is refused with an error that says who
// holds them, until an operator removes them. Nothing here judges whether
// another node is alive.
package cluster
