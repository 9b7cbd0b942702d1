package docs_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/civitas-go/civitas/internal/natstest"
	"github.com/civitas-go/civitas/transport"
)

// key is a new one, and its public half.
func key(t *testing.T, create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
	t.Helper()
	k, err := create()
	if err != nil {
		t.Fatal(err)
	}
	public, err := k.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return k, public
}

func encoded(t *testing.T, claims jwt.Claims, by nkeys.KeyPair) string {
	t.Helper()
	token, err := claims.Encode(by)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// The claims are those that the page's nsc commands make: the export is nsc's own.
func TestEventsByJWT(t *testing.T) {
	t.Parallel()
	operatorKey, operatorID := key(t, nkeys.CreateOperator)
	_, sysID := key(t, nkeys.CreateAccount)
	appKey, appID := key(t, nkeys.CreateAccount)
	userKey, userID := key(t, nkeys.CreateUser)

	operator := jwt.NewOperatorClaims(operatorID)
	operator.SystemAccount = sysID
	sys := jwt.NewAccountClaims(sysID)
	sys.Exports.Add(&jwt.Export{Name: "account-monitoring-streams", Subject: "$SYS.ACCOUNT.*.>", Type: jwt.Stream, AccountTokenPosition: 3})
	app := jwt.NewAccountClaims(appID)
	app.Imports.Add(&jwt.Import{
		Name: "disconnects", Type: jwt.Stream, Account: sysID,
		Subject: jwt.Subject("$SYS.ACCOUNT." + appID + ".DISCONNECT"), LocalSubject: "civitas.dev.ev.disconnect",
	})
	user := jwt.NewUserClaims(userID)
	user.Pub.Deny.Add("civitas.dev.ev.disconnect")
	user.Sub.Deny.Add("$SYS.REQ.ACCOUNT.PING.CONNZ") // as a list of what is allowed does

	s := natstest.Start(t, fmt.Sprintf(`
listen: "127.0.0.1:-1"
ping_interval: "500ms"
operator: %q
system_account: %s
resolver: MEMORY
resolver_preload: { %s: %q, %s: %q }
`, encoded(t, operator, operatorKey), sysID, sysID, encoded(t, sys, operatorKey), appID, encoded(t, app, operatorKey)))

	seed, err := userKey.Seed()
	if err != nil {
		t.Fatal(err)
	}
	creds, err := jwt.FormatUserConfig(encoded(t, user, appKey), seed)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "n1.creds")
	if err := os.WriteFile(file, creds, 0o600); err != nil {
		t.Fatal(err)
	}
	conn, err := transport.DialNATS(t.Context(), transport.NATSOptions{
		URL: s.ClientURL(), Auth: transport.Auth{Creds: file}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	toldWhoAsks(t, conn, "")
}
