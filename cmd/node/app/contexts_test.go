package app_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

// must is for what can't fail in a test.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func startNATS(t *testing.T, o *server.Options) *server.Server {
	t.Helper()
	o.Host, o.Port, o.NoLog, o.NoSigs = "127.0.0.1", server.RANDOM_PORT, true, true
	s := must(server.NewServer(o))
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("server is not ready")
	}
	return s
}

// mutualTLS is a server and a client who know each other by certificates of
// one authority: the files of the authority, and of the client's own.
func mutualTLS(t *testing.T) (s *server.Server, ca, cert, key string) {
	t.Helper()
	authority := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := func(serial int64) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
	}
	root := template(1)
	root.IsCA, root.BasicConstraintsValid, root.KeyUsage, root.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	rootDER := must(x509.CreateCertificate(rand.Reader, root, root, &authority.PublicKey, authority))
	leaf := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	leafPEM := block("CERTIFICATE", must(x509.CreateCertificate(rand.Reader, template(2), root, &leaf.PublicKey, authority)))
	keyPEM := block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(leaf)))
	pool := x509.NewCertPool()
	pool.AddCert(must(x509.ParseCertificate(rootDER)))
	s = startNATS(t, &server.Options{TLS: true, TLSVerify: true, TLSTimeout: 5, TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{must(tls.X509KeyPair(leafPEM, keyPEM))}, MinVersion: tls.VersionTLS12,
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
	}})
	return s, write(t, "ca.pem", block("CERTIFICATE", rootDER)), write(t, "cert.pem", leafPEM), write(t, "key.pem", keyPEM)
}

// operated is a server that trusts an operator, and a file with the creds of a
// user of its one account.
func operated(t *testing.T) (s *server.Server, creds string) {
	t.Helper()
	operator, account, user := must(nkeys.CreateOperator()), must(nkeys.CreateAccount()), must(nkeys.CreateUser())
	claims := jwt.NewOperatorClaims(must(operator.PublicKey()))
	must(claims.Encode(operator))
	resolver := &server.MemAccResolver{}
	id := must(account.PublicKey())
	if err := resolver.Store(id, must(jwt.NewAccountClaims(id).Encode(operator))); err != nil {
		t.Fatal(err)
	}
	token := must(jwt.NewUserClaims(must(user.PublicKey())).Encode(account))
	file := must(jwt.FormatUserConfig(token, must(user.Seed())))
	return startNATS(t, &server.Options{TrustedOperators: []*jwt.OperatorClaims{claims}, AccountResolver: resolver}), write(t, "user.creds", file)
}

// natsContext makes a NATS context, as `nats context add` does, and returns its name.
func natsContext(t *testing.T, name string, fields map[string]string) string {
	t.Helper()
	dir := filepath.Join(os.Getenv("XDG_CONFIG_HOME"), "nats", "context")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".json"), must(json.Marshal(fields)), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestWaysToConnect asks servers of all kinds, each by flags, by the
// environment and by a NATS context, for a process that is not there: exit code
// 4 says that NATS has answered.
func TestWaysToConnect(t *testing.T) {
	t.Parallel()
	users, seed := guarded(t)
	token := startNATS(t, &server.Options{Authorization: "hush"})
	secure, ca, cert, key := mutualTLS(t)
	operator, creds := operated(t)
	for _, tc := range []struct {
		what, url string
		env       map[string]string // flags and a context's fields come of it
	}{
		{"user", users, map[string]string{"NATS_USER": "bob", "NATS_PASSWORD": "hush"}},
		{"nkey", users, map[string]string{"NATS_NKEY": seed}},
		{"token", token.ClientURL(), map[string]string{"NATS_TOKEN": "hush"}},
		{"creds", operator.ClientURL(), map[string]string{"NATS_CREDS": creds}},
		{"tls", "tls://" + secure.Addr().String(), map[string]string{"NATS_CA": ca, "NATS_CERT": cert, "NATS_KEY": key}},
	} {
		t.Run(tc.what, func(t *testing.T) {
			t.Parallel()
			fields, env := map[string]string{"url": tc.url}, map[string]string{"NATS_URL": tc.url}
			flags := []string{"call", "nobody", "{}", "--server", tc.url}
			for name, value := range tc.env {
				env[name] = value
				word := strings.ToLower(strings.TrimPrefix(name, "NATS_"))
				fields[word] = value
				if word == "ca" || word == "cert" || word == "key" {
					word = "tls" + word
				}
				flags = append(flags, "--"+word, value)
			}
			named := natsContext(t, "ways-"+tc.what, fields)
			for by, c := range map[string]struct {
				env  map[string]string
				args []string
				code int
				want string
			}{
				"flags":               {nil, flags, 4, "no process"},
				"environment":         {env, []string{"call", "nobody", "{}"}, 4, "no process"},
				"context":             {nil, []string{"call", "nobody", "{}", "--context", named}, 4, "no process"},
				"context by NATS_…":   {map[string]string{"NATS_CONTEXT": named}, []string{"call", "nobody", "{}"}, 4, "no process"},
				"nothing but the URL": {nil, []string{"call", "nobody", "{}", "--server", tc.url}, 5, "refused"},
			} {
				code, stdout, stderr := command(t, c.env, c.args...)
				if code != c.code || !strings.Contains(stderr, c.want) || strings.Contains(stdout+stderr, "hush") {
					t.Errorf("%s: got code %d, stdout %q, stderr %q, want code %d with %q and no secret", by, code, stdout, stderr, c.code, c.want)
				}
			}
		})
	}
}

