package cluster

import "strings"

// Where a cluster's records are on NATS. No other file knows.

// streamName is the name of the stream that holds the cluster's records.
func streamName(cluster string) string { return "CIVITAS_" + cluster }

// recordSubject is the subject a record is written to.
func recordSubject(cluster string, k Key) string { return "civitas." + cluster + ".js." + k.String() }

// allRecords is the stream's one subject.
func allRecords(cluster string) string { return "civitas." + cluster + ".js.>" }

// allCopies is what the stream republishes accepted writes to; the rest of the
// subject is the record's.
func allCopies(cluster string) string { return "civitas." + cluster + ".rp.>" }

// copiesOf are the copies of the records of one kind that have names.
func copiesOf(cluster string, k Kind) string { return "civitas." + cluster + ".rp." + string(k) + ".>" }

// copyKey is the key of the record that a copy's subject is of.
func copyKey(cluster, subject string) (Key, bool) {
	rest, ok := strings.CutPrefix(subject, "civitas."+cluster+".rp.")
	if !ok {
		return Key{}, false
	}
	kind, name, _ := strings.Cut(rest, ".")
	return Key{Kind: Kind(kind), Name: name}, true
}
