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
}

func (a *authFlags) all() []authFlag {
	return []authFlag{
		{"creds", "NATS_CREDS", "file with the credentials of a NATS user", &a.Creds},
		{"nkey", "NATS_NKEY", "file with the seed of a NATS user's nkey", &a.NKey},
		{"user", "NATS_USER", "user of NATS; without a password, a token", &a.User},
		{"password", "NATS_PASSWORD", "password of the user", &a.Password},
		{"token", "NATS_TOKEN", "token that NATS knows", &a.Token},
		{"tlscert", "NATS_CERT", "file with the client's TLS certificate", &a.TLSCert},
		{"tlskey", "NATS_KEY", "file with the key of --tlscert", &a.TLSKey},
		{"tlsca", "NATS_CA", "file with the authorities that vouch for the server", &a.TLSCA},
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

// envAuth is what the environment says.
func envAuth(s Streams) transport.Auth {
	var a authFlags
	for _, f := range a.all() {
		*f.value = s.Getenv(f.env)
	}
	return a.Auth
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
func hint(err error, named bool) error {
	switch {
	case errors.Is(err, transport.ErrRefused) || errors.Is(err, transport.ErrBadAuth):
		return err
	case named:
		return fmt.Errorf("%w; is a node or a NATS server running there?", err)
	default:
		return fmt.Errorf("%w; is a node or a NATS server running there? --server says where else%s", err, selectedContext())
	}
}
