package cluster

import "context"

// What tests of the outer package need of the inside.
var (
	JoinEvery        = join
	OperationHeader  = operationHeader
	DeleteOperation  = deleteOperation
	ParseDisconnect  = parseDisconnect
	ParseConnections = parseConnections
	Notice           = Witness.notice
)

// RecordSubject is where a cluster's record is written.
func RecordSubject(cluster string, k Key) string { return must(cluster).record(k) }

// StreamName is the name of a cluster's stream.
func StreamName(cluster string) string { return must(cluster).stream() }

func must(cluster string) layout {
	l, err := layoutOf(cluster)
	if err != nil {
		panic(err)
	}
	return l
}

// CreateAfter is a Create on a Memory's handle that left when the key's last
// sequence was expect, as it would arrive at a server.
func CreateAfter(ctx context.Context, s Store, k Key, value []byte, expect uint64) (uint64, error) {
	return s.(*memoryStore).replace(ctx, "create", k, memoryRecord{value: value}, expect)
}
