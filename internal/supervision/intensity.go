package supervision

import (
	"slices"
	"time"
)

// intensity is the one restart counter of a supervisor: a sliding window, as
// OTP's, in which a restart exactly one window old still counts.
type intensity struct {
	most   int
	window time.Duration
	at     []time.Duration // the restarts in the window, oldest first
}

// charge counts a restart at now. It returns how many there are in the window
// that ends now, and whether the limit allows that many.
func (i *intensity) charge(now time.Duration) (count int, allowed bool) {
	i.at = slices.DeleteFunc(i.at, func(at time.Duration) bool { return at < now-i.window })
	i.at = append(i.at, now)
	return len(i.at), len(i.at) <= i.most
}
