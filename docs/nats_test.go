package docs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/natstest"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/services/ratelimit"
	"github.com/civitas-go/civitas/supervisor"
	"github.com/civitas-go/civitas/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// documented is the configuration in nats.md.
func documented(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("nats.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```conf\n")
	config, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("nats.md has no configuration")
	}
	return config
}

// moved is the text for a server of a test; each change must apply.
func moved(t *testing.T, config string, changes ...string) string {
	t.Helper()
	for change := range slices.Chunk(changes, 2) {
		if !strings.Contains(config, change[0]) {
			t.Fatalf("the configuration has no %q", change[0])
		}
		config = strings.ReplaceAll(config, change[0], change[1])
	}
	return config
}

// startServers are the three that the page is about.
func startServers(t *testing.T) []*server.Server {
	t.Helper()
	routes := natstest.Addresses(t, 3)
	var all []*server.Server
	for i, route := range routes {
		all = append(all, natstest.Start(t, moved(t, documented(t),
			"server_name: nats-1", fmt.Sprintf("server_name: nats-%d", i+1),
			"0.0.0.0:4222", "127.0.0.1:-1",
			"0.0.0.0:6222", route,
			"nats-1:6222", routes[0], "nats-2:6222", routes[1], "nats-3:6222", routes[2],
			"/var/lib/nats", t.TempDir(),
		)))
	}
	natstest.Formed(t, all)
	return all
}

// startOne is a single one, with further changes.
func startOne(t *testing.T, changes ...string) *server.Server {
	t.Helper()
	config := documented(t)
	begin := strings.Index(config, "\ncluster {")
	end := begin + strings.Index(config[begin:], "\n}\n") + 3
	return natstest.Start(t, moved(t, config[:begin]+config[end:], append(changes,
		"0.0.0.0:4222", "127.0.0.1:-1",
		"/var/lib/nats", t.TempDir(),
	)...))
}

func startNode(t *testing.T, s *server.Server, name, password string, children ...supervisor.Child) *node.Node {
	t.Helper()
	n, err := node.Start(t.Context(), node.Config{
		Name: name, NATS: node.NATS{URL: s.ClientURL(), Auth: transport.Auth{User: name, Password: password}},
		Tree: supervisor.Spec{Children: children}, Logger: slog.New(refusals{slog.DiscardHandler, t}),
	})
	if err != nil {
		t.Fatalf("start node %s: %v", name, err)
	}
	t.Cleanup(func() {
		if err := n.Stop(context.Background()); err != nil {
			t.Errorf("stop node %s: %v", name, err)
		}
	})
	return n
}

// refusals fails the test for each permission that a node lacks.
type refusals struct {
	slog.Handler
	t *testing.T
}

func (h refusals) Enabled(context.Context, slog.Level) bool { return true }
func (h refusals) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h refusals) WithGroup(string) slog.Handler            { return h }

func (h refusals) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if strings.Contains(strings.ToLower(a.Value.String()), "permissions violation") {
			h.t.Errorf("%s: %v", r.Message, a)
		}
		return true
	})
	return nil
}

