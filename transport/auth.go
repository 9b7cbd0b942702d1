package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/nats-io/nats.go"
)

// Auth is how a connection shows a NATS server who it is, and knows the server.
// The zero value shows nothing but what is in the URL, and knows those servers
// that the system's certificate authorities vouch for.
//
// At most one of User, Token, NKey and Creds is given, and none with a URL that
// has a user of its own. Files are read at each connect, so what was renewed in
// them meanwhile counts.
type Auth struct {
	// User and Password are the server's for this client. As in a URL, a User
	// without a Password is a token.
	User, Password string
	// Token is a secret that stands for the client.
	Token string
	// NKey is a file that has the seed of a user's nkey.
	NKey string
	// Creds is a file that has a user's JWT and the seed of its nkey, as
	// `nsc generate creds` writes it.
	Creds string
	// TLSCA is a PEM file of the authorities that may vouch for the server.
	TLSCA string
	// TLSCert and TLSKey are PEM files: the client's own certificate, for
	// servers that ask for one. Both or none are given.
	TLSCert, TLSKey string
}

// What [DialNATS] adds to an [ErrNotConnected] where waiting would not help.
var (
	// ErrBadAuth means that an [Auth] cannot be used: it contradicts itself, or a
	// file of it is missing or is not what it should be. Nothing was tried.
	ErrBadAuth = errors.New("bad credentials")
	// ErrRefused means that a server is there and would not have us, or we not it:
	// its words are in the error, and so is what to check. Nothing was sent.
	ErrRefused = errors.New("refused")
)

// Check refuses, with an [ErrBadAuth], what no connection to url can come of.
// It reads the files. An url of "" is any without a user in it.
func (a Auth) Check(url string) error {
	_, err := a.options(url)
	return err
}

// options are the Auth in nats.go's terms.
func (a Auth) options(url string) ([]nats.Option, error) {
	if err := a.contradiction(url); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadAuth, err)
	}
	var opts []nats.Option
	switch {
	case a.Token != "":
		opts = append(opts, nats.Token(a.Token))
	case a.User != "" && a.Password == "":
		opts = append(opts, nats.Token(a.User))
	case a.User != "":
		opts = append(opts, nats.UserInfo(a.User, a.Password))
	case a.NKey != "":
		nkey, err := nats.NkeyOptionFromSeed(a.NKey)
		if err != nil {
			return nil, badFile("nkey", a.NKey, err)
		}
		opts = append(opts, nkey)
	case a.Creds != "":
		if err := checkCreds(a.Creds); err != nil {
			return nil, badFile("creds", a.Creds, err)
		}
		opts = append(opts, nats.UserCredentials(a.Creds))
	}
	secure, err := a.tlsOptions()
	return append(opts, secure...), err
}

func (a Auth) contradiction(urls string) error {
	var ways []string
	for _, w := range []struct{ name, value string }{
		{"a user", a.User}, {"a token", a.Token}, {"an nkey", a.NKey}, {"creds", a.Creds}, {"a URL with a user", userOf(urls)},
	} {
		if w.value != "" {
			ways = append(ways, w.name)
		}
	}
	switch {
	case len(ways) > 1:
		return fmt.Errorf("%s are given; one of them is enough", strings.Join(ways, " and "))
	case a.Password != "" && a.User == "":
		return errors.New("a password is given without a user")
	case (a.TLSCert == "") != (a.TLSKey == ""):
		return errors.New("a TLS certificate needs its key, and a key its certificate: one of the two files is missing")
	}
	return nil
}

// userOf is the user in the first URL that has one.
func userOf(urls string) string {
	for s := range strings.SplitSeq(urls, ",") {
		if u, err := url.Parse(strings.TrimSpace(s)); err == nil && u.User.Username() != "" {
			return u.User.Username()
		}
	}
	return ""
}

// HasUser tells whether a list of server addresses has a user, or a token, in it.
func HasUser(urls string) bool { return userOf(urls) != "" }

