package topology

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// transportType is a Transport's Type.
type transportType string

func (t transportType) String() string { return string(t) }

const (
	inProcess transportType = "in_process"
	overNATS  transportType = "nats"
)

func (o *object) transport() Transport {
	if o.values["type"] == nil && o.values["servers"] != nil {
		o.missing("type", "write type: nats")
	}
	t := Transport{Type: word(o, "type", inProcess, inProcess, overNATS).String()}
	if t.Type == string(inProcess) && o.values["type"] != nil {
		for _, key := range []string{"servers", "credentials"} {
			if o.values[key] != nil {
				o.fault(key, "in_process has none", "write type: nats, or leave it out")
			}
		}
		return t
	}
	t.Servers = o.servers()
	if creds, ok := o.text("credentials"); ok {
		t.Credentials = creds
		o.record("credentials", o.values["credentials"].Value)
	}
	return t
}

// servers are NATS URLs: one, several with commas between them, or a list.
func (o *object) servers() []string {
	n := o.values["servers"]
	if n == nil {
		return nil
	}
	elements := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		elements = o.list("servers")
		if len(elements) == 0 {
			o.fault("servers", "the list is empty", "leave it out for nats://127.0.0.1:4222")
		}
	}
	var servers, shown []string
	for _, e := range elements {
		path := o.path + ".servers"
		if e.Kind != yaml.ScalarNode {
			o.l.mistake(e, path, "servers: want a URL, got "+describe(e), "")
			continue
		}
		s, ok := o.l.scalar(e, path)
		if !ok {
			continue
		}
		for _, server := range strings.Split(s.text, ",") {
			server = strings.TrimSpace(server)
			if fault := serverFault(server); !s.isText() || fault != "" {
				o.l.mistake(e, path, fmt.Sprintf("servers: %s is no NATS URL%s", s.describe(), fault), "as in nats://127.0.0.1:4222")
				break
			}
			servers = append(servers, server)
		}
		shown = append(shown, redacted(s, e.Value))
	}
	o.record("servers", strings.Join(shown, ","))
	return servers
}

// serverFault is what is wrong with a server's address; "" for nothing.
func serverFault(server string) string {
	schemes := []string{"nats", "tls", "ws", "wss"}
	scheme, _, has := strings.Cut(server, "://")
	if !has {
		scheme, server = "nats", "nats://"+server
	}
	u, err := url.Parse(server)
	switch {
	case !slices.Contains(schemes, scheme):
		return ": the scheme is none of " + listed(schemes)
	case err != nil || u.Host == "" || u.Hostname() == "":
		return ": there is no host in it"
	}
	return ""
}

// redacted is an address to look at.
func redacted(s scalar, written string) string {
	if s.written != "" {
		return written // what its references stand for is not shown
	}
	parts := strings.Split(s.text, ",")
	for i, part := range parts {
		if u, err := url.Parse(strings.TrimSpace(part)); err == nil && u.User != nil {
			if _, has := u.User.Password(); !has {
				u.User = url.UserPassword("xxxxx", "") // a token
				parts[i] = strings.Replace(u.String(), "xxxxx:@", "xxxxx@", 1)
				continue
			}
			parts[i] = u.Redacted()
		}
	}
	return strings.Join(parts, ",")
}
