package transport_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
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

	"github.com/civitas-go/civitas/transport"
)

func startServerWith(t *testing.T, o *server.Options) *server.Server {
	t.Helper()
	return startServerAt(t, server.RANDOM_PORT, o)
}

func startServerAt(t *testing.T, port int, o *server.Options) *server.Server {
	t.Helper()
	o.Host, o.Port, o.NoLog, o.NoSigs = "127.0.0.1", port, true, true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatalf("new server: %v", err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("server is not ready")
	}
	return s
}

func writeFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// authority signs certificates; its own is in file.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{key: newKey(t), cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.file = writeFile(t, name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign makes a certificate, valid until then, and returns its files.
func (a *authority) sign(t *testing.T, until time.Time, addresses ...net.IP) (cert, key string) {
	t.Helper()
	private := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "leaf"}, IPAddresses: addresses, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, &private.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		writeFile(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded}))
}

func (a *authority) serverTLS(t *testing.T, until time.Time, addresses ...net.IP) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(a.sign(t, until, addresses...))
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
}

func tlsServer(t *testing.T, a *authority, clients *authority, until time.Time, address string) *server.Server {
	t.Helper()
	config := a.serverTLS(t, until, net.ParseIP(address))
	if clients != nil {
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		config.ClientCAs.AddCert(parsed(t, clients.file))
	}
	return startServerWith(t, &server.Options{TLS: true, TLSVerify: clients != nil, TLSConfig: config, TLSTimeout: 5})
}

func parsed(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// newUser is an nkey: its public key, and a file with its seed.
func newUser(t *testing.T) (public, seed string) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	return keyOf(t, pair), writeFile(t, "user.nk", seedOf(t, pair))
}

