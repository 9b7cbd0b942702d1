package natsserver

import (
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// A client that has answered no PING for two intervals is dropped.
const (
	pingInterval = 500 * time.Millisecond
	pingMax      = 2
)

// anyone is the one user there is: whoever connects is it.
type anyone struct{ user *server.User }

// Check lets everyone in, whatever they show, as the server would without it.
func (a anyone) Check(c server.ClientAuthentication) bool {
	c.RegisterUser(a.user)
	return true
}

// guard keeps clients from publishing to the subject of the disconnect events, and has
// the server notice silent ones.
func guard(o *server.Options, subject string) {
	user := &server.User{
		Username:    "anyone",
		Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{subject}}},
	}
	o.CustomClientAuthentication = anyone{user}
	o.Users, o.NoAuthUser = []*server.User{user}, user.Username // clients are told that they need show nothing
	o.PingInterval, o.MaxPingsOut = pingInterval, pingMax
}

// tellDisconnects has the system account's notices for the account that all
// clients are in come to a subject of theirs.
func tellDisconnects(s *server.Server, subject string) error {
	clients := s.GlobalAccount()
	notices := "$SYS.ACCOUNT." + clients.GetName() + ".DISCONNECT"
	if err := s.SystemAccount().AddStreamExport(notices, []*server.Account{clients}); err != nil {
		return fmt.Errorf("export disconnect events: %w", err)
	}
	if err := clients.AddMappedStreamImport(s.SystemAccount(), notices, subject); err != nil {
		return fmt.Errorf("import disconnect events: %w", err)
	}
	return nil
}
