package app

import (
	"fmt"
	"net/url"
	"strings"
)

// checkURL refuses a list of NATS URLs that no connection can come of, before
// anything is tried; from says who gave it. Passwords stay out of the error.
func checkURL(from, list string) error {
	for s := range strings.SplitSeq(list, ",") {
		s = strings.TrimSpace(s)
		if !strings.Contains(s, "://") {
			s = "nats://" + s
		}
		u, err := url.Parse(s)
		if err != nil {
			return fmt.Errorf("%s: not a URL; want one such as nats://%s", from, defaultListen)
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			return fmt.Errorf("%s: %s: scheme %q is none of nats, tls, ws, wss", from, u.Redacted(), u.Scheme)
		}
		if u.Hostname() == "" {
			return fmt.Errorf("%s: %s: no host", from, u.Redacted())
		}
	}
	return nil
}
