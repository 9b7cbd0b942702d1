package cluster

import "context"

// What tests of the outer package need of the inside.
var (
	JoinEvery       = join
	RecordSubject   = recordSubject
	StreamName      = streamName
	OperationHeader = operationHeader
	DeleteOperation = deleteOperation
)

// CreateAfter is a Create on a Memory's handle that left when the key's last
// sequence was expect, as it would arrive at a server.
func CreateAfter(ctx context.Context, s Store, k Key, value []byte, expect uint64) (uint64, error) {
	return s.(*memoryStore).replace(ctx, "create", k, memoryRecord{value: value}, expect)
}
