package cluster

import "github.com/civitas-go/civitas/transport"

// layout is where a cluster's records are on NATS.
type layout struct{ transport.Subjects }

func layoutOf(cluster string) (layout, error) {
	s, err := transport.NewSubjects(cluster)
	return layout{s}, err
}

// stream is the name of the stream that holds the records.
func (l layout) stream() string { return "CIVITAS_" + l.Cluster() }

// events is the name of the stream that keeps the events.
func (l layout) events() string { return l.stream() + "_EVENTS" }

// record is the subject a record is written to.
func (l layout) record(k Key) string { return l.Record(string(k.Kind), k.Name) }

// copies are those of the records of one kind.
func (l layout) copies(k Kind) string { return l.Republish(string(k), k.all()) }

// records are those of one kind.
func (l layout) recordsOf(k Kind) string { return l.Record(string(k), k.all()) }

// all is the wildcard over the names of a kind's records.
func (k Kind) all() string {
	if k.single() {
		return ""
	}
	return ">"
}

// keyOf is the key of the record that a copy's subject is of.
func (l layout) keyOf(subject string) (Key, bool) {
	kind, key, ok := l.RecordKey(subject)
	return Key{Kind: Kind(kind), Name: key}, ok
}
