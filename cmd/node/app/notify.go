package app

import (
	"fmt"
	"net"
)

// notify tells systemd of a change, as sd_notify does, where NOTIFY_SOCKET asks
// for it.
func notify(s Streams, state string) error {
	socket := s.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	if socket[0] == '@' { // an abstract one
		socket = "\x00" + socket[1:]
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err == nil {
		_, err = conn.Write([]byte(state))
		_ = conn.Close() // it was sent, or not
	}
	if err != nil {
		return fmt.Errorf("tell systemd %s: %w", state, err)
	}
	return nil
}