func keyOf(t *testing.T, pair nkeys.KeyPair) string {
	t.Helper()
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

func seedOf(t *testing.T, pair nkeys.KeyPair) []byte {
	t.Helper()
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return seed
}

func pairOf(t *testing.T, create func() (nkeys.KeyPair, error)) nkeys.KeyPair {
	t.Helper()
	pair, err := create()
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// credsServer trusts an operator with one account; creds makes a user's file.
func credsServer(t *testing.T) (s *server.Server, creds func(account nkeys.KeyPair, until time.Time) string, account nkeys.KeyPair) {
	t.Helper()
	operator, account := pairOf(t, nkeys.CreateOperator), pairOf(t, nkeys.CreateAccount)
	encode := func(c jwt.Claims, by nkeys.KeyPair) string {
		token, err := c.Encode(by)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	claims := jwt.NewOperatorClaims(keyOf(t, operator))
	encode(claims, operator)
	resolver := &server.MemAccResolver{}
	if err := resolver.Store(keyOf(t, account), encode(jwt.NewAccountClaims(keyOf(t, account)), operator)); err != nil {
		t.Fatal(err)
	}
	s = startServerWith(t, &server.Options{TrustedOperators: []*jwt.OperatorClaims{claims}, AccountResolver: resolver})
	return s, func(account nkeys.KeyPair, until time.Time) string {
		user := pairOf(t, nkeys.CreateUser)
		claims := jwt.NewUserClaims(keyOf(t, user))
		claims.Expires = until.Unix()
		file, err := jwt.FormatUserConfig(encode(claims, account), seedOf(t, user))
		if err != nil {
			t.Fatal(err)
		}
		return writeFile(t, "user.creds", file)
	}, account
}

func TestAuth(t *testing.T) {
	t.Parallel()
	soon, past, local := time.Now().Add(time.Hour), time.Now().Add(-time.Minute), "127.0.0.1"
	ca, other := newAuthority(t, "ca"), newAuthority(t, "other")
	cert, key := ca.sign(t, soon)
	otherCert, otherKey := other.sign(t, soon)
	lateCert, lateKey := ca.sign(t, past)
	public, seed := newUser(t)
	_, otherSeed := newUser(t)

	open := startServerWith(t, &server.Options{})
	users := startServerWith(t, &server.Options{Username: "bob", Password: "hush"})
	token := startServerWith(t, &server.Options{Authorization: "hush"})
	nkey := startServerWith(t, &server.Options{Nkeys: []*server.NkeyUser{{Nkey: public}}})
	operator, creds, account := credsServer(t)
	secure := tlsServer(t, ca, nil, soon, local)
	mutual := tlsServer(t, ca, ca, soon, local)
	expired := tlsServer(t, ca, nil, past, local)
	elsewhere := tlsServer(t, ca, nil, soon, "192.0.2.1")

	for _, tc := range []struct {
		what string
		to   *server.Server
		auth transport.Auth
		want string // in the error; "" for none
	}{
		{"user", users, transport.Auth{User: "bob", Password: "hush"}, ""},
		{"wrong password", users, transport.Auth{User: "bob", Password: "hash"}, `it does not know user "bob" with that password`},
		{"no user", users, transport.Auth{}, "it wants credentials, and none are given"},
		{"token", token, transport.Auth{Token: "hush"}, ""},
		{"user as token", token, transport.Auth{User: "hush"}, ""},
		{"wrong token", token, transport.Auth{Token: "hash"}, "it does not know the token"},
		{"nkey", nkey, transport.Auth{NKey: seed}, ""},
		{"unknown nkey", nkey, transport.Auth{NKey: otherSeed}, "does not know the nkey in " + otherSeed},
		{"creds", operator, transport.Auth{Creds: creds(account, soon)}, ""},
		{"expired creds", operator, transport.Auth{Creds: creds(account, past)}, "does not accept the creds in "},
		{"creds of another account", operator, transport.Auth{Creds: creds(pairOf(t, nkeys.CreateAccount), soon)}, "does not accept the creds in "},
		{"TLS", secure, transport.Auth{TLSCA: ca.file}, ""},
		{"TLS with a certificate not asked for", secure, transport.Auth{TLSCA: ca.file, TLSCert: cert, TLSKey: key}, ""},
		{"TLS without CA", secure, transport.Auth{}, "system's authorities do not vouch"},
		{"wrong CA", secure, transport.Auth{TLSCA: other.file}, "the authorities in " + other.file + " do not vouch"},
		{"client certificate", mutual, transport.Auth{TLSCA: ca.file, TLSCert: cert, TLSKey: key}, ""},
		{"no client certificate", mutual, transport.Auth{TLSCA: ca.file}, "wants a client certificate"},
		{"foreign client certificate", mutual, transport.Auth{TLSCA: ca.file, TLSCert: otherCert, TLSKey: otherKey}, "did not accept the client certificate " + otherCert},
		{"expired client certificate", mutual, transport.Auth{TLSCA: ca.file, TLSCert: lateCert, TLSKey: lateKey}, "did not accept the client certificate " + lateCert},
		{"expired server certificate", expired, transport.Auth{TLSCA: ca.file}, "check its dates"},
		{"certificate of another host", elsewhere, transport.Auth{TLSCA: ca.file}, "for another host"},
		{"TLS where there is none", open, transport.Auth{TLSCA: ca.file}, "TLS is asked for, and the server has none"},
	} {
		t.Run(tc.what, func(t *testing.T) {
			t.Parallel()
			url := "nats://" + tc.to.Addr().String()
			c, err := transport.DialNATS(within(t), transport.NATSOptions{URL: url, Auth: tc.auth, Logger: quiet()})
			if tc.want == "" {
				if err != nil {
					t.Fatalf("got %v, want nil", err)
				}
				if err := c.Flush(within(t)); err != nil {
					t.Errorf("flush: got %v, want nil", err)
				}
				closeConn(t, c)
				return
			}
			if c != nil {
				closeConn(t, c)
			}
			if !errors.Is(err, transport.ErrNotConnected) || !errors.Is(err, transport.ErrRefused) || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hush") {
				t.Errorf("got %v, want %v with %q and no secret", err, transport.ErrRefused, tc.want)
			}
		})
	}
}

func TestAuthFileIsReadAtEachConnect(t *testing.T) {
	t.Parallel()
	public, seed := newUser(t)
	second, secondSeed := newUser(t)
	s := startServerWith(t, &server.Options{Nkeys: []*server.NkeyUser{{Nkey: public}}})
	auth := transport.Auth{NKey: seed}
	c := dialNATS(t, transport.NATSOptions{URL: s.ClientURL(), Auth: auth, Logger: quiet()})
	closeConn(t, c)
	other := startServerWith(t, &server.Options{Nkeys: []*server.NkeyUser{{Nkey: second}}})
	data, err := os.ReadFile(secondSeed)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(seed, data, 0o600); err != nil {
		t.Fatal(err)
	}
	c = dialNATS(t, transport.NATSOptions{URL: other.ClientURL(), Auth: auth, Logger: quiet()})
	closeConn(t, c)
}

func TestAuthRefusedBeforeAnythingIsTried(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	cert, key := ca.sign(t, time.Now().Add(time.Hour))
	otherCert, _ := ca.sign(t, time.Now().Add(time.Hour))
	_, seed := newUser(t)
	text := writeFile(t, "text", []byte("hello"))
	account := writeFile(t, "account.nk", seedOf(t, pairOf(t, nkeys.CreateAccount)))
	for what, tc := range map[string]struct {
		auth transport.Auth
		url  string
		want string
	}{
		"two ways":            {transport.Auth{User: "bob", Token: "x"}, "", "a user and a token are given"},
		"URL and creds":       {transport.Auth{Creds: "x"}, "a:1, nats://bob:hush@b:1", "creds and a URL with a user are given"},
		"password alone":      {transport.Auth{Password: "hush"}, "", "a password is given without a user"},
		"certificate alone":   {transport.Auth{TLSCert: cert}, "", "needs its key"},
		"key alone":           {transport.Auth{TLSKey: key}, "", "needs its key"},
		"no nkey file":        {transport.Auth{NKey: "/nowhere/x.nk"}, "", "nkey file /nowhere/x.nk: no such file"},
		"no nkey in it":       {transport.Auth{NKey: text}, "", "nkey file " + text},
		"nkey of an account":  {transport.Auth{NKey: account}, "", "ot a valid nkey user seed"},
		"no creds file":       {transport.Auth{Creds: "/nowhere/x.creds"}, "", "creds file /nowhere/x.creds: no such file"},
		"no creds in it":      {transport.Auth{Creds: text}, "", "creds file " + text},
		"creds without a JWT": {transport.Auth{Creds: seed}, "", "creds file " + seed},
		"no CA file":          {transport.Auth{TLSCA: "/nowhere/ca.pem"}, "", "TLS CA file /nowhere/ca.pem: no such file"},
		"no CA in it":         {transport.Auth{TLSCA: text}, "", "no PEM certificate in it"},
		"no certificate file": {transport.Auth{TLSCert: "/nowhere/c.pem", TLSKey: key}, "", "TLS certificate file /nowhere/c.pem: no such file"},
		"not its key":         {transport.Auth{TLSCert: otherCert, TLSKey: key}, "", "private key does not match"},
	} {
		err := tc.auth.Check(tc.url)
		if !errors.Is(err, transport.ErrBadAuth) || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: got %v, want %v with %q and no secret", what, err, transport.ErrBadAuth, tc.want)
		}
	}
	_, err := transport.DialNATS(within(t), transport.NATSOptions{Auth: transport.Auth{NKey: text}})
	if !errors.Is(err, transport.ErrBadAuth) || !errors.Is(err, transport.ErrNotConnected) {
		t.Errorf("dial: got %v, want %v and %v", err, transport.ErrBadAuth, transport.ErrNotConnected)
	}
}
