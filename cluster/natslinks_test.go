package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/internal/natsserver"
	"github.com/civitas-go/civitas/internal/natstest"
	"github.com/civitas-go/civitas/transport"
)

const disconnects = "civitas.dev.ev.disconnect"

func linksOf(t *testing.T, conn *transport.NATS) cluster.Links {
	t.Helper()
	l, err := cluster.NATSLinks(conn, "dev")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// told are the ends that links tell of.
func told(t *testing.T, l cluster.Links) <-chan cluster.Witness {
	t.Helper()
	ends := make(chan cluster.Witness, 1000)
	stop, err := l.Disconnects(t.Context(), func(w cluster.Witness) { ends <- w }, func(error) {})
	if err != nil {
		t.Fatalf("Disconnects: got %v, want nil", err)
	}
	t.Cleanup(stop)
	return ends
}

func wantEnd(t *testing.T, ends <-chan cluster.Witness, want cluster.Witness) {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		select {
		case w := <-ends:
			if w == want {
				return
			}
		case <-late:
			t.Fatalf("the end of %v was not told in 10s", want)
		}
	}
}

func dialWitness(t *testing.T, l cluster.Links, except ...string) cluster.WitnessConn {
	t.Helper()
	w, err := l.DialWitness(t.Context(), except)
	if err != nil {
		t.Fatalf("DialWitness: got %v, want nil", err)
	}
	t.Cleanup(w.Close)
	return w
}

func ping(t *testing.T, w cluster.WitnessConn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := w.Ping(ctx); err != nil {
		t.Errorf("Ping: got %v, want nil", err)
	}
}

func TestDisconnectsAreTold(t *testing.T) {
	t.Parallel()
	server := startServer(t, natsserver.Options{DisconnectEvents: disconnects})
	for name, o := range map[string]transport.NATSOptions{
		"a socket": {URL: server.ClientURL(), Name: "n1"},
		"inside":   {InProcess: server, Name: "n2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := linksOf(t, dial(t, o))
			ends := told(t, l)
			w := dialWitness(t, l)
			if w.Witness().Server != server.ID() || w.Witness().Client == 0 {
				t.Errorf("got witness %+v, want one of server %s", w.Witness(), server.ID())
			}
			ping(t, w)
			ping(t, w)
			select {
			case <-w.Done():
				t.Error("Done: got closed, want open")
			default:
			}
			w.Close()
			w.Close() // a second one is harmless
			<-w.Done()
			wantEnd(t, ends, w.Witness())
			if err := w.Ping(t.Context()); err == nil {
				t.Error("Ping after Close: got nil, want an error")
			}
		})
	}
}

// What stop has returned from, nothing comes after.
func TestDisconnectsStop(t *testing.T) {
	t.Parallel()
	l := linksOf(t, connect(t, startServer(t, natsserver.Options{DisconnectEvents: disconnects})))
	stopped := false
	stop, err := l.Disconnects(t.Context(), func(cluster.Witness) {
		if stopped {
			t.Error("fn was called after stop")
		}
	}, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		go dialWitness(t, l).Close()
	}
	stop()
	stopped = true
	stop() // a second one is harmless
	ends := told(t, l)
	w := dialWitness(t, l)
	w.Close()
	wantEnd(t, ends, w.Witness())
}

// accounts are as documented, with what is wrong with them put in.
func accounts(imported, denied string) string {
	return fmt.Sprintf(`
ping_interval: "500ms"
system_account: SYS
accounts {
  SYS { exports: [ {stream: "$SYS.ACCOUNT.*.DISCONNECT", account_token_position: 3} ] }
  APP {
    jetstream: enabled
    users: [ {user: app, password: app} ]
    imports: [ {stream: {account: SYS, subject: "$SYS.ACCOUNT.APP.DISCONNECT"}, to: %q} ]
    default_permissions: { publish: { deny: [%q] }, subscribe: { deny: ["$SYS.REQ.ACCOUNT.PING.CONNZ"] } }
  }
}
`, imported, denied)
}

func TestNoDisconnects(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, config, want string
	}{
		{"nothing set up", "", "any client may publish to " + disconnects},
		{"not imported", accounts("elsewhere", disconnects), "no notice of it came to " + disconnects},
		{"not denied", accounts(disconnects, "elsewhere"), "any client may publish to " + disconnects},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := natstest.Start(t, "listen: \"127.0.0.1:-1\"\n"+tt.config)
			l := linksOf(t, dial(t, transport.NATSOptions{URL: strings.Replace(s.ClientURL(), "nats://", "nats://app:app@", 1)}))
			_, err := l.Disconnects(t.Context(), func(w cluster.Witness) { t.Errorf("got the end of %v, want none", w) }, func(err error) { t.Errorf("got the state %v, want none", err) })
			if !errors.Is(err, cluster.ErrNoEvents) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want ErrNoEvents and %q", err, tt.want)
			}
			ping(t, dialWitness(t, l))
		})
	}
}

