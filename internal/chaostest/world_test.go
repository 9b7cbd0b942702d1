//go:build unix

package chaostest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"github.com/civitas-go/civitas/cluster"
	"github.com/civitas-go/civitas/internal/proctest"
	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/transport"
)

const (
	watched = "limiter" // the name whose owner is broken
	nodes   = 3
	user    = "app"
)

// world is the processes of one run, and the files that they write.
type world struct {
	t       *testing.T
	fault   fault
	dir     string
	servers []*natsServer
	members []*member
	lives   int
	broken  time.Duration // when the last fault was
	tries   []attempt
}

// attempt is one try, by the host's monotonic clock.
type attempt struct {
	broken, healed time.Duration
	owner          cluster.Ownership
	served         time.Duration // again, after broken
}

type natsServer struct {
	ports   [2]int // for clients, for the others
	process *proctest.Process
}

// member is a node: a process, and its links to each server.
type member struct {
	name    string
	links   []*link
	process *proctest.Process
}

// hold has the member's packets dropped, or go on.
func (m *member) hold(on bool) {
	for _, l := range m.links {
		l.hold(on)
	}
}

func newWorld(t *testing.T, f fault) *world {
	w := &world{t: t, fault: f, dir: t.TempDir()}
	for range f.servers {
		w.servers = append(w.servers, &natsServer{ports: [2]int{proctest.FreePort(t), proctest.FreePort(t)}})
	}
	for i := range w.servers {
		w.startServer(i)
	}
	for n := range nodes {
		m := &member{name: fmt.Sprintf("n%d", n+1)}
		for i := range w.servers { // the first one is another for each
			s := w.servers[(i+n)%len(w.servers)]
			m.links = append(m.links, newLink(t, fmt.Sprintf("127.0.0.1:%d", s.ports[0])))
		}
		w.members = append(w.members, m)
	}
	for _, m := range w.members {
		w.startMember(m)
	}
	return w
}

func (w *world) start(role string, env ...string) *proctest.Process {
	w.lives++
	life := fmt.Sprintf("%s-%02d", role, w.lives)
	return proctest.Start(w.t, life, append(env, roleVar+"="+role, "CIVITAS_CHAOS_DIR="+w.dir, "CIVITAS_CHAOS_LIFE="+life))
}

func (w *world) startServer(i int) {
	s := w.servers[i]
	name := fmt.Sprintf("s%d", i+1)
	var routes []string
	for _, other := range w.servers {
		routes = append(routes, fmt.Sprintf(`"nats://127.0.0.1:%d"`, other.ports[1]))
	}
	config := natsConfig(name, s.ports, filepath.Join(w.dir, name), routes, w.fault.events)
	file := filepath.Join(w.dir, name+".conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		w.t.Fatal(err)
	}
	s.process = w.start("nats", "CIVITAS_CHAOS_CONFIG="+file)
}

func (w *world) stopServer(i int) {
	w.servers[i].process.Signal(w.t, syscall.SIGTERM)
	_ = w.servers[i].process.Await(w.t)
}

func (w *world) killServer(i int) {
	w.servers[i].process.Signal(w.t, syscall.SIGKILL)
	_ = w.servers[i].process.Await(w.t)
}

func (w *world) startMember(m *member) {
	var urls []string
	for _, l := range m.links {
		urls = append(urls, l.url())
	}
	m.process = w.start("member", "CIVITAS_CHAOS_NAME="+m.name, "CIVITAS_CHAOS_URLS="+strings.Join(urls, ","))
}

// revive starts a member anew if its process has ended, or is about to because
// it was declared dead.
func (w *world) revive(m *member) {
	if m.process.Gone(20 * time.Second) {
		w.startMember(m)
	}
}

// now is the host's monotonic clock, which all processes have.
func now() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // never fails
	return time.Duration(ts.Nano())
}

func (w *world) until(at time.Duration) { <-time.After(at - now()) }