// checkCreds finds what nats.go would find only while it connects.
func checkCreds(file string) error {
	o := nats.GetDefaultOptions()
	if err := nats.UserCredentials(file)(&o); err != nil {
		return err
	}
	token, err := o.UserJWT()
	if err != nil {
		return err
	}
	if strings.Count(token, ".") != 2 {
		return errors.New("no user JWT in it")
	}
	_, err = o.SignatureCB(nil)
	return err
}

func (a Auth) tlsOptions() ([]nats.Option, error) {
	var opts []nats.Option
	if a.TLSCA != "" {
		pem, err := os.ReadFile(a.TLSCA)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
			err = errors.New("no PEM certificate in it")
		}
		if err != nil {
			return nil, badFile("TLS CA", a.TLSCA, err)
		}
		opts = append(opts, nats.RootCAs(a.TLSCA))
	}
	if a.TLSCert != "" {
		if _, err := tls.LoadX509KeyPair(a.TLSCert, a.TLSKey); err != nil {
			return nil, badFile("TLS certificate", a.TLSCert+" with key "+a.TLSKey, err)
		}
		opts = append(opts, nats.ClientCert(a.TLSCert, a.TLSKey))
	}
	return opts, nil
}

func badFile(kind, file string, err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		err = fmt.Errorf("%s: %w", path.Path, path.Err)
		return fmt.Errorf("%w: %s file %w", ErrBadAuth, kind, err)
	}
	text := strings.TrimPrefix(err.Error(), "nats: ")
	return fmt.Errorf("%w: %s file %s: %s", ErrBadAuth, kind, file, text)
}

// refusal tells what to check when a server refused the connection, or what
// it showed was refused; any other error it returns as it is.
func (a Auth) refusal(err error, url string) error {
	if hint := a.hint(err, url); hint != "" {
		return fmt.Errorf("%w: %w: %s", ErrRefused, err, hint)
	}
	return err
}

// isAuth reports that a server does not, or no longer, accept who we are.
func isAuth(err error) bool {
	for _, e := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (a Auth) hint(err error, url string) string {
	var (
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
	)
	switch text := err.Error(); {
	case errors.Is(err, nats.ErrAuthorization):
		return a.shown(url)
	case errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAccountAuthExpired):
		return a.shown(url) + "; it is past its time, and must be issued anew"
	case errors.Is(err, nats.ErrAuthRevoked):
		return a.shown(url) + "; it was revoked"
	case errors.As(err, &unknown):
		if a.TLSCA == "" {
			return "the system's authorities do not vouch for the server; name its CA file"
		}
		return "the authorities in " + a.TLSCA + " do not vouch for the server; check that the CA file is the server's"
	case errors.As(err, &host):
		return "the server's certificate is for another host; check the URL's"
	case errors.As(err, &invalid):
		return "the server's certificate is not valid; check its dates and its use, and this machine's clock"
	case errors.Is(err, nats.ErrSecureConnWanted):
		return "TLS is asked for, and the server has none; check the TLS files and the URL's scheme"
	case a.TLSCert == "" && (strings.Contains(text, "tls: certificate required") || strings.Contains(text, "tls: bad certificate")):
		return "the server wants a client certificate, and none is given; name its file and its key's"
	case strings.Contains(text, "remote error: tls:"):
		return "the server did not accept the client certificate " + a.TLSCert + "; check that its CA is one the server trusts, and its dates"
	default:
		return ""
	}
}

// shown says what was refused, and nothing secret.
func (a Auth) shown(url string) string {
	switch {
	case a.Token != "" || a.User != "" && a.Password == "":
		return "it does not know the token; check it"
	case a.User != "":
		return fmt.Sprintf("it does not know user %q with that password; check both", a.User)
	case a.NKey != "":
		return fmt.Sprintf("it does not know the nkey in %s; check that the server lists its public key", a.NKey)
	case a.Creds != "":
		return fmt.Sprintf("it does not accept the creds in %s; check that they are of one of its accounts", a.Creds)
	case userOf(url) != "":
		return fmt.Sprintf("it does not know %q of the URL; check user and password", userOf(url))
	default:
		return "it wants credentials, and none are given; give a user, a token, an nkey or creds"
	}
}