// Nobody but the server can tell of an end.
func TestForgedDisconnectIsRefused(t *testing.T) {
	t.Parallel()
	server := startServer(t, natsserver.Options{DisconnectEvents: disconnects})
	l := linksOf(t, connect(t, server))
	ends := told(t, l)
	nc, err := nats.Connect(server.ClientURL(), nats.UserInfo("who", "ever"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.Publish(disconnects, []byte(`{"type":"io.nats.server.advisory.v1.client_disconnect","server":{"id":"A"},"client":{"id":1}}`)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := nc.FlushWithContext(ctx); err != nil {
		t.Fatal(err)
	}
	if err := nc.LastError(); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("publish a forged notice: got %v, want a permissions violation", err)
	}
	w := dialWitness(t, l)
	w.Close()
	for end := range ends {
		if end.Server == "A" {
			t.Error("the forged notice was told")
		}
		if end == w.Witness() {
			break
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	_, port, err := net.SplitHostPort(natstest.Addresses(t, 1)[0])
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// After the connection was lost, what comes is told only once it is proven again
// that it is NATS's.
func TestDisconnectsAreProvenAgain(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	guarded := natsserver.Options{Port: port, DisconnectEvents: disconnects}
	first := startServer(t, guarded)
	l := linksOf(t, connect(t, first))
	ends, states := make(chan cluster.Witness, 1000), make(chan error, 100)
	stop, err := l.Disconnects(t.Context(), func(w cluster.Witness) { ends <- w }, func(err error) { states <- err })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	wantState := func(want error) {
		t.Helper()
		select {
		case err := <-states:
			if !errors.Is(err, want) {
				t.Errorf("state: got %v, want %v", err, want)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("no state in 10s, want %v", want)
		}
	}
	wantState(nil)
	w := dialWitness(t, l)
	stopServer(t, first)
	<-w.Done()

	open := startServer(t, natsserver.Options{Port: port})
	forger := connect(t, open)
	eventually(t, "there are witnesses again", func() bool {
		w, err := l.DialWitness(t.Context(), nil)
		if err == nil {
			w.Close()
		}
		return err == nil
	})
	for range 20 {
		notice := `{"type":"io.nats.server.advisory.v1.client_disconnect","server":{"id":"FORGED"},"client":{"id":1}}`
		if err := forger.Publish(transport.Msg{Subject: disconnects, Data: []byte(notice)}); err != nil {
			t.Fatal(err)
		}
		<-time.After(5 * time.Millisecond)
	}
	wantState(cluster.ErrNoEvents)
	stopServer(t, open)

	startServer(t, guarded)
	wantState(nil)
	eventually(t, "ends are told again", func() bool {
		w, err := l.DialWitness(t.Context(), nil)
		if err != nil {
			return false
		}
		w.Close()
		select {
		case end := <-ends:
			if end.Server == "FORGED" {
				t.Fatal("a forged notice was told")
			}
			return end == w.Witness()
		case <-time.After(time.Second):
			return false
		}
	})
}

// Each of several servers tells everywhere of its own connections, and a witness
// is dialled to a server that has none yet.
func TestLinksToThreeServers(t *testing.T) {
	t.Parallel()
	servers := natstest.Cluster(t, 3, accounts(disconnects, disconnects))
	var all []cluster.Links
	var ends []<-chan cluster.Witness
	for _, s := range servers {
		l := linksOf(t, dial(t, transport.NATSOptions{URL: strings.Replace(s.ClientURL(), "nats://", "nats://app:app@", 1)}))
		all, ends = append(all, l), append(ends, told(t, l))
	}
	for _, l := range all {
		var except []string
		for range servers {
			w := dialWitness(t, l, except...)
			ping(t, w)
			except = append(except, w.Witness().Server)
			defer func() {
				w.Close()
				for _, e := range ends {
					wantEnd(t, e, w.Witness())
				}
			}()
		}
		if w, err := l.DialWitness(t.Context(), except); err == nil {
			t.Errorf("a fourth witness: got one to %s, want none", w.Witness().Server)
		}
	}
}

// A server that is about to shut down tells no ends, long before it closes its
// connections: a witness leaves it at once, and none is dialled to it.
func TestWitnessLeavesLameDuck(t *testing.T) {
	t.Parallel()
	servers := natstest.Cluster(t, 3, accounts(disconnects, disconnects)+`
lame_duck_grace_period: "50s"
lame_duck_duration: "60s"
`)
	l := linksOf(t, dial(t, transport.NATSOptions{URL: strings.Replace(servers[0].ClientURL(), "nats://", "nats://app:app@", 1)}))
	w := dialWitness(t, l, servers[0].ID(), servers[1].ID())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		servers[2].LameDuckShutdown()
	}()
	defer func() {
		natstest.Stop(servers[2])
		<-ended
	}()
	select {
	case <-w.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the witness is there 10s after its server's word")
	}
	for range 10 {
		if w := dialWitness(t, l); w.Witness().Server == servers[2].ID() {
			t.Error("got a witness to the lame duck")
		}
	}
}