// conn is the driver's own, to a server that is up.
func (w *world) conn(ctx context.Context) *transport.NATS {
	w.t.Helper()
	var urls []string
	for _, s := range w.servers {
		urls = append(urls, "nats://127.0.0.1:"+strconv.Itoa(s.ports[0]))
	}
	conn, err := transport.DialNATS(ctx, transport.NATSOptions{
		URL: strings.Join(urls, ","), Auth: transport.Auth{User: user, Password: user},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return conn
}

// owner is the watched name's, once there is one that lives and serves.
func (w *world) owner() (o cluster.Ownership, m *member) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	conn := w.conn(ctx)
	defer conn.Close(context.WithoutCancel(ctx))
	for {
		o, err := cluster.ReadOwner(ctx, conn, node.DefaultCluster, watched)
		if err == nil {
			i := slices.IndexFunc(w.members, func(m *member) bool { return m.name == o.Node })
			if i >= 0 && w.startsSince(now()-500*time.Millisecond, o.Epoch) > 0 {
				return o, w.members[i]
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			w.t.Fatalf("nobody serves %s: owner %+v, error %v\n%s", watched, o, err, w.said())
		}
	}
}

// leader is the server that leads the records' stream.
func (w *world) leader() int {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	conn := w.conn(ctx)
	defer conn.Close(context.WithoutCancel(ctx))
	js, err := jetstream.New(conn.Conn())
	if err != nil {
		w.t.Fatal(err)
	}
	for ctx.Err() == nil {
		stream, err := js.Stream(ctx, "CIVITAS_"+node.DefaultCluster)
		if err == nil && stream.CachedInfo().Cluster != nil {
			if i, err := strconv.Atoi(strings.TrimPrefix(stream.CachedInfo().Cluster.Leader, "s")); err == nil {
				return i - 1
			}
		}
		<-time.After(100 * time.Millisecond)
	}
	w.t.Fatal("the records have no leader")
	return 0
}

// settle waits until the cluster is at rest: everything is served, for some seconds.
func (w *world) settle() {
	w.t.Helper()
	w.owner()
	<-time.After(4 * time.Second)
	w.owner()
}

// try breaks the cluster once, and mends it.
func (w *world) try(f fault) {
	w.t.Helper()
	o, m := w.owner()
	a := attempt{owner: o}
	w.broken = now()
	a.broken = w.broken
	heal := f.do(w, m)
	if f.moves {
		a.served = w.served(f, o)
	}
	heal()
	w.settle()
	a.healed = now()
	w.tries = append(w.tries, a)
	if f.moves {
		w.t.Logf("try %d: %s: served again after %v", len(w.tries), f.name, a.served.Round(time.Millisecond))
	}
}

// served waits for the first handler of a later epoch, and is how long that took.
func (w *world) served(f fault, o cluster.Ownership) time.Duration {
	w.t.Helper()
	for {
		for _, s := range w.starts() {
			if s.name == watched && s.epoch > o.Epoch {
				return s.at - w.broken
			}
		}
		if now() > w.broken+f.within+time.Minute {
			w.t.Fatalf("nobody serves %s after %s\n%s", watched, f.name, w.said())
		}
		<-time.After(50 * time.Millisecond)
	}
}

// end stops everything in good order.
func (w *world) end() {
	w.t.Helper()
	for _, m := range w.members {
		m.process.Signal(w.t, syscall.SIGTERM)
	}
	for _, m := range w.members {
		if err := m.process.Await(w.t); err != nil {
			w.t.Errorf("stop of %s: got %v, want nil; it said\n%s", m.name, err, m.process.Said())
		}
	}
	for i := range w.servers {
		w.stopServer(i)
	}
}

func (w *world) said() string {
	var text strings.Builder
	for _, m := range w.members {
		fmt.Fprintf(&text, "== %s said\n%s\n", m.name, m.process.Said())
	}
	return text.String()
}

// natsConfig is a server's, with disconnect events or without: see docs/nats.md.
func natsConfig(name string, ports [2]int, dir string, routes []string, events bool) string {
	var text strings.Builder
	fmt.Fprintf(&text, "server_name: %s\nlisten: 127.0.0.1:%d\njetstream { store_dir: %q }\n", name, ports[0], dir)
	text.WriteString("ping_interval: \"500ms\"\nping_max: 2\n")
	if len(routes) > 1 {
		fmt.Fprintf(&text, "cluster { name: chaos, listen: \"127.0.0.1:%d\", no_advertise: true, ping_interval: \"5s\", routes: [%s] }\n",
			ports[1], strings.Join(routes, ", "))
	}
	imports, exports := "", ""
	if events {
		exports = `exports: [ {stream: "$SYS.ACCOUNT.*.DISCONNECT", account_token_position: 3} ]`
		imports = `imports: [ {stream: {account: SYS, subject: "$SYS.ACCOUNT.APP.DISCONNECT"}, to: "civitas.dev.ev.disconnect"} ]`
	}
	fmt.Fprintf(&text, `accounts {
  SYS { users: [ {user: sys, password: sys} ], %s }
  APP { jetstream: enabled, users: [ {user: %s, password: %s} ], %s
        default_permissions: { publish: { deny: ["civitas.dev.ev.disconnect"] } } }
}
system_account: SYS
`, exports, user, user, imports)
	return text.String()
}
