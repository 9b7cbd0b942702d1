package app

import (
	"cmp"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/pflag"

	"github.com/civitas-go/civitas/transport"
)

// embeddedNATS is what --server says for a NATS within the node.
const embeddedNATS = "embedded"

// natsFlags say where NATS is, and who asks there, under the names that the NATS
// CLI has for it. What no flag says the environment does, then a topology file,
// then a NATS context, each for itself: an address, an identity, a TLS file.
type natsFlags struct {
	server, context string
	timeout         time.Duration
	auth            authFlags
	set             *pflag.FlagSet
}

func (f *natsFlags) register(fs *pflag.FlagSet, server string, timeout time.Duration, what string) {
	fs.StringVarP(&f.server, "server", "s", "", server)
	fs.StringVar(&f.context, "context", "", "a context of the NATS CLI, by its name (default $NATS_CONTEXT)")
	fs.DurationVar(&f.timeout, "timeout", timeout, fmt.Sprintf("%s, as 500ms or 10s (default $NATS_TIMEOUT, else %v)", what, timeout))
	fs.Lookup("timeout").DefValue = "" // the text has it
	f.auth.register(fs)
	f.set = fs
}

// natsSource is what one of those who may say it says of NATS.
type natsSource struct {
	name string // of what gives the URL, for the error
	url  string
	auth transport.Auth
	// What transport.Auth has no word for. identity says who the client is, and
	// may be nil; it may ask for a secret.
	options  []nats.Option
	identity func() ([]nats.Option, error)
}

// identified reports whether it says who the client is, were the URL its own.
func (n natsSource) identified(url string) bool {
	return whoOf(n.auth) != (transport.Auth{}) || n.identity != nil || n.url != "" && n.url == url && transport.HasUser(url)
}

// whoOf is the part of an Auth that says who the client is.
func whoOf(a transport.Auth) transport.Auth {
	return transport.Auth{User: a.User, Password: a.Password, Token: a.Token, NKey: a.NKey, Creds: a.Creds}
}

// resolve decides, and refuses what can't be meant. A URL of "" is nobody's
// word. The file is a topology's, or empty.
func (f *natsFlags) resolve(s Streams, file natsSource) (transport.NATSOptions, error) {
	if err := timeoutFlag(s, f.set, &f.timeout); err != nil {
		return transport.NATSOptions{}, err
	}
	sources := []natsSource{
		{name: "--server", url: f.server, auth: f.auth.Auth},
		{name: "NATS_URL", url: s.Getenv("NATS_URL"), auth: envAuth(s)},
		file,
	}
	if named, by := f.context, "--context"; named != "" || s.Getenv("NATS_CONTEXT") != "" {
		if named == "" {
			named, by = s.Getenv("NATS_CONTEXT"), "NATS_CONTEXT"
		}
		source, err := loadContext(named)
		if err != nil {
			return transport.NATSOptions{}, fmt.Errorf("%s: %w", by, err)
		}
		sources = append(sources, source)
	}
	return merge(sources)
}

// merge takes each thing from the first source that has it; who the client is
// comes wholly from one.
func merge(sources []natsSource) (o transport.NATSOptions, err error) {
	for _, n := range sources {
		if o.URL = n.url; o.URL == "" {
			continue
		}
		if n.url == embeddedNATS {
			return o, nil
		}
		if _, err := transport.CheckURLs(n.url); err != nil {
			return o, fmt.Errorf("%s: %w", n.name, err)
		}
		break
	}
	identified := false
	for _, n := range sources {
		o.Auth.TLSCA = cmp.Or(o.Auth.TLSCA, n.auth.TLSCA)
		o.Auth.TLSCert = cmp.Or(o.Auth.TLSCert, n.auth.TLSCert)
		o.Auth.TLSKey = cmp.Or(o.Auth.TLSKey, n.auth.TLSKey)
		o.Options = append(o.Options, n.options...)
		switch {
		case identified && o.Auth.User != "" && n.auth.User == "":
			// People keep the password off the command line.
			o.Auth.Password = cmp.Or(o.Auth.Password, n.auth.Password)
		case !identified && n.identified(o.URL):
			identified = true
			if o, err = n.identify(o); err != nil {
				return o, fmt.Errorf("%s: %w", n.name, err)
			}
		}
	}
	return o, o.Auth.Check(o.URL)
}

// identify makes it the source's client that connects.
func (n natsSource) identify(o transport.NATSOptions) (transport.NATSOptions, error) {
	who := n.auth
	who.TLSCA, who.TLSCert, who.TLSKey = o.Auth.TLSCA, o.Auth.TLSCert, o.Auth.TLSKey
	o.Auth = who
	if n.identity == nil {
		return o, nil
	}
	options, err := n.identity()
	o.Options = append(o.Options, options...)
	return o, err
}