// TestPrecedence has a context, the environment and flags disagree.
func TestPrecedence(t *testing.T) {
	t.Parallel()
	url, seed := guarded(t)
	nowhere := "nats://127.0.0.1:1"
	good := natsContext(t, "order-good", map[string]string{"url": url, "user": "bob", "password": "hush"})
	bad := natsContext(t, "order-bad", map[string]string{"url": nowhere, "user": "bob", "password": "no"})
	kept := natsContext(t, "order-kept", map[string]string{"url": url, "user": "bob", "password": "env://CIVITAS_TEST_HUSH"})
	foreign := natsContext(t, "order-foreign", map[string]string{"url": url, "nkey": seed, "user": "bob", "password": "hush"})
	inbox := natsContext(t, "order-inbox", map[string]string{"url": url, "nkey": seed, "inbox_prefix": "mine.inbox"})
	natsContext(t, "order-broken", map[string]string{"url": "http://somewhere"})
	call := func(more ...string) []string { return append([]string{"call", "nobody", "{}"}, more...) }
	run := []string{"run", "-o", "json", "--name", "n1"}
	type env = map[string]string
	for what, tc := range map[string]struct {
		env  env
		args []string
		code int
		want string
	}{
		"flag before context":           {nil, call("--context", bad, "-s", url, "--nkey", seed), 4, "no process"},
		"environment before context":    {env{"NATS_URL": url, "NATS_NKEY": seed}, call("--context", bad), 4, "no process"},
		"context fills the rest":        {env{"NATS_URL": url}, call("--context", good), 4, "no process"},
		"identity wholly from one":      {env{"NATS_URL": url, "NATS_NKEY": seed}, call("--context", good), 4, "no process"},
		"context by flag before env":    {env{"NATS_CONTEXT": bad}, call("--context", good), 4, "no process"},
		"wrong password of the context": {env{"NATS_URL": url}, call("--context", bad), 5, `it does not know user "bob"`},
		"password beside --user":        {env{"NATS_URL": url, "NATS_PASSWORD": "hush"}, call("--user", "bob"), 4, "no process"},
		"password kept elsewhere":       {nil, call("--context", kept), 4, "no process"},
		"inbox of the context":          {nil, call("--context", inbox), 4, "no process"},
		"two ways in one context":       {nil, call("--context", foreign), 2, "a user and an nkey are given"},
		"unknown context":               {nil, call("--context", "nosuch"), 2, `no NATS context is called "nosuch"; known are `},
		"unknown context by env":        {env{"NATS_CONTEXT": "nosuch"}, call(), 2, `NATS_CONTEXT: no NATS context is called "nosuch"`},
		"no context's name":             {nil, call("--context", "../x"), 2, "--context: "},
		"bad URL in the context":        {nil, call("--context", "order-broken"), 2, `NATS context order-broken: bad NATS URL http://somewhere`},
		"embedded is run's":             {nil, call("-s", "embedded"), 2, "which `run` alone has"},
		"run by context":                {nil, append(run, "--context", good), 0, `"event":"ready"`},
		"run, environment":              {env{"NATS_URL": nowhere}, run, 5, "is a node or a NATS server running there?"},
		"run, embedded before env":      {env{"NATS_URL": nowhere}, append(run, "-s", "embedded", "--listen", "127.0.0.1:0"), 0, `"event":"ready"`},
		"run, the flag's older name":    {nil, append(run, "--nats", url, "--nkey", seed), 0, `"event":"ready"`},
		"run, store of another":         {env{"NATS_URL": url}, append(run, "--store-dir", "x"), 2, "--store-dir is the embedded NATS's"},
	} {
		t.Run(what, func(t *testing.T) {
			if tc.code != 0 { // the others run the same node, one after the other
				t.Parallel()
			}
			code, stdout, stderr := command(t, tc.env, tc.args...)
			text := stderr
			if tc.code == 0 {
				text = stdout
			}
			if code != tc.code || !strings.Contains(text, tc.want) || strings.Contains(stdout+stderr, "hush") {
				t.Errorf("got code %d, stdout %q, stderr %q, want code %d with %q and no secret", code, stdout, stderr, tc.code, tc.want)
			}
		})
	}
}
