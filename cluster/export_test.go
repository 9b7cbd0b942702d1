package cluster

// What tests of the outer package need of the inside.
var (
	JoinEvery       = join
	RecordSubject   = recordSubject
	StreamName      = streamName
	OperationHeader = operationHeader
	DeleteOperation = deleteOperation
)
