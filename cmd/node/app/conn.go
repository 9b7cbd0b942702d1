package app

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/civitas-go/civitas/transport"
)

// authFlags are what a NATS server asks for, under the names that the NATS CLI
// has for it.
type authFlags struct{ transport.Auth }

type authFlag struct {
	name, env, help string
	value           *string
	identity        bool // one of the ways to say who the client is
}

func (a *authFlags) all() []authFlag {
	return []authFlag{
		{"creds", "NATS_CREDS", "file with the credentials of a NATS user", &a.Creds, true},
		{"nkey", "NATS_NKEY", "file with the seed of a NATS user's nkey", &a.NKey, true},
		{"user", "NATS_USER", "user of NATS; without a password, a token", &a.User, true},
		{"password", "NATS_PASSWORD", "password of the user", &a.Password, true},
		{"token", "NATS_TOKEN", "token that NATS knows", &a.Token, true},
		{"tlscert", "NATS_CERT", "file with the client's TLS certificate", &a.TLSCert, false},
		{"tlskey", "NATS_KEY", "file with the key of --tlscert", &a.TLSKey, false},
		{"tlsca", "NATS_CA", "file with the authorities that vouch for the server", &a.TLSCA, false},
	}
}

func (a *authFlags) register(fs *pflag.FlagSet) {
	for _, f := range a.all() {
		fs.StringVar(f.value, f.name, "", f.help+" (default $"+f.env+")")
	}
}

// given names a flag that was set; "" if none was.
func (a *authFlags) given() string {
	for _, f := range a.all() {
		if *f.value != "" {
			return "--" + f.name
		}
	}
	return ""
}

// fill takes from the environment what no flag has said, and checks all of it. Who the
// client is comes wholly from the flags, the URL in them included, or wholly
// from the environment.
func (a *authFlags) fill(s Streams, url string, urlByFlag bool) error {
	identified := urlByFlag && transport.HasUser(url)
	for _, f := range a.all() {
		identified = identified || f.identity && *f.value != ""
	}
	for _, f := range a.all() {
		if *f.value == "" && (!f.identity || !identified) {
			*f.value = s.Getenv(f.env)
		}
	}
	return a.Check(url)
}

// timeoutFlag is --timeout, else NATS_TIMEOUT, else what it was.
func timeoutFlag(s Streams, fs *pflag.FlagSet, timeout *time.Duration) error {
	from := "--timeout"
	if env := s.Getenv("NATS_TIMEOUT"); env != "" && !fs.Changed("timeout") {
		from = "NATS_TIMEOUT"
		d, err := time.ParseDuration(env)
		if err != nil {
			return fmt.Errorf("%s: %q is no duration such as 500ms or 10s", from, env)
		}
		*timeout = d
	}
	if *timeout <= 0 {
		return fmt.Errorf("%s: %v is not a positive duration", from, *timeout)
	}
	return nil
}

// hint adds what to look for where a server did not even answer.
func hint(err error) error {
	if errors.Is(err, transport.ErrRefused) || errors.Is(err, transport.ErrBadAuth) {
		return err
	}
	return fmt.Errorf("%w; is a node or a NATS server running there?", err)
}
