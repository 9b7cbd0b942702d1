package expiry

import (
	"fmt"
	"time"
)

// TTL reads how long something is to be kept from a message's number of
// seconds; nil is byDefault. The error says what is wrong with a number that is
// none, is negative, or is more than most.
func TTL(seconds *float64, byDefault, most time.Duration) (time.Duration, error) {
	if seconds == nil {
		return byDefault, nil
	}
	switch s := *seconds; {
	case s < 0:
		return 0, fmt.Errorf("%v s is negative", s)
	case s > most.Seconds():
		return 0, fmt.Errorf("%v s is more than the most, %v s", s, most.Seconds())
	case s == most.Seconds():
		return most, nil // which the product below might be beyond
	case s < most.Seconds():
		return time.Duration(s * float64(time.Second)), nil
	default:
		return 0, fmt.Errorf("%v is not a number", s)
	}
}
