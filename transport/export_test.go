package transport

var (
	RemainingUntil = remainingUntil
	DeadlineIn     = deadlineIn
)
