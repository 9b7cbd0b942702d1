package transport

import (
	"crypto/tls"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
)

// natsServer is one address to dial.
type natsServer struct {
	url string // "" for one in this process
	// tlsName is whose certificate a server must have that another named by its
	// IP address; else the URL says it.
	tlsName string
}

// String is the address without a password in it.
func (s natsServer) String() string {
	if s.url == "" {
		return "in process"
	}
	text, err := CheckURLs(s.url)
	if err != nil {
		return "at an address that does not parse"
	}
	return text
}

func (s natsServer) secure(o *nats.Options) {
	if s.tlsName == "" || o.TLSConfig != nil && o.TLSConfig.ServerName != "" {
		return
	}
	if o.TLSConfig == nil {
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	} else {
		o.TLSConfig = o.TLSConfig.Clone()
	}
	o.TLSConfig.ServerName = s.tlsName
}

// givenServers are those of the URL, in random order unless there is an option
// against it.
func (c *NATS) givenServers() []natsServer {
	if c.opts.InProcess != nil {
		return []natsServer{{}}
	}
	var servers []natsServer
	for u := range strings.SplitSeq(c.opts.URL, ",") {
		servers = append(servers, natsServer{url: strings.TrimSpace(u)})
	}
	var o nats.Options
	for _, opt := range c.opts.Options {
		_ = opt(&o) // connect says what is wrong with it
	}
	if !o.NoRandomize {
		rand.Shuffle(len(servers), func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })
	}
	return servers
}

// servers are the given ones and those that the lost link's server named, with
// the lost one's last.
func (c *NATS) servers(lost *natsLink) []natsServer {
	servers := slices.Clone(c.given)
	for _, u := range lost.nc.DiscoveredServers() {
		if s := lost.to.named(u); !slices.ContainsFunc(servers, s.same) {
			servers = append(servers, s)
		}
	}
	if i := slices.IndexFunc(servers, lost.to.same); i >= 0 {
		servers = append(slices.Delete(servers, i, i+1), lost.to)
	}
	return servers
}

// named is a server that s has told of: by the same credentials, and in the
// same name where it has only an IP address.
func (s natsServer) named(text string) natsServer {
	by, err := parseURL(s.url)
	u, uerr := url.Parse(text)
	if err != nil || uerr != nil {
		return natsServer{url: text}
	}
	u.User = by.User
	other := natsServer{url: u.String(), tlsName: s.tlsName}
	if net.ParseIP(by.Hostname()) == nil {
		other.tlsName = by.Hostname()
	}
	if net.ParseIP(u.Hostname()) == nil {
		other.tlsName = ""
	}
	return other
}

// same compares host and port.
func (s natsServer) same(other natsServer) bool { return s.host() == other.host() }

func (s natsServer) host() string {
	u, err := parseURL(s.url)
	if err != nil {
		return s.url
	}
	if u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), "4222")
	}
	return u.Host
}

// parseURL takes what nats.go does: the scheme may be left out.
func parseURL(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "nats://" + text
	}
	return url.Parse(text)
}