func connect(t *testing.T, s *server.Server, user, password string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(s.ClientURL(), nats.UserInfo(user, password), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func flush(t *testing.T, nc *nats.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := nc.FlushWithContext(ctx); err != nil {
		t.Fatal(err)
	}
}

// A node needs no more than it is permitted, and has the events, on each of the
// servers; outside of that it can do nothing.
func TestNodesRunAsDocumented(t *testing.T) {
	t.Parallel()
	servers := startServers(t)
	limiter := supervisor.Child{Name: "rate_limiter", Run: ratelimit.Limiter.With(ratelimit.Config{}), Scope: supervisor.Cluster}
	n1 := startNode(t, servers[0], "n1", "change-me-1", limiter)
	n2 := startNode(t, servers[1], "n2", "change-me-2")
	if _, err := genserver.Call(t.Context(), n2.Ref("rate_limiter"), ratelimit.Acquire{}); err != nil {
		t.Errorf("call from another node: got %v, want nil", err)
	}
	for _, n := range []*node.Node{n1, n2} {
		var s node.Status
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
			var err error
			if s, err = genserver.Call(t.Context(), n1.Ref(node.AdminName).On(n.Name()), node.AskStatus{}); err != nil {
				t.Fatalf("status of node %s: %v", n.Name(), err)
			}
			if s.DisconnectEvents {
				break
			}
			<-time.After(50 * time.Millisecond)
		}
		if !s.DisconnectEvents || s.Failover != 0.7 {
			t.Errorf("status of node %s: got %+v, want disconnect events and 0.7s", n.Name(), s)
		}
	}

	client := connect(t, servers[2], "client", "change-me-3")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	m, err := client.RequestWithContext(ctx, "civitas.dev.s.rate_limiter", []byte(`{"type":"acquire"}`))
	if err != nil || !strings.Contains(string(m.Data), `"ok":true`) {
		t.Errorf("a plain client's call: got %v, %v, want it granted", m, err)
	}
}

// What a user may not do.
func TestForbiddenAsDocumented(t *testing.T) {
	t.Parallel()
	s := startOne(t)
	for _, user := range []struct {
		name, password string
		publish        []string
		subscribe      []string
	}{
		{
			"n1", "change-me-1",
			[]string{
				"civitas.dev.ev.disconnect", "civitas.other.s.x", "civitas.dev.rp.own.x", "elsewhere",
				"$JS.API.STREAM.DELETE.CIVITAS_dev", "$JS.API.STREAM.PURGE.CIVITAS_dev", "$JS.API.STREAM.CREATE.other",
			},
			[]string{"civitas.dev.js.>", "civitas.other.s.>", "elsewhere", ">"},
		},
		{"client", "change-me-3", []string{"civitas.dev.ev.disconnect", "civitas.dev.js.own.x", "civitas.dev.n.x.y", "civitas.dev.adm.x.stop"}, []string{"civitas.dev.s.>"}},
		{"operator", "change-me-4", []string{"civitas.dev.ev.disconnect", "civitas.other.ev.disconnect"}, nil},
	} {
		nc := connect(t, s, user.name, user.password)
		for _, subject := range user.publish {
			refused(t, nc, user.name+" publishes to "+subject, func() error { return nc.Publish(subject, []byte("x")) })
		}
		for _, subject := range user.subscribe {
			refused(t, nc, user.name+" subscribes to "+subject, func() error {
				_, err := nc.SubscribeSync(subject)
				return err
			})
		}
	}
}

func refused(t *testing.T, nc *nats.Conn, what string, do func() error) {
	t.Helper()
	before := nc.LastError()
	if err := do(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	flush(t, nc)
	if err := nc.LastError(); !errors.Is(err, nats.ErrPermissionViolation) || err == before {
		t.Errorf("%s: got %v, want a permissions violation", what, err)
	}
}

// Where something of the set-up is missing, a node says what.
func TestMissingAsDocumented(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		changes []string
		want    string
	}{
		{"the import", []string{`$SYS.ACCOUNT.APP.DISCONNECT" }, to: "civitas.dev`, `$SYS.ACCOUNT.APP.DISCONNECT" }, to: "civitas.other`}, "no notice of it came"},
		{"the deny", []string{`deny: [ "civitas.dev.ev.disconnect" ]`, `deny: [ "x" ]`}, "any client may publish to civitas.dev.ev.disconnect"},
		{"the permission to subscribe", []string{`"civitas.dev.rp.>", "civitas.dev.ev.disconnect"`, `"civitas.dev.rp.>"`}, "no notice of it came"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := startOne(t, tt.changes...)
			conn, err := transport.DialNATS(t.Context(), transport.NATSOptions{
				URL: s.ClientURL(), Auth: transport.Auth{User: "n1", Password: "change-me-1"}, Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.Background())
			links, err := cluster.NATSLinks(conn, "dev")
			if err != nil {
				t.Fatal(err)
			}
			_, err = links.Disconnects(t.Context(), func(cluster.Witness) {}, func(error) {})
			if !errors.Is(err, cluster.ErrNoEvents) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want ErrNoEvents and %q", err, tt.want)
			}
		})
	}
}

// Servers say which connections have ended, as a node that asks them finds.
func TestEndedAsDocumented(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		changes []string
		want    string
	}{
		{name: "all is as it should be"},
		{"the permission to ask", []string{`"$SYS.REQ.ACCOUNT.PING.CONNZ"            #`, `"x" #`}, "may not publish"},
		{"no deny", []string{`"$SRV.>"                                 #`, `"$SRV.>", "$SYS.REQ.ACCOUNT.PING.CONNZ" #`}, "any client may subscribe"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			conn, err := transport.DialNATS(t.Context(), transport.NATSOptions{
				URL: startOne(t, tt.changes...).ClientURL(), Auth: transport.Auth{User: "n1", Password: "change-me-1"}, Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.Background())
			toldWhoAsks(t, conn, tt.want)
		})
	}
}

// toldWhoAsks has a connection end, and asks its server until that says so; or wants an
// error that says why there is no answer.
func toldWhoAsks(t *testing.T, conn *transport.NATS, want string) {
	t.Helper()
	links, err := cluster.NATSLinks(conn, "dev")
	if err != nil {
		t.Fatal(err)
	}
	stop, err := links.Disconnects(t.Context(), func(cluster.Witness) {}, func(error) {})
	if err != nil {
		t.Fatalf("Disconnects: got %v, want nil", err)
	}
	defer stop()
	w, err := links.DialWitness(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	for deadline := time.Now().Add(10 * time.Second); ; {
		ended, err := links.Ended(t.Context(), []cluster.Witness{w.Witness()})
		switch {
		case want != "" && err != nil && strings.Contains(err.Error(), want), want == "" && err == nil && len(ended) > 0:
			return
		case err != nil || want != "" || time.Now().After(deadline):
			t.Fatalf("got %v and the error %v, want %v ended, or the error %q", ended, err, w.Witness(), want)
		}
	}
}

// The server of docker-compose.yml tells events too.
func TestComposeTellsEvents(t *testing.T) {
	t.Parallel()
	config, err := os.ReadFile("../deploy/nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	s := natstest.Start(t, moved(t, string(config), "0.0.0.0:4222", "127.0.0.1:-1", "/data", t.TempDir()))
	conn, err := transport.DialNATS(t.Context(), transport.NATSOptions{URL: s.ClientURL(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := cluster.OpenJetStream(t.Context(), conn, "dev", cluster.JetStreamOptions{}); err != nil {
		t.Errorf("records: %v", err)
	}
	toldWhoAsks(t, conn, "")
}
