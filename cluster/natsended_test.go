package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/internal/natsserver"
	"github.com/civitas-go/civitas/internal/natstest"
	"github.com/civitas-go/civitas/transport"
)

func TestParseConnections(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, data, server string
		ended              bool
	}{
		{
			"one that has ended", `{"server":{"name":"nats-1","host":"127.0.0.1","id":"A","ver":"2.15.2","seq":23},"data":{"server_id":"A",
				"num_connections":1,"total":1,"offset":0,"limit":1,"connections":[{"cid":8,"kind":"Client","ip":"127.0.0.1","port":50180,
				"start":"2026-11-28T13:11:22.9Z","stop":"2026-11-28T13:11:23.1Z","reason":"Client Closed"}]}}`, "A", true,
		},
		{"one that has not", `{"server":{"id":"A"},"data":{"connections":[{"cid":8,"start":"2026-11-28T13:11:22.9Z"}]}}`, "A", false},
		{"another", `{"server":{"id":"A"},"data":{"connections":[{"cid":9,"stop":"2026-11-28T13:11:23.1Z"}]}}`, "A", false},
		{"none that is known", `{"server":{"id":"A"},"data":{"connections":[]}}`, "A", false},
		{"an error", `{"server":{"id":"A"},"error":{"code":400,"description":"bad"}}`, "A", false},
		{"no server", `{"data":{"connections":[{"cid":8,"stop":"2026-11-28T13:11:23.1Z"}]}}`, "", true},
		{"no JSON", `+OK`, "", false},
		{"nothing", ``, "", false},
	} {
		server, ended := cluster.ParseConnections([]byte(tt.data), 8)
		if server != tt.server || ended != tt.ended {
			t.Errorf("%s: got %q, %v, want %q, %v", tt.name, server, ended, tt.server, tt.ended)
		}
	}
}

func FuzzConnections(f *testing.F) {
	f.Add([]byte(`{"server":{"id":"A"},"data":{"connections":[{"cid":8,"stop":"now"}]}}`))
	f.Add([]byte(`{"server":[],"data":{"connections":{}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, ended := cluster.ParseConnections(data, 8); ended && !strings.Contains(string(data), "8") {
			t.Errorf("parse %q: got the end of a connection that it does not name", data)
		}
	})
}

// Servers say which of their connections have ended; of those they do not know, and
// of others' connections, they say nothing.
func TestEndedOverNATS(t *testing.T) {
	t.Parallel()
	s := startWithAccount(t)
	links := linksOf(t, dial(t, transport.NATSOptions{URL: s.ClientURL()}))
	if _, err := links.Ended(t.Context(), nil); err == nil {
		t.Error("before it is proven that only servers answer: got nil, want an error")
	}
	stop, err := links.Disconnects(t.Context(), func(cluster.Witness) {}, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	lives, dies := dialWitness(t, links), dialWitness(t, links)
	dies.Close()
	var got []cluster.Witness
	eventually(t, "the end is told", func() bool {
		if got, err = links.Ended(t.Context(), []cluster.Witness{lives.Witness(), dies.Witness(), {Server: s.ID(), Client: 1 << 40}}); err != nil {
			t.Fatalf("got %v, want nil", err)
		}
		return len(got) > 0
	})
	if len(got) != 1 || got[0] != dies.Witness() {
		t.Errorf("got %v ended, want %v", got, dies.Witness())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	elsewhere := dies.Witness()
	elsewhere.Server = "NOTTHISONE"
	if got, err := links.Ended(ctx, []cluster.Witness{elsewhere}); len(got) > 0 || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a connection of another server: got %v and %v, want no answer", got, err)
	}
}

// startWithAccount starts a server whose clients are in an account of their own: of the
// global account's connections servers forget which have ended.
func startWithAccount(t *testing.T) *server.Server {
	t.Helper()
	return natstest.Start(t, fmt.Sprintf(`
listen: "127.0.0.1:-1"
jetstream { store_dir: %q }
no_auth_user: app
`, t.TempDir())+accounts(disconnects, disconnects))
}

// Where others could answer for the servers, nobody is asked.
func TestEndedWhereAnyoneAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, permissions, want string }{
		{"anyone may answer", `publish: { deny: ["` + disconnects + `"] }`, "any client may subscribe"},
		{"it may not be asked", `publish: { deny: ["` + disconnects + `", "$SYS.REQ.>"] }, subscribe: { deny: ["$SYS.>"] }`, "may not publish"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := natstest.Start(t, fmt.Sprintf(`
listen: "127.0.0.1:-1"
jetstream { store_dir: %q }
no_auth_user: app
system_account: SYS
accounts {
  SYS { users: [ { user: sys, password: sys } ], exports: [ { stream: "$SYS.ACCOUNT.*.DISCONNECT", account_token_position: 3 } ] }
  APP {
    jetstream: enabled
    imports: [ { stream: { account: SYS, subject: "$SYS.ACCOUNT.APP.DISCONNECT" }, to: %q } ]
    users: [ { user: app, password: app, permissions: { %s } } ]
  }
}
`, t.TempDir(), disconnects, c.permissions))
			links := linksOf(t, dial(t, transport.NATSOptions{URL: s.ClientURL()}))
			stop, err := links.Disconnects(t.Context(), func(cluster.Witness) {}, func(error) {})
			if err != nil {
				t.Fatalf("the events: got %v, want them", err)
			}
			defer stop()
			if _, err := links.Ended(t.Context(), nil); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// Of the global account's connections, which all have at first, servers are not asked:
// they tell none that has ended, and read them while they are being made.
func TestEndedInTheGlobalAccount(t *testing.T) {
	t.Parallel()
	s := startServer(t, natsserver.Options{DisconnectEvents: disconnects})
	links := linksOf(t, dial(t, transport.NATSOptions{InProcess: s}))
	for range 10 {
		witnessed := make(chan struct{})
		go func() {
			defer close(witnessed)
			for range 20 {
				if w, err := links.DialWitness(t.Context(), nil); err != nil {
					t.Errorf("DialWitness: got %v, want nil", err)
				} else {
					w.Close()
				}
			}
		}()
		stop, err := links.Disconnects(t.Context(), func(cluster.Witness) {}, func(error) {})
		<-witnessed
		if err != nil {
			t.Fatal(err)
		}
		_, err = links.Ended(t.Context(), []cluster.Witness{{Server: s.ID(), Client: 1}})
		if !errors.Is(err, cluster.ErrNotAsked) || !strings.Contains(err.Error(), "global account") {
			t.Errorf("got %v, want %v for the global account", err, cluster.ErrNotAsked)
		}
		stop()
	}
}

// A node that was killed and is started again where no other node is, on a NATS server
// that was there all the time, has its names long before its silence would tell.
func TestNodeAloneIsStartedAnew(t *testing.T) {
	t.Parallel()
	s := startWithAccount(t)
	r1 := joinNATS(t, "n1", s.ClientURL(), 0)
	old := claim(t, r1, "a")
	awaitWitness(t, r1, openJetStream(t, dial(t, transport.NATSOptions{URL: s.ClientURL()}), "dev"), s.ID())
	if err := r1.Close(); err != nil { // as a crash would
		t.Fatal(err)
	}
	began := time.Now()
	r2 := joinNATS(t, "n1", s.ClientURL(), 0)
	if epoch := claim(t, r2, "a"); epoch <= old {
		t.Errorf("epoch: got %d after %d, want more", epoch, old)
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("got the name after %v, want it in less than 3s", took)
	}
	leave(t, r2)
}
