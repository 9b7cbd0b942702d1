package supervision

import "time"

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
	for len(i.at) > 0 && i.at[0] < now-i.window {
		i.at = i.at[1:]
	}
	i.at = append(i.at, now)
	return len(i.at), len(i.at) <= i.most
}
