package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/jsm.go/natscontext"
	"github.com/nats-io/nats.go"
)

// loadContext reads a context of the NATS CLI, such as `nats context add`
// makes. Only a named one counts: what `nats context select` has chosen is not
// taken by itself, lest a node or a call goes where nobody meant it to.
func loadContext(name string) (natsSource, error) {
	c, err := natscontext.New(name, true)
	switch {
	case errors.Is(err, natscontext.ErrNotFound):
		return natsSource{}, fmt.Errorf("no NATS context is called %q; %s", name, knownContexts())
	case err != nil:
		return natsSource{}, fmt.Errorf("NATS context %q: %w; mend it by `nats context edit %s`", name, err, name)
	}
	n, err := sourceOf(c)
	if err != nil {
		return natsSource{}, fmt.Errorf("NATS context %q: %w", name, err)
	}
	n.name, n.url = "NATS context "+name, c.ServerURL()
	return n, nil
}

func knownContexts() string {
	known := natscontext.KnownContexts()
	if len(known) == 0 {
		return "there are none: make one by `nats context add`"
	}
	return "known are " + strings.Join(known, ", ")
}

// contextIdentity are the fields of a context that say who the client is.
var contextIdentity = []string{"user", "password", "token", "nkey", "creds", "user_jwt", "user_seed", "nsc"}

// sourceOf gives transport.Auth what it has a word for, since it explains a
// refusal better than nats.go does. What is left are secrets that are kept
// elsewhere (op://, env:// and the like), proxies and prefixes.
func sourceOf(c *natscontext.Context) (natsSource, error) {
	data, err := c.MarshalJSON()
	if err != nil {
		return natsSource{}, err
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		return natsSource{}, err
	}
	var n natsSource
	take := func(key string, into *string) {
		value, _ := fields[key].(string)
		if value = strings.TrimPrefix(value, "file://"); !strings.Contains(value, "://") {
			*into = value
			delete(fields, key)
		}
	}
	take("cert", &n.auth.TLSCert)
	take("key", &n.auth.TLSKey)
	take("ca", &n.auth.TLSCA)
	take("token", &n.auth.Token)
	take("nkey", &n.auth.NKey)
	take("creds", &n.auth.Creds)
	if password, _ := fields["password"].(string); !strings.Contains(password, "://") { // it stays with its user
		take("user", &n.auth.User)
		take("password", &n.auth.Password)
	}
	who := map[string]any{}
	for _, key := range contextIdentity {
		if value, _ := fields[key].(string); value != "" {
			who[key] = value
		}
		delete(fields, key)
	}
	if len(who) > 0 {
		n.identity = func() ([]nats.Option, error) { return contextOptions(who) }
	}
	n.options, err = contextOptions(fields)
	return n, err
}

func contextOptions(fields map[string]any) ([]nats.Option, error) {
	data, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	c, err := natscontext.NewFromBytes(data)
	if err != nil {
		return nil, err
	}
	return c.NATSOptions()
}

// selectedContext is a hint for who forgot to name it.
func selectedContext() string {
	if name := natscontext.SelectedContext(); name != "" {
		return fmt.Sprintf(" (the NATS context %q is selected, and --context %s would use it)", name, name)
	}
	return ""
}
